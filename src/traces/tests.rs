//! Spans as a collector gets them over OTLP.

#![cfg(feature = "otel")]

use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::net::TcpListener;

use super::Traces;
use super::collector::Collector;
use super::kept::Exported;
use crate::{Activity, ActivityContext, Client, Failure, OrchestrationContext, Orchestrator, Storage, TaskHub, Worker};

const MAIN: Orchestrator<String, String> = Orchestrator::new("Main");
const HELLO: Activity<String, String> = Activity::new("Hello");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_each_span_over_otlp_with_the_name_of_the_service() {
    let (collector, listener) = (Collector::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let traces = Traces::otlp_to(&format!("http://{}/", listener.local_addr().unwrap()), "shop").unwrap();
    let working = async {
        let hub = TaskHub::builder(Storage::in_memory(), "Test").traces(&traces).open().await.unwrap();
        let worker = Worker::builder(&hub)
            .orchestrator(MAIN, async |ctx: OrchestrationContext, name: String| Ok(ctx.call(HELLO, name).await?))
            .activity(HELLO, async |_: ActivityContext, name: String| Ok(name));
        let client = Client::new(&hub);
        let acting = async {
            client.start(MAIN, "x".to_owned()).await.unwrap().result().within(Duration::from_secs(30)).await.unwrap();
        };
        worker.run(acting).await.unwrap();
    };
    let collecting = collector.run(listener);
    let all = async {
        working.await;
        // The thread that exports is another one; the collector goes on meanwhile.
        while collector.names().len() < 4 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        biased;
        () = collecting => unreachable!("it collects for ever"),
        done = tokio::time::timeout(Duration::from_secs(30), all) => done.unwrap(),
    }
    let requests = collector.requests();
    assert_eq!(collector.names(), ["activity:Hello", "activity:Hello", "create_orchestration:Main", "orchestration:Main"]);
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    let service = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    let service = service.value.as_ref().and_then(|value| value.value.as_ref());
    assert!(matches!(service, Some(Value::StringValue(name)) if name == "shop"), "{service:?}");
    assert_eq!(requests[0].resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "DurableTask.Core");
}

#[tokio::test]
async fn a_failure_of_megabytes_is_exported_in_a_few_thousand_bytes() {
    let exported = Exported::default();
    let hub = TaskHub::builder(Storage::in_memory(), "Traced").traces(&Traces::to(exported.clone())).open().await.unwrap();
    let client = Client::new(&hub);
    let acting = async {
        let failing = client.start(MAIN, "ü".repeat(1_000_000)).await.unwrap();
        failing.wait().within(Duration::from_secs(30)).await.unwrap();
    };
    let fails = async |_: OrchestrationContext, text: String| Err::<String, _>(Failure::new("Long", text));
    Worker::builder(&hub).orchestrator(MAIN, fails).run(acting).await.unwrap();
    let spans = exported.all();
    let ended = spans.iter().find(|span| span.name == "orchestration:Main").unwrap();
    let Status::Error { description } = &ended.status else { panic!("{:?}", ended.status) };
    assert!(description.starts_with("üü") && description.ends_with("ü…") && (4000..4200).contains(&description.len()));
}

#[test]
fn an_endpoint_that_is_no_url_is_refused_with_the_remedy() {
    let refused = Traces::otlp_to("no url", "shop").unwrap_err();
    assert!(refused.to_string().contains("give an endpoint such as"), "{refused}");
}
