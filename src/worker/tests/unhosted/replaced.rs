//! Starts that are to replace what runs, and wait for their code: the start is kept, and what runs does not go on beyond it.

use super::*;

const TICKS: Orchestrator<(), ()> = Orchestrator::new("Ticks");
const TICK: Activity<(), ()> = Activity::new("Tick");

/// An execution that commits a turn every half a minute.
async fn ticks(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    loop {
        ctx.timer(MINUTE / 2).await;
        ctx.call(TICK, ()).await?;
    }
}

fn ticking(worker: WorkerBuilder) -> WorkerBuilder {
    let worker = worker.activity(TICK, async |_: ActivityContext, ()| Ok(()));
    old(worker).orchestrator(TICKS, ticks).fail_unhosted_alone_after(DAY)
}

fn ticking_new(worker: WorkerBuilder) -> WorkerBuilder {
    let worker = worker.activity(TICK, async |_: ActivityContext, ()| Ok(()));
    new(worker).orchestrator(TICKS, ticks)
}

/// A hub with an execution that runs, and a start of a version that nobody has which is to replace it.
async fn replaced() -> (World, Running) {
    let world = World::new(1).await;
    let worker = world.run("old", ticking);
    world.client.start(TICKS, ()).instance_id("i").await.unwrap();
    tokio::time::sleep(5 * MINUTE).await;
    let start = world.client.start(WAIT, 1).version("2.0").instance_id("i");
    start.replacing([RuntimeStatus::Running]).await.unwrap();
    (world, worker)
}

#[tokio::test(start_paused = true)]
async fn a_start_that_replaces_what_runs_waits_for_its_code() {
    let (world, worker) = replaced().await;
    tokio::time::sleep(2 * MINUTE).await;
    let ticks = world.client.history("i").await.unwrap().len();
    world.client.raise("i", GO, &"for the new one".to_owned()).await.unwrap();
    tokio::time::sleep(3 * HOUR).await;
    let waiting = world.status("i").await;
    assert_eq!((waiting.status, waiting.version.as_deref()), (RuntimeStatus::Pending, Some("2.0")));
    assert_eq!(world.client.history("i").await.unwrap().len(), ticks, "what is replaced does not go on");
    worker.stop().await;
    let _worker = world.run("new", ticking_new);
    assert_eq!(world.output("i").await, "for the new one");
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_termination_ends_a_start_that_waits_and_what_it_was_to_replace() {
    let (world, _worker) = replaced().await;
    tokio::time::sleep(HOUR).await;
    world.client.terminate("i", "enough").await.unwrap();
    let ended = world.client.wait("i", MINUTE).await.unwrap();
    assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Terminated, Some("enough")));
    tokio::time::sleep(HOUR).await;
    let history = world.client.history("i").await.unwrap();
    let ends = history.iter().filter(|event| matches!(event.kind, EventKind::ExecutionCompleted { .. })).count();
    assert_eq!(ends, 1, "what ran has ended too");
    let shown = world.status("i").await;
    assert_eq!((shown.status, shown.version.as_deref()), (RuntimeStatus::Terminated, Some("2.0")));
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_does_not_lose_a_start_that_waits() {
    let (world, first) = replaced().await;
    tokio::time::sleep(HOUR).await;
    first.stop().await;
    let second = world.run("old again", ticking);
    tokio::time::sleep(HOUR).await;
    let waiting = world.status("i").await;
    assert_eq!((waiting.status, waiting.version.as_deref()), (RuntimeStatus::Pending, Some("2.0")));
    second.stop().await;
    let _worker = world.run("new", ticking_new);
    // It comes before the start does, of which this owner does not know yet.
    world.client.raise("i", GO, &"for the new one".to_owned()).await.unwrap();
    assert_eq!(world.client.wait("i", 2 * MINUTE).await.unwrap().output::<String>().unwrap(), "for the new one");
}
