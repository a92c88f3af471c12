//! What is measured is on the page, in the format of Prometheus and by the names in the catalogue.

use std::time::Duration;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::{Client, TaskHub, metrics};

/// Instances of a hub on a page that has everything.
#[cfg(feature = "metrics")]
mod of_a_worker {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::connections::FEW;
    use crate::metrics::Metrics;
    use crate::model::{EventKind, HistoryEvent, InstanceRef, Message};
    use crate::{
        Activity, ActivityContext, ErrorKind, Event, Failure, OrchestrationContext, Orchestrator, RuntimeStatus, Worker,
        WorkerBuilder,
    };

    const MAIN: Orchestrator<bool, u32> = Orchestrator::new("Main");
    const ONE: Activity<bool, u32> = Activity::new("One");
    const GO: Event<()> = Event::new("go");

    async fn hub(metrics: &Metrics) -> TaskHub {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let storage = Storage::memory(clock.clone(), Rng::seeded(1));
        TaskHub::builder(storage, "Test").partitions(2).clock(clock).rng(Rng::seeded(2)).metrics(metrics).open().await.unwrap()
    }

    fn worker(hub: &TaskHub) -> WorkerBuilder {
        Worker::builder(hub)
            .orchestrator(MAIN, async |ctx: OrchestrationContext, fails: bool| {
                ctx.call(ONE, fails).local().await?;
                ctx.wait_for_event(GO).await;
                Ok(ctx.call(ONE, false).await?)
            })
            .activity(
                ONE,
                async |_: ActivityContext, fails: bool| {
                    if fails { Err(Failure::new("Wrong", "as it was told to")) } else { Ok(1) }
                },
            )
    }

    /// Sends an event past all that a client checks.
    async fn late_event(hub: &TaskHub, instance_id: &str) {
        let kind = EventKind::EventRaised { name: "go".to_owned(), input: None, trace: None };
        let event = HistoryEvent::arriving(hub.0.now(), kind);
        let message = Message::from_client(hub.0.rng.uuid(), event, InstanceRef::current(instance_id));
        hub.0.queues.send(hub.0.queues.of_instance(instance_id), message, Duration::ZERO).await.unwrap();
    }

