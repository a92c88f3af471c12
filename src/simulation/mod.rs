//! Deterministic simulation: random orchestrations on a hub whose storage, workers and clients fail by seed.
//!
//! `TASKHUB_SEEDS=0..100000 cargo test simulation` runs a range, `TASKHUB_SEEDS=1000` so many, `TASKHUB_SEED=7` one.

mod cast;
mod checks;
mod plan;
mod program;
mod reference;
mod station;
mod trace;
mod world;

use std::collections::BTreeMap;

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

#[test]
fn every_seed_keeps_every_rule() {
    let seeds = seeds();
    let mut marks: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds {
        let plan = Plan::of(seed);
        eprintln!("{plan:?}");
        let outcome = run(&plan, false);
        if let Some(failure) = outcome.failure {
            panic!("TASKHUB_SEED={seed} cargo test simulation\n{plan:?}\n{failure}");
        }
        for (mark, count) in outcome.marks {
            *marks.entry(mark).or_default() += count;
        }
    }
    for (mark, count) in marks {
        println!("{count:>8} {mark}");
    }
}
