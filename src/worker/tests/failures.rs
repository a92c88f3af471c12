//! What fails in users' code, or by a name or an input that does not fit: a clear failure of that task, and no worker dies of it.

use super::harness::hub;
use super::poison::{MINUTE, World};
use crate::authoring::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator};
use crate::model::{EventKind, RuntimeStatus};
use crate::{Client, InstanceStatus, Worker};

const CALL: Orchestrator<String, String> = Orchestrator::new("Call");
const CALL_CHILD: Orchestrator<String, String> = Orchestrator::new("CallChild");
const DOUBLE: Orchestrator<u32, u32> = Orchestrator::new("Double");
const PANIC: Orchestrator<(), ()> = Orchestrator::new("Panic");

/// Calls the activity of this name with a text, and tells how it failed.
async fn call(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
    Ok(match ctx.call_named::<u32>(&name, &"text").await {
        Ok(number) => format!("{number}"),
        Err(failed) => format!("caught {}: {}", failed.details().error_type, failed.details().error_message),
    })
}

/// Calls the orchestrator of this name with a text, and lets its failure end itself.
async fn call_child(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
    let number: u32 = ctx.call_sub_orchestration_named(&name, "text").await?;
    Ok(format!("{number}"))
}

async fn panics(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    ctx.timer(MINUTE / 60).await;
    panic!("no way out");
}

/// Starts an orchestration on a worker, sees it end, and the worker serve another one after it.
async fn ended(name: &str, input: Option<&str>) -> (InstanceStatus, Vec<EventKind>) {
    let hub = hub().await;
    let client = Client::new(&hub);
    let worker = Worker::builder(&hub)
        .poison_after(2)
        .orchestrator(CALL, call)
        .orchestrator(CALL_CHILD, call_child)
        .orchestrator(DOUBLE, async |_, number: u32| Ok(2 * number))
        .orchestrator(PANIC, panics)
        .activity(Activity::<String, u32>::new("Length"), async |_: ActivityContext, text: String| Ok(text.len() as u32))
        .activity(Activity::<u32, u32>::new("Number"), async |_: ActivityContext, number: u32| Ok(number))
        .activity(Activity::<String, u32>::new("Panics"), async |_: ActivityContext, text: String| panic!("cannot take {text}"))
        .activity(Activity::<String, u32>::new("PanicsAtOnce"), |_: ActivityContext, text: String| {
            assert!(text.is_empty(), "cannot begin with {text}");
            async { Ok(0) }
        });
    let seen = World::beside(worker, async {
        let id = client.start_json(name, input.map(str::to_owned)).await.unwrap();
        let status = client.wait(&id, MINUTE).await.unwrap();
        let history = client.history(&id).await.unwrap();
        let next = client.start_json("Call", Some("\"Length\"".to_owned())).await.unwrap();
        assert_eq!(client.wait(&next, MINUTE).await.unwrap().output::<String>().unwrap(), "4");
        (status, history.into_iter().map(|event| event.kind).collect())
    })
    .await;
    // Nothing loops, and nothing had to be parked.
    let after = client.hub_status().await.unwrap();
    let waiting = after.partitions.iter().map(|p| p.queue.messages).sum::<u64>() + after.work_items.messages;
    assert_eq!((waiting, after.parked), (0, 0));
    seen
}

/// A failing activity is caught by its orchestrator, with these words, and stands in the history.
async fn activity_fails(name: &str, words: &str) {
    let (status, history) = ended("Call", Some(&format!("\"{name}\""))).await;
    let output = status.output::<String>().unwrap();
    assert!(output.starts_with(&format!("caught {words}")), "{output}");
    let failed = |event: &EventKind| matches!(event, EventKind::TaskFailed { failure: Some(failure), .. } if output.contains(&failure.error_message));
    assert!(history.iter().any(failed), "{history:?}");
}

/// A failing orchestrator is Failed with these words in its row, and ends with them in its history.
async fn orchestrator_fails(name: &str, input: Option<&str>, words: &str) {
    let (status, history) = ended(name, input).await;
    let output = status.output.unwrap_or_default();
    assert!(status.status == RuntimeStatus::Failed && output.starts_with(words), "{}: {output}", status.status);
    assert!(status.completed.is_some());
    let end = history.iter().find_map(|event| match event {
        EventKind::ExecutionCompleted { failure: Some(failure), .. } => Some(failure.to_column()),
        _ => None,
    });
    assert_eq!(end, Some(output));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_activity_fails_its_task() {
    activity_fails("Panics", "Panic: The activity \"Panics\" panicked: cannot take text").await;
    activity_fails("PanicsAtOnce", "Panic: The activity \"PanicsAtOnce\" panicked: cannot begin with text").await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_activity_fails_its_task() {
    let words = "ActivityTaskNotFound: This worker has no activity \"Unheard\"; registered are: Length, Number, Panics";
    activity_fails("Unheard", words).await;
}

#[tokio::test(start_paused = true)]
async fn an_input_that_an_activity_cannot_read_fails_its_task() {
    activity_fails("Number", "PayloadMismatch: The input of the activity \"Number\" does not fit the type u32").await;
}

#[tokio::test(start_paused = true)]
async fn a_panicking_orchestrator_fails_its_instance() {
    orchestrator_fails("Panic", None, "Panic: The orchestrator \"Panic\" panicked: no way out").await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_orchestrator_fails_its_instance() {
    let words = "OrchestratorTaskNotFound: This worker has no orchestrator \"Unheard\"; registered are: Call, CallChild";
    orchestrator_fails("Unheard", None, words).await;
}

#[tokio::test(start_paused = true)]
async fn an_input_that_an_orchestrator_cannot_read_fails_its_instance() {
    orchestrator_fails(
        "Double",
        Some("\"text\""),
        "PayloadMismatch: The input of the orchestrator \"Double\" does not fit the type u32",
    )
    .await;
    orchestrator_fails(
        "Double",
        Some("no JSON"),
        "PayloadMismatch: The input of the orchestrator \"Double\" does not fit the type u32",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_cannot_begin_fails_its_parent() {
    let failed = "DurableTask.Core.Exceptions.SubOrchestrationFailedException: Task";
    for (child, why) in [("Double", "The input of the orchestrator"), ("Unheard", "This worker has no orchestrator")] {
        let words = format!("{failed} '{child}' (#0) failed with an unhandled exception: {why} \"{child}\"");
        orchestrator_fails("CallChild", Some(&format!("\"{child}\"")), &words).await;
    }
}
