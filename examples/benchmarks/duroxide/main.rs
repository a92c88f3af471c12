//! Orchestrations of five activities in sequence, in memory, by taskhub and by duroxide 0.1.32, one after the other in one process.
//! `cargo run --release --manifest-path examples/benchmarks/duroxide/Cargo.toml`
#![allow(clippy::print_stdout, reason = "a benchmark shows what it measured")]

#[path = "../cpu.rs"]
mod cpu;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu::cpu;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{OrchestrationRegistry, OrchestrationStatus};
use futures::future::try_join_all;
use taskhub::{Activity, ActivityContext, Client, OrchestrationContext, Orchestrator, Storage, TaskHub, Worker};

const STEP: Activity<u64, u64> = Activity::new("Step");
const SEQUENCE: Orchestrator<u64, u64> = Orchestrator::new("Sequence");
const STEPS: u64 = 5;
const STARTERS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Runs so many orchestrations, `STARTERS` at a time, and shows how many ended in a second. `one` runs the orchestration of this number, and tells
/// whether it has completed.
async fn measure(name: &str, count: usize, one: impl AsyncFn(usize) -> Outcome<bool>) -> Outcome {
    let (begun, cpu) = (Instant::now(), cpu("self"));
    let starters = (0..STARTERS).map(|starter| {
        let one = &one;
        async move {
            let mut completed = 0;
            for number in (starter..count).step_by(STARTERS) {
                completed += usize::from(one(number).await?);
            }
            Ok::<_, Box<dyn std::error::Error>>(completed)
        }
    });
    let completed: usize = try_join_all(starters).await?.into_iter().sum();
    let (took, each) = (begun.elapsed().as_secs_f64(), (self::cpu("self") - cpu) * 1e3 / count as f64);
    let rate = completed as f64 / took;
    println!("{name:<44} {count:>6} in {took:>6.2} s: {rate:>6.0} a second, {each:.2} ms of CPU each, {} failed", count - completed);
    Ok(())
}

async fn taskhub(count: usize) -> Outcome {
    let hub = TaskHub::open(Storage::in_memory(), "Bench").await?;
    let worker = Worker::builder(&hub).activity(STEP, async |_: ActivityContext, n: u64| Ok(n + 1)).orchestrator(
        SEQUENCE,
        async |ctx: OrchestrationContext, steps: u64| {
            let mut n = 0;
            for _ in 0..steps {
                n = ctx.call(STEP, n).await?;
            }
            Ok(n)
        },
    );
    let client = Client::new(&hub);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let using = async {
        client.start(SEQUENCE, STEPS).await?.result().await?;
        let one = async |_| Ok(client.start(SEQUENCE, STEPS).await?.result().await? == STEPS);
        let measured = measure("taskhub", count, one).await;
        drop(stop);
        measured
    };
    let (ran, measured) = tokio::join!(worker.run(async { drop(stopped.await) }), using);
    ran?;
    measured
}

async fn duroxide(name: &str, count: usize, options: RuntimeOptions) -> Outcome {
    let store = Arc::new(SqliteProvider::new_in_memory().await?);
    let step = async |_: duroxide::ActivityContext, n: String| {
        let n: u64 = n.parse().map_err(|_| "no number".to_owned())?;
        Ok((n + 1).to_string())
    };
    let activities = ActivityRegistry::builder().register("Step", move |ctx, n| step(ctx, n)).build();
    let sequence = |ctx: duroxide::OrchestrationContext, steps: String| async move {
        let mut n = "0".to_owned();
        for _ in 0..steps.parse::<u64>().map_err(|_| "no number".to_owned())? {
            n = ctx.schedule_activity("Step", n).await?;
        }
        Ok(n)
    };
    let orchestrations = OrchestrationRegistry::builder().register("Sequence", sequence).build();
    let runtime = Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
    let client = duroxide::Client::new(store);
    let one = async |number: usize| {
        let id = format!("i{number}");
        client.start_orchestration(&id, "Sequence", STEPS.to_string()).await.map_err(|error| format!("{error:?}"))?;
        match client.wait_for_orchestration(&id, PATIENCE).await.map_err(|error| format!("{error:?}"))? {
            OrchestrationStatus::Completed { output, .. } => Ok(output.parse::<u64>()? == STEPS),
            _ => Ok(false),
        }
    };
    measure(name, count, one).await?;
    runtime.shutdown(None).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    taskhub(5_000).await?;
    for (dispatchers, poll) in [(2, 100), (1, 100), (1, 1), (2, 1)] {
        let options = RuntimeOptions {
            orchestration_concurrency: dispatchers,
            worker_concurrency: dispatchers,
            dispatcher_min_poll_interval: Duration::from_millis(poll),
            ..RuntimeOptions::default()
        };
        duroxide(&format!("duroxide, {dispatchers} of each dispatcher, poll {poll} ms"), 500, options).await?;
    }
    Ok(())
}
