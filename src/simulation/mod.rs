//! Deterministic simulation: random orchestrations on a hub whose storage, workers and clients fail by seed.
//!
//! `TASKHUB_SEEDS=0..100000 cargo test simulation` runs a range, `TASKHUB_SEEDS=1000` so many, `TASKHUB_SEED=7` one;
//! with `TASKHUB_TRACE=1` every line of it.

mod cast;
mod checks;
mod plan;
mod program;
mod reference;
mod station;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use plan::Plan;
use world::World;

/// What a run leaves.
struct Outcome {
    failure: Option<String>,
    marks: BTreeMap<String, u64>,
    lines: Vec<String>,
}

/// Runs one plan to its end.
fn run(plan: &Plan, whole_trace: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let failure = tracing::subscriber::with_default(trace::Log, || {
        runtime.block_on(async {
            trace::begin(whole_trace);
            World::new(plan.clone()).run().await;
            trace::failure()
        })
    });
    let (marks, lines) = trace::end();
    Outcome { failure, marks, lines }
}

/// The seeds of this test run.
fn seeds() -> std::ops::Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("a number of seeds");
    if let Ok(seed) = std::env::var("TASKHUB_SEED") {
        let seed = number(&seed);
        return seed..seed + 1;
    }
    match std::env::var("TASKHUB_SEEDS") {
        Ok(range) => match range.split_once("..") {
            Some((from, to)) => number(from)..number(to),
            None => 0..number(&range),
        },
        Err(_) => 0..500,
    }
}

/// Failures of a range of seeds, and what its runs met.
#[derive(Default)]
struct Report {
    failures: Vec<(Plan, String)>,
    marks: BTreeMap<String, u64>,
}

/// Runs seeds on every core; each run has a thread to itself, so the order of the threads changes nothing.
fn run_all(seeds: std::ops::Range<u64>, failures_max: usize) -> Report {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    let lock = || report.lock().unwrap_or_else(PoisonError::into_inner);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while lock().failures.len() < failures_max {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let plan = Plan::of(seed);
                    let outcome = run(&plan, false);
                    let mut report = lock();
                    for (mark, count) in outcome.marks {
                        *report.marks.entry(mark).or_default() += count;
                    }
                    report.failures.extend(outcome.failure.map(|failure| (plan, failure)));
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_seed_keeps_every_rule() {
    if std::env::var_os("TASKHUB_TRACE").is_some() {
        let outcome = run(&Plan::of(seeds().start), true);
        outcome.lines.iter().for_each(|line| println!("{line}"));
    }
    let most = std::env::var("TASKHUB_FAILURES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let report = run_all(seeds(), most);
    for (mark, count) in &report.marks {
        println!("{count:>8} {mark}");
    }
    for (plan, failure) in &report.failures {
        println!("\nTASKHUB_SEED={} cargo test simulation\n{plan:?}\n{failure}", plan.seed);
    }
    assert!(report.failures.is_empty(), "{} seeds broke a rule", report.failures.len());
}
