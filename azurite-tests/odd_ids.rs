//! Every id that the client accepts works on a real service, with payloads that lie in queues, in rows and in blobs.

#[path = "../src/worker/tests/odd_ids/program.rs"]
mod program;

use std::time::Duration;

use futures::future::join_all;
use taskhub::{
    Activity, ActivityContext, Client, Event, Failure, InstanceQuery, OrchestrationContext, Orchestrator, TaskHub, Worker,
    WorkerBuilder,
};

use crate::fleet::size;
use crate::harness::{azurite, unique_hub_name};

/// Characters that a URL, a key, a queue or a filter may take for something else.
const ODD: &str = "\\/#?%+.^ '\"&<>;:=_~|*é日😀\0\t\n\r\u{1f}\u{7f}\u{85}\u{9f}\u{a0}\u{2028}\u{feff}\u{fffe}\u{ffff}";

/// Ids by pairs: of an instance and of its child.
fn ids() -> Vec<[String; 2]> {
    let odd = ODD.chars().map(|c| [format!("{c}"), format!("a{c}b/{c}{c}")]);
    let known = ["CONTOSO\\jdoe", "a//b", "/lead", "trail/", "..", "a/../b", "a.", "50%2Fx", "../../x", "a\\..\\b"];
    let known = known.iter().map(|id| [(*id).to_owned(), format!("child/of/{id}")]);
    let long = ["/".repeat(256), "日".repeat(512)];
    odd.chain(known).chain([long]).collect()
}

/// How far an instance has come.
async fn stands(client: &Client, id: &str) -> String {
    let status = client.instance(id).status().await.map(|status| status.status);
    let history = client
        .instance(id)
        .history()
        .await
        .map(|history| history.iter().map(|event| format!("{} {:.40?}", event.timestamp, event.kind)).collect::<Vec<_>>());
    format!("{id:?} is {status:?} with {history:?}")
}

async fn run(client: &Client, [id, child]: &[String; 2], payload: &str) {
    let started = client.start(program::PARENT, (child.clone(), payload.to_owned())).instance_id(id).await;
    started.unwrap_or_else(|error| panic!("{id:?}: {error}"));
    let ended = match client.instance(id).wait().within(Duration::from_secs(120)).await {
        Ok(ended) => ended,
        Err(error) => panic!("{id:?}: {error}; {}; {}", stands(client, id).await, stands(client, child).await),
    };
    assert!(ended.output::<String>().is_ok_and(|output| output == payload), "{id:?} and {child:?}: {:?}", ended.output);
    for id in [id, child] {
        let status = client.instance(id).status().await.unwrap_or_else(|error| panic!("{id:?}: {error}"));
        assert!(status.input.is_some_and(|input| input.contains(payload)) && status.instance_id == *id, "{id:?}");
        assert!(client.instance(id).history().await.unwrap().len() > 3, "{id:?}");
        let query = InstanceQuery { id_prefix: Some(id.clone()), with_payloads: false, ..InstanceQuery::default() };
        let listed = client.list(&query).await.unwrap_or_else(|error| panic!("{id:?}: {error}"));
        assert!(listed.instances.iter().any(|listed| listed.instance_id == *id), "{id:?}");
        assert!(listed.instances.iter().all(|listed| listed.instance_id.starts_with(id.as_str())), "{id:?}");
    }
}

#[tokio::test]
async fn every_id_that_is_accepted_works_with_every_payload() {
    let hub = TaskHub::open(azurite().storage(), unique_hub_name("Ids")).await.unwrap();
    let client = Client::new(&hub);
    let worker = program::register(Worker::builder(&hub));
    let all = async {
        let ids = ids();
        for (round, bytes) in [100_000, 28_000].into_iter().enumerate() {
            let payload = "x".repeat(bytes);
            // The same ids again: an instance that has ended may be replaced, and its child too.
            let some: Vec<_> = ids.iter().skip(round).step_by(size(5, 1) + round).collect();
            for pairs in some.chunks(8) {
                join_all(pairs.iter().map(|pair| run(&client, pair, &payload))).await;
            }
        }
        assert_eq!(client.poison().await.unwrap(), []);
    };
    worker.max_poll_interval(Duration::from_millis(200)).run(all).await.unwrap();
}
