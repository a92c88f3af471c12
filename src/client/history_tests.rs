//! Histories with the inputs that their rows leave out.

use std::time::Duration;

use super::Client;
use crate::authoring::{Activity, ActivityContext, Event, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{EventKind, HistoryEvent, Timestamp};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::{TaskHub, Worker, WorkerBuilder};

const PARENT: Orchestrator<String, String> = Orchestrator::new("Parent");
const CHILD: Orchestrator<String, String> = Orchestrator::new("Child");
const GREET: Activity<String, String> = Activity::new("Greet");
const NOBODYS: Activity<String, String> = Activity::new("Nobody's");
const GO: Event<()> = Event::new("go");

fn worker(hub: &TaskHub) -> WorkerBuilder {
    Worker::builder(hub)
        .max_poll_interval(Duration::from_secs(1))
        .fail_unhosted_alone_after(Duration::from_secs(3600))
        .activity(GREET, async |_: ActivityContext, name: String| Ok(format!("Hello, {name}!")))
        .orchestrator(CHILD, async |ctx: OrchestrationContext, name: String| {
            ctx.wait_for_event(GO).await;
            Ok(name)
        })
        .orchestrator(PARENT, async |ctx: OrchestrationContext, name: String| {
            let (child, open) = (ctx.call(CHILD, &name).instance_id("child"), ctx.call(NOBODYS, &name));
            let done = ctx.call(GREET, "x".repeat(100_000)).await?;
            open.await?;
            child.await?;
            Ok(done)
        })
}

/// The history of a parent that waits, with inputs or without.
async fn histories(build: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> [Vec<HistoryEvent>; 2] {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let storage = Storage::memory(clock.clone(), Rng::seeded(1));
    let hub = TaskHub::builder(storage, "Test").clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
    let client = Client::new(&hub);
    client.start(PARENT, "Ada").instance_id("parent").await.unwrap();
    let running = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
    };
    build(worker(&hub)).run(running).await.unwrap();
    let parent = client.instance("parent");
    [parent.history().await.unwrap(), parent.history().with_inputs().await.unwrap()]
}

fn inputs(history: &[HistoryEvent]) -> Vec<(&str, Option<usize>)> {
    let is_call =
        |event: &&HistoryEvent| matches!(event.kind, EventKind::TaskScheduled { .. } | EventKind::SubOrchestrationCreated { .. });
    history.iter().filter(is_call).map(|event| (event.name().unwrap(), event.input().map(str::len))).collect()
}

#[tokio::test(start_paused = true)]
async fn inputs_that_rows_leave_out_are_found_in_children_and_in_calls_that_wait() {
    let [plain, found] = histories(|worker| worker).await;
    assert_eq!(inputs(&plain), [("Child", None), ("Nobody's", None), ("Greet", None)]);
    assert_eq!(inputs(&found), [("Child", Some(5)), ("Nobody's", Some(7)), ("Greet", None)], "it has been taken");
    let said = |event: &HistoryEvent| (event.task_id(), event.result().map(str::len), event.reason().map(str::to_owned));
    let answered = found.iter().find(|event| event.kind.completes() == Some(2)).unwrap();
    assert_eq!(said(answered), (Some(2), Some("\"Hello, !\"".len() + 100_000), None));
    assert_eq!((found[1].name(), found[1].input(), found[1].task_id()), (Some("Parent"), Some("\"Ada\""), None));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stores_inputs_leaves_them_in_the_rows_large_ones_in_blobs() {
    let [plain, found] = histories(WorkerBuilder::inputs_in_history).await;
    assert_eq!(inputs(&plain), [("Child", Some(5)), ("Nobody's", Some(7)), ("Greet", Some(100_004))]);
    assert_eq!(plain, found);
}
