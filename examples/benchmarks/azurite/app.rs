//! What the workers of the benchmark host, and such a worker as a process of its own.

use std::io::BufRead as _;

use futures::future::try_join_all;
use taskhub::{Activity, ActivityContext, Client, Event, Failure, OrchestrationContext, Orchestrator, Storage, TaskHub, Worker};

use crate::Outcome;

pub(crate) const SEQUENCE: Orchestrator<u64, u64> = Orchestrator::new("Sequence");
pub(crate) const FAN_OUT: Orchestrator<u64, u64> = Orchestrator::new("FanOut");
pub(crate) const CHILDREN: Orchestrator<u64, u64> = Orchestrator::new("Children");
pub(crate) const ROUNDS: Orchestrator<u64, u64> = Orchestrator::new("Rounds");
pub(crate) const EVENTS: Orchestrator<u64, u64> = Orchestrator::new("Events");
pub(crate) const GO: Event<u64> = Event::new("go");
const CHILD: Orchestrator<u64, u64> = Orchestrator::new("Child");
const STEP: Activity<u64, u64> = Activity::new("Step");

/// Set for worker processes: where the hub is.
pub(crate) const STORAGE: &str = "TASKHUB_BENCH_STORAGE";
pub(crate) const HUB: &str = "TASKHUB_BENCH_HUB";
/// Set if activities are to be local.
pub(crate) const LOCAL: &str = "TASKHUB_BENCH_LOCAL";

/// Connection string and hub of a worker process; `None` for the benchmark itself.
pub(crate) fn place() -> Option<(String, String)> {
    Some((std::env::var(STORAGE).ok()?, std::env::var(HUB).ok()?))
}

async fn step(ctx: &OrchestrationContext, is_local: bool, n: u64) -> Result<u64, Failure> {
    let call = ctx.call(STEP, n);
    Ok(if is_local { call.local().await? } else { call.await? })
}

/// Works until nothing more can be read from its standard input. For each line it answers how many storage calls it has made.
pub(crate) async fn work((storage, hub): (String, String)) -> Outcome {
    let hub = TaskHub::open(Storage::connect(&storage)?, &hub).await?;
    let is_local = std::env::var_os(LOCAL).is_some();
    let worker = Worker::builder(&hub)
        .activity(STEP, async |_: ActivityContext, n: u64| Ok(n + 1))
        .orchestrator(SEQUENCE, move |ctx, steps| async move {
            let mut n = 0;
            for _ in 0..steps {
                n = step(&ctx, is_local, n).await?;
            }
            Ok(n)
        })
        .orchestrator(FAN_OUT, move |ctx, width| async move {
            Ok(try_join_all((0..width).map(|n| step(&ctx, is_local, n))).await?.len() as u64)
        })
        .orchestrator(CHILDREN, async |ctx: OrchestrationContext, width: u64| {
            Ok(try_join_all((0..width).map(|n| ctx.call(CHILD, n))).await?.len() as u64)
        })
        .orchestrator(CHILD, move |ctx, n| async move { step(&ctx, is_local, n).await })
        .orchestrator(ROUNDS, move |ctx, left| async move {
            step(&ctx, is_local, left).await?;
            if left == 0 { Ok(0) } else { ctx.continue_as_new(ROUNDS, left - 1) }
        })
        .orchestrator(EVENTS, async |ctx: OrchestrationContext, count: u64| {
            for _ in 0..count {
                ctx.wait_for_event(GO).await;
            }
            Ok(count)
        });
    let client = Client::new(&hub);
    let answering = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
            println!("{}", client.calls().total());
        }
    });
    Ok(worker.run(async { drop(answering.await) }).await?)
}
