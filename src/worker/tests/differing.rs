//! Calls that the code makes again with another input than their history has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::harness::hub;
use super::overheard::Overheard;
use super::poison::{MINUTE, World};
use crate::authoring::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator};
use crate::model::RuntimeStatus;
use crate::{Client, InstanceStatus, Worker, WorkerBuilder};

const ECHO: Activity<serde_json::Value, serde_json::Value> = Activity::new("Echo");
const RUN: Orchestrator<u32, serde_json::Value> = Orchestrator::new("Run");

/// What the code does in its n-th turn: the first argument of each call.
type Inputs = fn(u32) -> [&'static str; 2];

async fn run(ctx: OrchestrationContext, turn: u32, inputs: Inputs, generations: u32) -> Result<serde_json::Value, Failure> {
    let [first, second] = inputs(turn).map(|json| serde_json::from_str::<serde_json::Value>(json).unwrap());
    let echoed = ctx.call(ECHO, first).await?;
    ctx.timer(Duration::from_secs(1)).await;
    ctx.call(ECHO, second).await?;
    ctx.timer(Duration::from_secs(1)).await;
    if generations > 0 { ctx.continue_as_new(RUN, generations - 1) } else { Ok(echoed) }
}

fn registered(worker: WorkerBuilder, inputs: Inputs) -> WorkerBuilder {
    let turns = Arc::new(AtomicU32::new(0));
    worker
        .orchestrator(RUN, move |ctx, generations| run(ctx, turns.fetch_add(1, Ordering::Relaxed), inputs, generations))
        .activity(ECHO, async |_: ActivityContext, value| Ok(value))
}

/// How an instance ends whose code does so, and what is told of it.
async fn played(inputs: Inputs, revise: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> (InstanceStatus, Vec<String>) {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let hub = hub().await;
    let client = Client::new(&hub);
    let ended = World::beside(revise(registered(Worker::builder(&hub), inputs)), async {
        let instance = client.start(RUN, 2).instance_id("the-id").await.unwrap();
        instance.wait().within(10 * MINUTE).await.unwrap()
    })
    .await;
    let lines = heard.about_instances().into_iter().filter(|line| line.contains("a call is not what its history has")).collect();
    (ended, lines)
}

fn other_inputs(turn: u32) -> [&'static str; 2] {
    if turn == 0 { ["\"a\"", "\"b\""] } else { ["\"b\"", "\"a\""] }
}

#[tokio::test(start_paused = true)]
async fn another_input_is_warned_of_once_and_goes_on() {
    let (ended, lines) = played(other_inputs, |worker| worker).await;
    assert_eq!(ended.status, RuntimeStatus::Completed, "{ended:?}");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.starts_with("WARN ") && line.contains(" hub=Test ") && line.contains(" instance=the-id "), "{line}");
    assert!(line.ends_with(" name=Run call=Echo task=0 part=input more=1"), "both calls, found at the end: {line}");
}

#[tokio::test(start_paused = true)]
async fn a_strict_worker_fails_the_instance_and_shows_no_input() {
    let (ended, _) = played(other_inputs, WorkerBuilder::strict_replay).await;
    let failure = ended.failure().unwrap();
    assert_eq!(failure.error_type, "NonDeterministicOrchestration", "{failure}");
    let expected = "The orchestrator \"Run\" is not deterministic: an earlier run decided the activity \"Echo\" as number 0, with another \
                    input than the code gives it now. Likely causes: ";
    assert!(failure.error_message.starts_with(expected), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn what_means_the_same_is_the_same_also_in_other_generations() {
    let inputs = |turn: u32| match turn % 3 {
        0 => [r#"{"a":1,"b":[2.0,null]}"#, "1"],
        1 => [r#"{"b":[2,null],"a":1.0}"#, "1.0"],
        _ => [r#"{"a":1,"b":[2.0,null]}"#, "1"],
    };
    let (ended, lines) = played(inputs, WorkerBuilder::strict_replay).await;
    assert_eq!((ended.status, lines), (RuntimeStatus::Completed, vec![]), "{ended:?}");
}
