//! A change of code by `ctx.patched`: executions from before it go on as they began, under whatever build.

use super::*;

const PAY: Orchestrator<(), String> = Orchestrator::new("Pay");
const STEP: Activity<String, String> = Activity::new("Step");

async fn step(ctx: &OrchestrationContext, name: &str) -> Result<String, Failure> {
    ctx.call(STEP, name).await.map_err(Into::into)
}

fn build<F, R>(worker: WorkerBuilder, pay: F) -> WorkerBuilder
where
    F: Fn(OrchestrationContext, ()) -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, Failure>> + 'static,
{
    worker.orchestrator(PAY, pay).activity(STEP, async |_: ActivityContext, name: String| Ok(name)).strict_replay()
}

/// Before the change.
fn first(worker: WorkerBuilder) -> WorkerBuilder {
    build(worker, async |ctx, ()| {
        let charged = step(&ctx, "charge").await?;
        let go = ctx.wait_for_event(GO).await;
        Ok(format!("{charged} {go} {}", step(&ctx, "ship").await?))
    })
}

/// With a check before the charge, and a receipt after the event.
fn changed(worker: WorkerBuilder) -> WorkerBuilder {
    build(worker, async |ctx, ()| {
        let checked = if ctx.patched("check") { step(&ctx, "check").await? + " " } else { String::new() };
        let charged = step(&ctx, "charge").await?;
        let go = ctx.wait_for_event(GO).await;
        let receipt = if ctx.patched("receipt") { step(&ctx, "receipt").await? + " " } else { String::new() };
        // The second answer is the first.
        let again = if ctx.patched("check") == checked.is_empty() { "never " } else { "" };
        Ok(format!("{checked}{charged} {go} {receipt}{again}{}", step(&ctx, "ship").await?))
    })
}

/// When nothing is left from before the change, nobody asks any more.
fn last(worker: WorkerBuilder) -> WorkerBuilder {
    build(worker, async |ctx, ()| {
        let checked = step(&ctx, "check").await?;
        let charged = step(&ctx, "charge").await?;
        let go = ctx.wait_for_event(GO).await;
        Ok(format!("{checked} {charged} {go} {} {}", step(&ctx, "receipt").await?, step(&ctx, "ship").await?))
    })
}

impl World {
    async fn begins(&self, id: &str) {
        self.client.start(PAY, ()).instance_id(id).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        assert_eq!(self.status(id).await.status, RuntimeStatus::Running);
    }

    async fn goes_on(&self, id: &str) -> String {
        self.client.raise(id, GO, &"go".to_owned()).await.unwrap();
        self.output(id).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_ran_before_a_change_goes_on_as_it_began_and_takes_what_is_still_before_it() {
    let world = World::new(1).await;
    let worker = world.run("first", first);
    world.begins("old").await;
    world.begins("older").await;
    worker.stop().await;
    let worker = world.run("changed", changed);
    world.begins("new").await;
    world.begins("newer").await;
    assert_eq!(world.goes_on("old").await, "charge go receipt ship");
    assert_eq!(world.goes_on("new").await, "check charge go receipt ship");
    worker.stop().await;
    // The history says with what an execution runs; the code need not ask.
    let worker = world.run("last", last);
    assert_eq!(world.goes_on("newer").await, "check charge go receipt ship");
    // It would have been answered no.
    let error = world.client.raise("older", GO, &"go".to_owned()).await;
    error.unwrap();
    let ended = world.client.wait("older", MINUTE).await.unwrap();
    assert_eq!(ended.failure().unwrap().error_type, "NonDeterministicOrchestration");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn code_from_before_a_change_replays_what_has_not_come_to_it() {
    let world = World::new(1).await;
    let asks_late = |worker| {
        build(worker, async |ctx, ()| {
            let charged = step(&ctx, "charge").await?;
            let _ = ctx.patched("nothing yet");
            let go = ctx.wait_for_event(GO).await;
            Ok(format!("{charged} {go} {}", step(&ctx, "ship").await?))
        })
    };
    let worker = world.run("asks", asks_late);
    world.begins("i").await;
    let said = world.client.history("i").await.unwrap();
    let said: Vec<_> = said
        .iter()
        .filter_map(|event| if let EventKind::Generic { data } = &event.kind { data.as_deref() } else { None })
        .collect();
    assert_eq!(said, ["Patched: nothing yet"], "once");
    worker.stop().await;
    let worker = world.run("first", first);
    assert_eq!(world.goes_on("i").await, "charge go ship");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_recorded_in_a_turn_that_ends_suspended() {
    let world = World::new(1).await;
    world.client.start(PAY, ()).instance_id("i").await.unwrap();
    world.client.suspend("i", "not now").await.unwrap();
    let worker = world.run("changed", changed);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Suspended);
    world.client.resume("i", "go on").await.unwrap();
    assert_eq!(world.goes_on("i").await, "check charge go receipt ship");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_without_a_name_fails_the_orchestrator() {
    let world = World::new(1).await;
    let worker = world.run("w", |worker| build(worker, async |ctx, ()| Ok(ctx.patched("").to_string())));
    world.client.start(PAY, ()).instance_id("i").await.unwrap();
    let ended = world.client.wait("i", MINUTE).await.unwrap();
    assert_eq!(ended.failure().unwrap().to_string(), "InvalidPatch: the name of a change of the code is empty");
    worker.stop().await;
}

/// On paused time the answer is made at the very time of the turn that asked; no rewind has taken it back.
#[tokio::test(start_paused = true)]
async fn an_answer_of_the_time_at_which_a_change_was_recorded_counts() {
    let world = World::new(1).await;
    let worker = world.run("w", |worker| {
        build(worker, async |ctx, ()| {
            let is_changed = ctx.patched("change");
            Ok(format!("{is_changed} {}", step(&ctx, "step").await?))
        })
    });
    world.client.start(PAY, ()).instance_id("i").await.unwrap();
    assert_eq!(world.output("i").await, "true step");
    worker.stop().await;
}
