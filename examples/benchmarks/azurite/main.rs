//! What orchestrations take on Azurite: worker processes, a client in another, and beside that what this Azurite can do and what it takes of the machine.
//! `cargo bench --bench azurite`; some cases by their names behind `--`. Needs Node.js, and Linux for processor time and memory.
#![allow(clippy::print_stdout, reason = "a benchmark shows what it measured")]
#![allow(clippy::disallowed_methods, reason = "processes are waited for on threads that may block; nothing here is simulated")]

mod app;
#[path = "../cpu.rs"]
mod cpu;
#[path = "../../../azurite-tests/harness.rs"]
mod harness;
mod processes;

use std::time::Duration;

use app::{CHILDREN, EVENTS, FAN_OUT, GO, ROUNDS, SEQUENCE};
use futures::future::try_join_all;
use processes::{Process, Workers};
use taskhub::{Client, InstanceQuery, InstanceStatus, Orchestrator, TaskHub, Timestamp};
use tokio::time::Instant;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// One case: so many instances, started by so many at once with a pause after each.
struct Case {
    name: &'static str,
    orchestrator: Orchestrator<u64, u64>,
    input: u64,
    instances: usize,
    starters: usize,
    pause: Duration,
    /// How many events each gets.
    events: u64,
}

impl Case {
    /// Instances that come as fast as four can start them.
    const fn many(name: &'static str, orchestrator: Orchestrator<u64, u64>, input: u64, instances: usize) -> Self {
        Self { name, orchestrator, input, instances, starters: 4, pause: Duration::ZERO, events: 0 }
    }

    /// One instance at a time, into a hub that rests.
    const fn at_rest(name: &'static str, orchestrator: Orchestrator<u64, u64>, input: u64, instances: usize) -> Self {
        Self { starters: 1, pause: Duration::from_secs(2), ..Self::many(name, orchestrator, input, instances) }
    }
}

const CASES: [Case; 11] = [
    Case::at_rest("rest-10", SEQUENCE, 10, 5),
    Case::at_rest("rest-fan-out-100", FAN_OUT, 100, 3),
    Case::many("hello", SEQUENCE, 3, 300),
    Case::many("sequence-5", SEQUENCE, 5, 300),
    Case::many("sequence-10", SEQUENCE, 10, 100),
    Case::many("fan-out-20", FAN_OUT, 20, 40),
    Case::many("fan-out-100", FAN_OUT, 100, 10),
    Case::many("fan-out-1000", FAN_OUT, 1_000, 1),
    Case::many("children-5", CHILDREN, 5, 30),
    Case::many("as-new-5", ROUNDS, 5, 60),
    Case { events: 5, ..Case::many("events-5", EVENTS, 5, 60) },
];

#[tokio::main]
async fn main() -> Outcome {
    if let Some(place) = app::place() {
        return app::work(place).await;
    }
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let azurite = tokio::task::spawn_blocking(harness::azurite).await?;
    println!(
        "Calls and CPU are those of the workers for each instance, with their polls; the peak is that of one worker; Azurite: how many CPUs it keeps busy."
    );
    let columns = ["a second", "p50 ms", "p95 ms", "p99 ms", "calls", "CPU ms", "peak MB", "Azurite"];
    println!("{:<16}{}", "case", columns.map(|column| format!("{column:>9}")).concat());
    for (workers, is_local) in [(1, false), (1, true), (2, false), (2, true)] {
        let (rows, words) = (capacity(azurite).await?, if is_local { "local" } else { "ordinary" });
        println!(
            "-- {workers} worker(s), {words} activities; without any this Azurite takes {rows:.0} starts a second, of two calls each"
        );
        let hub = TaskHub::builder(azurite.storage(), harness::unique_hub_name("Bench")).partitions(4).open().await?;
        let client = Client::new(&hub);
        let mut at_work = Workers::start(azurite, &hub, workers, is_local)?;
        at_work.until_they_share(&client).await?;
        client.start(FAN_OUT, 8).await?.result().await?;
        for case in CASES.iter().filter(|case| chosen.is_empty() || chosen.iter().any(|chosen| chosen == case.name)) {
            run(case, &client, &mut at_work).await?;
        }
        at_work.stop().await?;
    }
    Ok(())
}

