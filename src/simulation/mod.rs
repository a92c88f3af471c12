//! Deterministic simulation: random orchestrations on a hub whose storage, workers and clients fail by seed.
//!
//! How to run it, and what it found: docs/testing.md.

mod cast;
mod checks;
mod ends;
mod late;
mod marks;
mod peer;
mod plan;
mod program;
mod reference;
mod runner;
mod self_tests;
mod station;
mod trace;
mod world;

use plan::Plan;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 12;
/// A run of so many seeds must come to every mark.
const SEEDS_FOR_MARKS: u64 = 2000;

#[test]
fn every_seed_keeps_every_rule() {
    let seeds = seeds();
    let all = seeds.end - seeds.start >= SEEDS_FOR_MARKS;
    let most = std::env::var("TASKHUB_FAILURES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let report = runner::run_all(seeds.clone(), most, Plan::of);
    println!("{} seeds in {:.1} s", report.runs, report.seconds);
    for (mark, count) in &report.marks {
        println!("{count:>8} {mark}");
    }
    let is_traced = std::env::var_os("TASKHUB_TRACE").is_some();
    if is_traced && report.failures.is_empty() {
        runner::whole_trace(&Plan::of(seeds.start)).iter().for_each(|line| println!("{line}"));
    }
    for (plan, _) in &report.failures {
        let (smallest, failure) = runner::shrink(plan, 150);
        println!("\nTASKHUB_SEED={} cargo test simulation", plan.seed);
        if is_traced {
            runner::whole_trace(&smallest).iter().for_each(|line| println!("{line}"));
        }
        println!("{plan:?}\nand smaller: {smallest:?}\n{failure}");
    }
    assert!(report.failures.is_empty(), "{} seeds broke a rule", report.failures.len());
    let missed = marks::missed(&report.marks);
    assert!(!all || missed.is_empty(), "no seed came to this: {missed:#?}");
}

/// The seeds of this test run: `TASKHUB_SEEDS=0..100000` is a range, `TASKHUB_SEEDS=1000` so many, `TASKHUB_SEED=7` one.
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
        Err(_) => 0..SEEDS,
    }
}
