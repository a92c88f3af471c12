//! How fast the engine is by itself: a hub in memory, a worker and a client in one process. `cargo bench --bench in_memory`; a case by its name behind `--`, and
//! with the feature `metrics` the word `measured`, to see what metrics cost.
#![allow(clippy::print_stdout, reason = "a benchmark shows what it measured")]

mod cpu;

use std::time::Duration;

use cpu::cpu;
use futures::future::{join_all, try_join_all};
use taskhub::{
    Activity, ActivityContext, Client, Event, Failure, InstanceQuery, OrchestrationContext, Orchestrator, RuntimeStatus, Storage,
    TaskHub, Worker,
};
use tokio::time::Instant;

/// As a program would have it that runs so many orchestrations a second: messages and rows are made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STEP: Activity<u64, u64> = Activity::new("Step");
const SEQUENCE: Orchestrator<u64, u64> = Orchestrator::new("Sequence");
const LOCAL_SEQUENCE: Orchestrator<u64, u64> = Orchestrator::new("LocalSequence");
const FAN_OUT: Orchestrator<u64, u64> = Orchestrator::new("FanOut");
const WAITING: Orchestrator<(), ()> = Orchestrator::new("Waiting");
const GO: Event<()> = Event::new("go");

type Outcome = Result<(), Box<dyn std::error::Error>>;

async fn sequence(ctx: OrchestrationContext, steps: u64) -> Result<u64, Failure> {
    let mut n = 0;
    for _ in 0..steps {
        n = ctx.call(STEP, n).await?;
    }
    Ok(n)
}

async fn local_sequence(ctx: OrchestrationContext, steps: u64) -> Result<u64, Failure> {
    let mut n = 0;
    for _ in 0..steps {
        n = ctx.call(STEP, n).local().await?;
    }
    Ok(n)
}

async fn fan_out(ctx: OrchestrationContext, width: u64) -> Result<u64, Failure> {
    Ok(try_join_all((0..width).map(|n| ctx.call(STEP, n))).await?.len() as u64)
}

/// Runs a worker beside what a client does.
async fn beside_worker(acting: impl AsyncFnOnce(&Client) -> Outcome) -> Outcome {
    let hub = TaskHub::builder(Storage::in_memory(), "Bench");
    #[cfg(feature = "metrics")]
    let hub =
        if std::env::args().any(|word| word == "measured") { hub.metrics(&taskhub::metrics::Metrics::prometheus()) } else { hub };
    let hub = hub.open().await?;
    let worker = Worker::builder(&hub)
        .activity(STEP, async |_: ActivityContext, n: u64| Ok(n + 1))
        .orchestrator(SEQUENCE, sequence)
        .orchestrator(LOCAL_SEQUENCE, local_sequence)
        .orchestrator(FAN_OUT, fan_out)
        .orchestrator(WAITING, async |ctx: OrchestrationContext, (): ()| {
            ctx.wait_for_event(GO).await;
            Ok(())
        })
        .build()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = Client::new(&hub);
    let using = async {
        // The worker owns its partitions then, and everything has run once.
        client.start(SEQUENCE, 1).await?.result().await?;
        let outcome = acting(&client).await;
        drop(stop);
        outcome
    };
    let (ran, outcome) = tokio::join!(worker.run(async { drop(stopped.await) }), using);
    ran?;
    outcome
}

/// So many orchestrations, a few hundred at a time.
async fn throughput(client: &Client, orchestrator: Orchestrator<u64, u64>, count: usize, input: u64) -> Outcome {
    let begun = Instant::now();
    let starters = 200;
    let ran = join_all((0..starters).map(|_| async {
        for _ in 0..count / starters {
            client.start(orchestrator, input).await?.result().await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    }));
    for outcome in ran.await {
        outcome?;
    }
    let took = begun.elapsed();
    println!("{:<14} {count} x {input}: {:>8.0} a second", orchestrator.name(), count as f64 / took.as_secs_f64());
    Ok(())
}

/// One instance of so many steps.
async fn growth(client: &Client, orchestrator: Orchestrator<u64, u64>, steps: u64) -> Outcome {
    let begun = Instant::now();
    client.start(orchestrator, steps).await?.result().within(Duration::from_secs(3600)).await?;
    let took = begun.elapsed();
    let each = took.as_secs_f64() * 1e6 / steps as f64;
    println!("{:<14} 1 x {steps}: {:>8.2} s, {each:>6.0} µs a step", orchestrator.name(), took.as_secs_f64());
    Ok(())
}

/// Instances that wait for an event.
async fn open(client: &Client, count: usize) -> Outcome {
    let (before, begun) = (memory(), Instant::now());
    for _ in 0..count / 100 {
        for started in join_all((0..100).map(|_| async { client.start(WAITING, ()).await })).await {
            started?;
        }
    }
    let pending = InstanceQuery { statuses: vec![RuntimeStatus::Pending], ..InstanceQuery::default() };
    while !client.list(&pending).await?.instances.is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{count} open instances: {} MB more, {:.1} s", (memory() - before) / 1024, begun.elapsed().as_secs_f64());
    let cpu = cpu("self");
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("at rest: {:.1} % of a core", (self::cpu("self") - cpu) * 10.0);
    Ok(())
}

/// Resident memory in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[tokio::main]
async fn main() -> Outcome {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--") && word != "measured").collect();
    let is_chosen = |case: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == case);
    for (case, orchestrator, count, input) in
        [("sequence", SEQUENCE, 10_000, 5), ("local", LOCAL_SEQUENCE, 10_000, 5), ("fan-out", FAN_OUT, 1_000, 20)]
    {
        if is_chosen("throughput") || is_chosen(case) {
            beside_worker(async |client| throughput(client, orchestrator, count, input).await).await?;
        }
    }
    if is_chosen("growth") {
        for steps in [100, 1_000, 10_000] {
            beside_worker(async |client| growth(client, SEQUENCE, steps).await).await?;
            beside_worker(async |client| growth(client, LOCAL_SEQUENCE, steps).await).await?;
        }
        for width in [1_000, 10_000] {
            beside_worker(async |client| growth(client, FAN_OUT, width).await).await?;
        }
    }
    if is_chosen("long") {
        beside_worker(async |client| growth(client, SEQUENCE, 100_000).await).await?;
        beside_worker(async |client| growth(client, LOCAL_SEQUENCE, 100_000).await).await?;
    }
    if is_chosen("open") {
        beside_worker(async |client| open(client, 10_000).await).await?;
    }
    Ok(())
}