/// How many starts a second Azurite takes while nobody works.
async fn capacity(azurite: &harness::Azurite) -> Outcome<f64> {
    let hub = TaskHub::builder(azurite.storage(), harness::unique_hub_name("Idle")).partitions(4).open().await?;
    let (client, begun, each) = (Client::new(&hub), Instant::now(), 50);
    try_join_all((0..8).map(|_| async {
        for _ in 0..each {
            client.start(SEQUENCE, 1).await?;
        }
        Ok::<_, taskhub::Error>(())
    }))
    .await?;
    let took = begun.elapsed();
    hub.delete().await?;
    Ok(f64::from(8 * each) / took.as_secs_f64())
}

/// Runs a case and shows what it took.
async fn run(case: &Case, client: &Client, workers: &mut Workers) -> Outcome {
    let (begun, since) = (Instant::now(), client.hub_status().await?.read_at);
    let azurite = Process::azurite()?;
    let (before, azurite_before) = (workers.taken().await?, azurite.cpu());
    workers.forget_peaks();
    start(case, client).await?;
    let ended = ended(case, client, since).await?;
    let (azurite_cpus, taken) = ((azurite.cpu() - azurite_before) / begun.elapsed().as_secs_f64(), workers.taken().await?);
    let completed: Vec<_> = ended.iter().filter_map(|status| Some((status.created?, status.completed?))).collect();
    let first = completed.iter().map(|(created, _)| *created).min().ok_or("nothing has completed")?;
    let last = completed.iter().map(|(_, completed)| *completed).max().ok_or("nothing has completed")?;
    let mut latencies: Vec<_> =
        completed.iter().map(|(created, completed)| completed.since(*created).as_secs_f64() * 1e3).collect();
    latencies.sort_by(f64::total_cmp);
    let percentile = |part: f64| latencies[((latencies.len() as f64 * part) as usize).min(latencies.len() - 1)];
    let count = completed.len() as f64;
    println!(
        "{:<16}{:>9.1}{:>9.0}{:>9.0}{:>9.0}{:>9.1}{:>9.1}{:>9}{:>9.2}",
        case.name,
        count / last.since(first).as_secs_f64(),
        percentile(0.5),
        percentile(0.95),
        percentile(0.99),
        (taken.calls - before.calls) as f64 / count,
        (taken.cpu - before.cpu) * 1e3 / count,
        workers.peak_megabytes(),
        azurite_cpus,
    );
    Ok(())
}

/// Starts the instances of a case, and sends each its events.
async fn start(case: &Case, client: &Client) -> Outcome {
    try_join_all((0..case.starters).map(|starter| async move {
        for _ in (starter..case.instances).step_by(case.starters) {
            let instance = client.start(case.orchestrator, case.input).await?;
            for event in 0..case.events {
                instance.raise(GO, &event).await?;
            }
            tokio::time::sleep(case.pause).await;
        }
        Ok::<_, taskhub::Error>(())
    }))
    .await?;
    Ok(())
}

/// The instances of a case, once all of them have ended.
async fn ended(case: &Case, client: &Client, since: Timestamp) -> Outcome<Vec<InstanceStatus>> {
    let limit = Instant::now() + Duration::from_secs(120);
    let name = Some(case.orchestrator.name().to_owned());
    let query = InstanceQuery { name, created_from: Some(since), page_size: 1_000, ..InstanceQuery::default() };
    loop {
        let page = client.list(&query).await?.instances;
        if page.len() == case.instances && page.iter().all(|status| status.status.is_terminal()) {
            return Ok(page);
        }
        if Instant::now() > limit {
            return Err(format!(
                "{}: of {} instances {} are there, and not all have ended",
                case.name,
                case.instances,
                page.len()
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
