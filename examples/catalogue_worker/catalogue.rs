//! The catalogue: orchestrators and activities with the names, task order, inputs and outputs of the .NET catalogue that the
//! golden data was recorded from, so that a worker of either kind can take over what the other began. Entities are left out.

// Paths are spelled out because the tests include this file by its path, which changes where modules below it are sought.
#[path = "catalogue/activities.rs"]
mod activities;
#[path = "catalogue/orchestrators.rs"]
mod orchestrators;
#[path = "catalogue/waits.rs"]
mod waits;

use std::sync::atomic::{AtomicBool, Ordering};

use taskhub::{Activity, Call, WorkerBuilder};

/// Whether short activities run inside their turns.
static RUNS_LOCAL: AtomicBool = AtomicBool::new(false);

/// Runs short activities inside their turns from now on, in all workers of this process.
#[allow(dead_code, reason = "tests run the catalogue as .NET does")]
pub(crate) fn run_local() {
    RUNS_LOCAL.store(true, Ordering::Relaxed);
}

/// A call of a short activity. History tells nobody whether it is a local one, so it may change between two turns.
pub(crate) fn short<I, O>(call: Call<Activity<I, O>>) -> Call<Activity<I, O>> {
    if RUNS_LOCAL.load(Ordering::Relaxed) { call.local() } else { call }
}

/// Registers the whole catalogue.
pub(crate) fn register(builder: WorkerBuilder) -> WorkerBuilder {
    waits::register(orchestrators::register(activities::register(builder)))
}