    /// The value of a series on a page.
    fn value(page: &str, series: &str) -> Option<f64> {
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_shows_each_turn_activity_call_and_drop_once() {
        let metrics = Metrics::prometheus();
        let hub = hub(&metrics).await;
        let client = Client::new(&hub);
        let work = async {
            let fine = client.start(MAIN, false).await.unwrap();
            fine.raise(GO, ()).await.unwrap();
            fine.wait().within(Duration::from_secs(60)).await.unwrap();
            let wrong = client.start(MAIN, true).await.unwrap();
            assert_eq!(wrong.wait().within(Duration::from_secs(60)).await.unwrap().status, RuntimeStatus::Failed);
            late_event(&hub, wrong.id()).await;
            tokio::time::sleep(Duration::from_secs(90)).await;
        };
        worker(&hub).run(work).await.unwrap();
        client.measure_queues().await.unwrap();
        let page = metrics.page();
        let of = |series: &str| value(&page, series).unwrap_or_else(|| panic!("{series} is not on the page:\n{page}"));
        assert_eq!(of(r#"taskhub_orchestrations_ended_total{hub="Test",orchestrator="Main",status="Completed"}"#), 1.0);
        assert_eq!(of(r#"taskhub_orchestrations_ended_total{hub="Test",orchestrator="Main",status="Failed"}"#), 1.0);
        assert_eq!(of(r#"taskhub_orchestrations_started_total{hub="Test",orchestrator="Main"}"#), 2.0);
        assert_eq!(of(r#"taskhub_activities_total{hub="Test",activity="One",outcome="completed"}"#), 2.0);
        assert_eq!(of(r#"taskhub_activities_total{hub="Test",activity="One",outcome="failed"}"#), 1.0);
        let turns = of(r#"taskhub_turns_total{hub="Test",orchestrator="Main",outcome="committed"}"#);
        assert_eq!(of(r#"taskhub_turn_duration_seconds_count{hub="Test",orchestrator="Main"}"#), turns);
        assert_eq!(of(r#"taskhub_messages_dropped_total{hub="Test",reason="instance_ended"}"#), 1.0);
        assert_eq!(of(r#"taskhub_partitions_owned{hub="Test"}"#), 0.0, "it has stopped");
        assert_eq!(of(r#"taskhub_activities_running{hub="Test"}"#), 0.0);
        let calls = client.calls();
        for kind in crate::CallKind::ALL {
            let counted = of(&format!(r#"taskhub_storage_calls_total{{hub="Test",kind="{}"}}"#, kind.name()));
            assert_eq!(counted, calls.of(kind) as f64, "{kind:?}");
        }
        let parked: Vec<_> = metrics::ALL.iter().filter(|metric| !page.contains(&format!("# TYPE {} ", metric.name))).collect();
        let parked: Vec<_> = parked.into_iter().map(|metric| metric.name).collect();
        assert_eq!(parked, ["taskhub_messages_parked_total"], "only what has not happened is not there");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_seen_of_a_hub_is_no_number() {
        let metrics = Metrics::prometheus();
        let hub = hub(&metrics).await;
        let client = Client::new(&hub);
        client.start(MAIN, false).await.unwrap();
        let shown = |name: &str| {
            let page = metrics.page();
            let values =
                page.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next()?.parse().ok());
            values.collect::<Vec<f64>>()
        };
        let names = ["taskhub_queue_messages{", "taskhub_queue_oldest_message_age_seconds{", "taskhub_parked_messages{"];
        client.measure_queues().await.unwrap();
        assert_eq!(shown(names[0]).into_iter().sum::<f64>(), 1.0);
        hub.delete().await.unwrap();
        assert_eq!(client.measure_queues().await.unwrap_err().kind(), ErrorKind::NotFound);
        for name in &names[..2] {
            let shown = shown(name);
            assert!(!shown.is_empty() && shown.iter().all(|value| value.is_nan()), "{name}: {shown:?}");
        }
        // The table of what is parked is there only if anything is.
        assert_eq!(shown(names[2]), [0.0]);
    }

    #[tokio::test]
    async fn a_worker_serves_the_page_of_its_hub_until_it_stops_and_nothing_else() {
        let metrics = Metrics::prometheus();
        let hub = hub(&metrics).await;
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let ask = async |request: &str| {
            let mut stream = TcpStream::connect(free).await.ok()?;
            stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            Some(answer)
        };
        let asking = async {
            let mut page = None;
            while page.is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                page = ask("GET /metrics").await;
            }
            let page = page.unwrap();
            assert!(page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"), "{page}");
            assert!(page.contains("# TYPE taskhub_turns_total counter"), "{page}");
            assert!(ask("GET /").await.unwrap().starts_with("HTTP/1.1 404"));
            assert!(ask("GET /health/ready").await.unwrap().starts_with("HTTP/1.1 200"));
            assert!(ask("POST /metrics").await.unwrap().starts_with("HTTP/1.1 405"));
        };
        worker(&hub).metrics_address(free).run(asking).await.unwrap();
        assert_eq!(ask("GET /metrics").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recorder_of_the_program_gets_the_same_and_there_is_no_page() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let metrics = Metrics::to(recorder);
        let hub = hub(&metrics).await;
        let client = Client::new(&hub);
        let work = async {
            let wrong = client.start(MAIN, true).await.unwrap();
            wrong.wait().within(Duration::from_secs(60)).await.unwrap();
        };
        worker(&hub).run(work).await.unwrap();
        let series = r#"taskhub_activities_total{hub="Test",activity="One",outcome="failed"}"#;
        assert_eq!(value(&handle.render(), series), Some(1.0));
        assert!(handle.render().contains("\ntaskhub_live_executions "), "the worker looks at the process by itself");
        assert_eq!(metrics.page(), "");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = metrics.serve(listener, std::future::pending()).await.unwrap_err();
        assert!(refused.to_string().contains("Metrics::prometheus"), "{refused}");
    }

    #[test]
    fn a_name_stays_in_its_label_whatever_it_has() {
        let metrics = Metrics::prometheus();
        let sink = metrics::Sink::of_hub(Some(&metrics), "Test");
        for name in ["a\"} 7\nforged 1\n\\", "\u{202e}\0", "🦀", "\\\""] {
            sink.counter(&metrics::TURNS, &[("orchestrator", name), ("outcome", "committed")]).one_more();
        }
        let page = metrics.page();
        let series: Vec<_> = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let of_turns = series.iter().filter(|line| line.starts_with("taskhub_turns_total{hub=\"Test\"") && line.ends_with("} 1"));
        assert_eq!(of_turns.count(), 4, "{page}");
        assert!(series.iter().all(|line| line.starts_with("taskhub_") || line.starts_with("process_")), "{page}");
        assert!(page.contains(r#"orchestrator="a\"} 7\nforged 1\n\\""#), "{page}");
    }

    #[tokio::test]
    async fn who_opens_connections_and_says_nothing_keeps_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::prometheus();
        let asking = async {
            let mut silent = Vec::new();
            for _ in 0..FEW + 10 {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            let answered = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await;
            assert!(answered.is_ok() && answer.starts_with("HTTP/1.1 200"), "{answer}");
            // It was the oldest that gave way.
            assert_eq!(silent[0].read(&mut [0]).await.unwrap_or_default(), 0);
            assert!(silent[FEW + 9].try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
        };
        metrics.serve(listener, asking).await.unwrap();
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_is_refused_when_the_worker_is_built_or_starts() {
        let without = TaskHub::builder(Storage::in_memory(), "Test").open().await.unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let refused = worker(&without).metrics_address(address).build().unwrap_err();
        assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("TaskHubBuilder::metrics"), "{refused}");
        let taken = TcpListener::bind(address).await.unwrap();
        let hub = hub(&Metrics::prometheus()).await;
        let refused = worker(&hub).metrics_address(taken.local_addr().unwrap()).run(std::future::pending()).await.unwrap_err();
        assert!(refused.to_string().contains("nothing can listen on"), "{refused}");
    }
}

#[test]
fn the_document_has_every_metric_and_no_other() {
    let document = include_str!("../../docs/observability.md");
    let mut known: Vec<_> = metrics::ALL.iter().map(|metric| metric.name).collect();
    let listed = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed: Vec<_> = listed.filter(|name| name.starts_with("taskhub_") || name.starts_with("process_")).collect();
    known.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, known);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_measured_unless_somebody_asks() {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let storage = Storage::memory(clock.clone(), Rng::seeded(1));
    let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock).open().await.unwrap();
    assert!(!hub.0.metrics.is_on());
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(Client::new(&hub));
}
