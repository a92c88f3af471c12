//! Runs plans: one, beside its reference; many, on every core; one that fails, smaller and smaller.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::ends::Ends;
use super::plan::Plan;
use super::world::World;
use super::{reference, trace};
use crate::sabotage;
use crate::worker::loaded;

/// More seeds than this take so long that their progress is shown.
const QUIET_SEEDS: u64 = 2000;

/// What a run leaves.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) failure: Option<String>,
    pub(super) marks: BTreeMap<String, u64>,
    pub(super) lines: Vec<String>,
    pub(super) ends: Ends,
}

/// Runs one plan to its end.
pub(super) fn run(plan: &Plan, whole_trace: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    sabotage::set(plan.sabotage);
    loaded::check::set(plan.compares);
    trace::begin(whole_trace);
    let world = || {
        let played = runtime.block_on(async {
            trace::start_clock();
            World::new(plan.clone()).run().await
        });
        // What a dropped runtime still wakes belongs to the run.
        drop(runtime);
        played
    };
    let ran = catch_unwind(AssertUnwindSafe(|| tracing::subscriber::with_default(trace::Log, world)));
    sabotage::set(None);
    let ends = ran.unwrap_or_else(|_| {
        trace::fail(&"the simulation panicked");
        Ends::default()
    });
    let (failure, marks, lines) = trace::end();
    Outcome { failure, marks, lines, ends }
}

/// Runs a plan, and its programs on an ideal store; their ends must agree. A broken rule has to show without that.
pub(super) fn check(plan: &Plan) -> Outcome {
    let mut outcome = run(plan, false);
    if outcome.failure.is_none() && plan.sabotage.is_none() {
        let ideal = run(&plan.ideal(), false);
        let differs = || reference::compare(plan, &outcome.ends, &ideal.ends).err();
        let failure = ideal.failure.map(|failure| format!("where nothing goes wrong: {failure}")).or_else(differs);
        outcome.failure = failure;
    }
    outcome
}

/// Every line of a run.
pub(super) fn whole_trace(plan: &Plan) -> Vec<String> {
    run(plan, true).lines
}

/// Failures of a range of seeds, and what its runs met.
#[derive(Default)]
pub(super) struct Report {
    pub(super) runs: u64,
    pub(super) seconds: f64,
    /// In the order of their seeds.
    pub(super) failures: Vec<(Plan, String)>,
    pub(super) marks: BTreeMap<String, u64>,
}

/// Runs seeds on every core until so many have failed; each run has a thread to itself, so the order of the threads changes nothing.
pub(super) fn run_all(seeds: Range<u64>, failures_max: usize, plan: impl Fn(u64) -> Plan + Sync) -> Report {
    let (begun, next) = (Instant::now(), AtomicU64::new(seeds.start));
    let report = Mutex::new(Report::default());
    let lock = || report.lock().unwrap_or_else(PoisonError::into_inner);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        while lock().failures.len() < failures_max {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let plan = plan(seed);
            let outcome = check(&plan);
            let mut report = lock();
            report.runs += 1;
            for (mark, count) in outcome.marks {
                *report.marks.entry(mark).or_default() += count;
            }
            report.failures.extend(outcome.failure.map(|failure| (plan, failure)));
            show_progress(&report, &seeds, begun);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by_key(|(plan, _)| plan.seed);
    report.seconds = begun.elapsed().as_secs_f64();
    report
}

/// A line now and then, past the capture of the test harness.
fn show_progress(report: &Report, seeds: &Range<u64>, begun: Instant) {
    let all = seeds.end - seeds.start;
    if all > QUIET_SEEDS && report.runs.is_multiple_of(1000) {
        let seconds = begun.elapsed().as_secs();
        let _ = writeln!(std::io::stderr(), "{} of {all} seeds, {} failed, {seconds} s", report.runs, report.failures.len());
    }
}

/// The smallest plan that still fails, as far as taking away one thing after the other finds it, and how it fails.
pub(super) fn shrink(plan: &Plan, runs_max: usize) -> (Plan, String) {
    let mut smallest = (plan.clone(), check(plan).failure.unwrap_or_else(|| "it did not fail again".to_owned()));
    let mut runs = 0;
    'smaller: loop {
        for plan in smallest.0.smaller() {
            runs += 1;
            if runs > runs_max {
                return smallest;
            }
            if let Some(failure) = check(&plan).failure {
                smallest = (plan, failure);
                continue 'smaller;
            }
        }
        return smallest;
    }
}
