//! The catalogue: orchestrators and activities with the names, task order, inputs and outputs of the .NET catalogue that the
//! golden data was recorded from, so that a worker of either kind can take over what the other began. Entities are left out.

// Paths are spelled out because the tests include this file by its path, which changes where modules below it are sought.
#[path = "catalogue/activities.rs"]
mod activities;
#[path = "catalogue/orchestrators.rs"]
mod orchestrators;
#[path = "catalogue/waits.rs"]
mod waits;

use taskhub::WorkerBuilder;

/// Registers the whole catalogue.
pub(crate) fn register(builder: WorkerBuilder) -> WorkerBuilder {
    waits::register(orchestrators::register(activities::register(builder)))
}
