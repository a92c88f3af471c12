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
        .filter_map(|event| if let EventKind::Generic { data, .. } = &event.kind { data.as_deref() } else { None })
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

fn with_status(worker: WorkerBuilder, chars: usize) -> WorkerBuilder {
    build(worker, move |ctx: OrchestrationContext, ()| async move {
        let checked = if ctx.patched("check") { step(&ctx, "check").await? } else { "unchecked".to_owned() };
        let is_late = ctx.patched("late");
        ctx.set_custom_status(&"x".repeat(chars));
        Ok(format!("{checked} {is_late} {}", step(&ctx, "ship").await?))
    })
}

/// A turn that is broken off decides nothing, but it has answered: after a rewind the code is past that place and goes the way that it went.
#[tokio::test(start_paused = true)]
async fn a_change_is_recorded_in_a_turn_that_is_broken_off() {
    let world = World::new(1).await;
    let worker = world.run("broken", |worker| with_status(worker, 100_000));
    let order = world.client.start(PAY, ()).instance_id("i").await.unwrap();
    let ended = order.wait().within(MINUTE).await.unwrap();
    assert_eq!(ended.failure().unwrap().error_type, "CustomStatusTooLarge");
    worker.stop().await;
    let worker = world.run("mended", |worker| with_status(worker, 10));
    order.rewind("mended").await.unwrap();
    assert_eq!(world.output("i").await, "check true ship");
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

/// Rows of a generation may be committed before its code has run on them: after many generations in one turn, and where another worker has the code.
#[tokio::test(start_paused = true)]
async fn a_generation_that_has_never_run_runs_with_the_change() {
    const MANY: Orchestrator<u32, String> = Orchestrator::new("Many");
    let many = |worker: WorkerBuilder| {
        worker.orchestrator(MANY, async |ctx: OrchestrationContext, left: u32| {
            if left > 0 { ctx.continue_as_new(MANY, left - 1) } else { Ok(ctx.patched("change").to_string()) }
        })
    };
    for generations in [0, 1, 19, 20, 21, 40] {
        let world = World::new(1).await;
        let worker = world.run("w", many);
        let ended = world.client.start(MANY, generations).await.unwrap().result().await.unwrap();
        assert_eq!(ended, "true", "after {generations}");
        worker.stop().await;
    }
    let moves = |worker: WorkerBuilder| {
        worker.orchestrator(MANY, async |ctx: OrchestrationContext, left: u32| ctx.continue_as_new_version(MANY, left, "2.0"))
    };
    let moved = |worker: WorkerBuilder| {
        worker.orchestrator_version(MANY, "2.0", async |ctx: OrchestrationContext, _: u32| Ok(ctx.patched("change").to_string()))
    };
    let world = World::new(1).await;
    let worker = world.run("old", moves);
    let many = world.client.start(MANY, 1).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    worker.stop().await;
    let worker = world.run("new", moved);
    assert_eq!(many.result().await.unwrap(), "true");
    worker.stop().await;
}

/// The reason of a rewind is the data of such an event too.
#[test]
fn only_what_the_engine_has_recorded_is_a_change() {
    let at = Timestamp::MIN;
    let recorded = crate::model::StoredEvent::patched(at, "check");
    assert_eq!(recorded.change(), Some("check"));
    let reason = crate::model::HistoryEvent::arriving(at, recorded.event.kind.clone());
    assert_eq!(crate::model::StoredEvent::from(reason).change(), None);
}
