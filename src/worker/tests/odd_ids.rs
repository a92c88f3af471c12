//! Every id that the client accepts works, with payloads of every size: for instances, children, and whom events are sent to.

mod program;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::harness::{hub, worker};
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::size;
use crate::{Client, ErrorKind, InstanceQuery, WorkerBuilder};

/// Runs a parent and a child under these ids.
async fn run(ids: [&str; 2], payload: &str) {
    let hub = hub().await;
    let client = Client::new(&hub);
    let worker = program::register(worker(&hub));
    let acting = async {
        let [id, child] = ids;
        client.start(program::PARENT, (child.to_owned(), payload.to_owned())).instance_id(id).await.unwrap();
        client.suspend(id, payload).await.unwrap();
        client.resume(id, payload).await.unwrap();
        for id in ids {
            // The child shows from its first checkpoint on.
            let status = loop {
                match client.wait(id, Duration::from_secs(600)).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => tokio::time::sleep(Duration::from_millis(100)).await,
                    status => break status.unwrap(),
                }
            };
            assert_eq!(status.output::<String>().unwrap(), payload, "{id:?}");
            assert!(status.input.unwrap().contains(payload) && status.instance_id == id);
            assert!(!client.history(id).await.unwrap().is_empty());
            let query = InstanceQuery { id_prefix: Some(id.to_owned()), ..InstanceQuery::default() };
            assert!(client.list(&query).await.unwrap().instances.iter().any(|listed| listed.instance_id == id), "{id:?}");
        }
        assert!(client.poison().await.unwrap().is_empty());
    };
    worker.max_poll_interval(Duration::from_secs(1)).run(acting).await.unwrap();
}

fn run_paused(ids: [&str; 2], payload: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(ids, payload));
}

/// In the queue and in rows; in a blob for the queue; in blobs for rows too.
const SIZES: [usize; 3] = [10, 28_000, 100_000];

#[test]
fn ids_that_were_accepted_and_then_stuck_work_with_every_payload() {
    let ids = [
        "CONTOSO\\jdoe",
        "a//b",
        "/lead",
        "trail/",
        ".",
        "..",
        "a/../b",
        "tab\there",
        "^",
        "100%",
        "\u{0}",
        " ",
        "a.",
        "\u{ffff}",
    ];
    for (id, size) in ids.into_iter().zip((0..3).cycle()) {
        for size in size::of(&SIZES[size..=size], &SIZES) {
            run_paused([id, &format!("child of {id}")], &"x".repeat(*size));
            run_paused(["parent", id], &"y".repeat(*size));
        }
    }
    run_paused([&"/".repeat(256), &"😀".repeat(256)], &"x".repeat(100_000));
}

#[test]
fn every_id_that_is_accepted_works_with_every_payload() {
    let id = "[\\\\/#?%+.^ a-c@'\"&<>;:=_~é日😀\\x00-\\x1f\\x7f-\\x9f\u{2028}\u{feff}\u{fffe}\u{ffff}]{1,10}";
    let mut runner = TestRunner::new(Config { cases: size::of(20, 60), failure_persistence: None, ..Config::default() });
    let cases = (id, id, prop::sample::select(SIZES.to_vec()));
    let accepted = |id: &str| crate::ids::why_no_orchestration(id).is_none();
    let outcome = runner.run(&cases, |(first, second, size)| {
        prop_assume!(first != second && accepted(&first) && accepted(&second));
        run_paused([&first, &second], &"x".repeat(size));
        Ok(())
    });
    outcome.unwrap();
}
