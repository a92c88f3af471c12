//! The simulation itself: one seed gives one run, every rule that is broken on purpose is found, and failures get smaller.

use super::plan::Plan;
use super::runner;
use crate::sabotage::{self, Sabotage};
use crate::size;

/// Seeds within which a broken rule is found.
const SEEDS: u64 = 1000;

#[test]
fn one_seed_gives_one_run() {
    for seed in 0..size::of(2, 25) {
        let plan = Plan::of(seed);
        let (first, second) = (runner::run(&plan, true), runner::run(&plan, true));
        let differs = first.lines.iter().zip(&second.lines).find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert!(first == second, "seed {seed}: {:?} and {:?}", first.ends, second.ends);
    }
}

#[test]
fn every_broken_rule_is_found() {
    // One of them in an ordinary run; `TASKHUB_SABOTAGE=All` breaks each in turn.
    let chosen = std::env::var("TASKHUB_SABOTAGE").unwrap_or_else(|_| "AnswersOfOnePassDoubled".to_owned());
    let is_chosen = |sabotage: &Sabotage| chosen == "All" || chosen == format!("{sabotage:?}");
    let chosen: Vec<_> = sabotage::ALL.into_iter().filter(is_chosen).collect();
    assert!(!chosen.is_empty(), "TASKHUB_SABOTAGE is none of {:?}", sabotage::ALL);
    let mut missed = Vec::new();
    for sabotage in chosen {
        let plan = |seed| Plan { sabotage: Some(sabotage), ..Plan::of(seed) };
        let report = runner::run_all(0..SEEDS, 1, plan);
        let found = report.failures.first();
        let (seed, rule) = found.map(|(plan, failure)| (plan.seed, failure.lines().next().unwrap_or_default())).unzip();
        let rule = rule.map(|rule| rule.chars().take(160).collect::<String>());
        println!("{sabotage:?}: seed {seed:?} of {} runs in {:.1} s, {rule:?}", report.runs, report.seconds);
        if found.is_none() {
            missed.push(sabotage);
        }
    }
    assert!(missed.is_empty(), "nothing noticed {missed:?}");
}

#[test]
fn a_failure_is_made_smaller() {
    let plan = Plan { workers: 2, sabotage: Some(Sabotage::LocalAnswersDoubled), ..Plan::of(2) };
    let (smallest, failure) = runner::shrink(&plan, 100);
    println!("{plan:?}\n{smallest:?}\n{failure}");
    assert!(plan.classes.len() > 3 && plan.workers > 1, "{plan:?}");
    assert_eq!((smallest.classes.len(), smallest.workers, smallest.instances), (0, 1, 1), "{smallest:?}");
}
