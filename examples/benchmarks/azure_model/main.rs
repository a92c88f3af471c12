//! How many orchestrations an account of Azure lets through, and what they cost there, by its published limits and on paused time.
//! `cargo bench --features testing --bench azure_model`; the names of cases behind `--`: `throughput`, `latency`, `cost`, `idle`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark shows what it measured, and how far it is")]

#[path = "../cpu.rs"]
mod cpu;
mod fleet;

use std::time::Duration;

use fleet::{Case, Engine, Measured, Shape};
use taskhub::{CallKind, Calls, Error, Prices};

const SIZES: [usize; 3] = [1, 4, 16];
const KINDS: [(Engine, Shape, &str); 6] = [
    (Engine::Dotnet, Shape::Hello, "hello, .NET"),
    (Engine::Taskhub, Shape::Hello, "hello"),
    (Engine::TaskhubLocal, Shape::Hello, "hello, local"),
    (Engine::Dotnet, Shape::FanOut, "fan-out of 20, .NET"),
    (Engine::Taskhub, Shape::FanOut, "fan-out of 20"),
    (Engine::TaskhubLocal, Shape::FanOut, "fan-out of 20, local"),
];
const HOURS_A_MONTH: f64 = 730.0;
/// An assumption. `TASKHUB_PRICES` names a file with the prices of an account, as `taskhub cost --show-prices` shows them.
const EUROS_A_DOLLAR: f64 = 0.9;

/// Of all kinds, or of those that are chosen by their names.
fn throughput(chosen: &[String]) -> Result<(), Error> {
    let is_chosen = |name: &str| chosen.iter().any(|chosen| chosen == name);
    let all = !KINDS.iter().any(|(.., name)| is_chosen(name));
    for (engine, shape, name) in KINDS.into_iter().filter(|(.., name)| all || is_chosen(name)) {
        println!("\n{name}: orchestrations a second, by workers (rows) and partitions");
        println!("| workers | {} |", SIZES.map(|partitions| format!("{partitions:>10}")).join(" | "));
        for workers in SIZES {
            let mut cells = Vec::new();
            for partitions in SIZES {
                let measured = fleet::saturated(Case { engine, shape, workers, partitions: partitions as u32 })?;
                eprintln!("{name} {workers} x {partitions}: {}", summary(&measured));
                cells.push(format!("{:>10.0}", measured.rate()));
            }
            println!("| {workers:>7} | {} |", cells.join(" | "));
        }
    }
    Ok(())
}

fn summary(measured: &Measured) -> String {
    let count = measured.latencies.len().max(1) as f64;
    format!(
        "{:.0} a second, {:.1} calls each, {:.0} calls a second, {:.1} % refused, p50 {:?}, {:.2} ms CPU each",
        measured.rate(),
        measured.calls.total() as f64 / count,
        measured.calls.total() as f64 / measured.time.as_secs_f64(),
        100.0 * measured.refused as f64 / (measured.refused + measured.calls.total()) as f64,
        measured.percentile(50),
        measured.cpu * 1e3 / count,
    )
}

fn latency() -> Result<(), Error> {
    println!("\nlatency of an orchestration alone, one a second, 4 partitions: ms, p50 and p99");
    for (engine, shape, name) in KINDS {
        for workers in [1, 4] {
            let case = Case { engine, shape, workers, partitions: 4 };
            let measured = fleet::steady(case, 200, Duration::from_secs(1))?;
            let (p50, p99) = (measured.percentile(50).as_millis(), measured.percentile(99).as_millis());
            println!("| {name:<20} | {workers} workers | {p50:>5} | {p99:>5} | {} ended", measured.latencies.len());
        }
    }
    Ok(())
}

fn cost(prices: &Prices) -> Result<(), Error> {
    println!(
        "\na million orchestrations, ten a second on one worker and 4 partitions, polls and leases included: {}",
        prices.currency
    );
    for (engine, shape, name) in KINDS {
        let case = Case { engine, shape, workers: 1, partitions: 4 };
        let measured = fleet::steady(case, 1000, Duration::from_millis(100))?;
        let count = measured.latencies.len() as f64;
        let million = measured.calls.cost(prices) * 1e6 / count;
        println!(
            "| {name:<20} | {:>6.1} calls | {million:>7.2} | {}",
            measured.calls.total() as f64 / count,
            kinds(&measured.calls, count)
        );
    }
    Ok(())
}

fn idle(prices: &Prices) -> Result<(), Error> {
    println!("\na month in which nothing happens: calls an hour, and {}", prices.currency);
    for (workers, partitions) in [(1, 1), (1, 4), (1, 16), (2, 4), (4, 4), (4, 16), (16, 16)] {
        let case = Case { engine: Engine::Taskhub, shape: Shape::Hello, workers, partitions };
        let measured = fleet::idle(case, Duration::from_secs(24 * 3600))?;
        let month = measured.calls.cost(prices) / 24.0 * HOURS_A_MONTH;
        let an_hour = measured.calls.total() as f64 / 24.0;
        println!(
            "| {workers:>2} workers | {partitions:>2} partitions | {an_hour:>6.0} | {month:>6.2} | {}",
            kinds(&measured.calls, 24.0)
        );
    }
    Ok(())
}

/// The list prices, which are in dollars.
fn in_euros(mut prices: Prices) -> Prices {
    prices.currency = "EUR".to_owned();
    let all =
        [&mut prices.table_read, &mut prices.table_query, &mut prices.table_write, &mut prices.table_batch, &mut prices.queue];
    for price in all.into_iter().chain([&mut prices.blob_read, &mut prices.blob_write, &mut prices.blob_list]) {
        *price *= EUROS_A_DOLLAR;
    }
    prices
}

/// How many calls of each kind, for each of `count`.
fn kinds(calls: &Calls, count: f64) -> String {
    let made = CallKind::ALL.into_iter().filter(|kind| calls.of(*kind) > 0);
    made.map(|kind| format!("{} {:.2}", kind.name(), calls.of(kind) as f64 / count)).collect::<Vec<_>>().join(", ")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_chosen = |case: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == case);
    let prices = match std::env::var("TASKHUB_PRICES") {
        Ok(file) => serde_json::from_str(&std::fs::read_to_string(file)?)?,
        Err(_) => in_euros(Prices::default()),
    };
    if is_chosen("throughput") {
        throughput(&chosen)?;
    }
    if is_chosen("latency") {
        latency()?;
    }
    if is_chosen("cost") {
        cost(&prices)?;
    }
    if is_chosen("idle") {
        idle(&prices)?;
    }
    Ok(())
}
