//! The worker: owns partitions, runs turns and activities, and hands everything back when it stops.

mod activity;
mod app_lease;
mod aside;
mod bodies;
mod checkpoint;
mod claim;
mod delivery;
mod dispatcher;
mod drop_reason;
mod held;
mod host;
mod hosting;
mod inbox;
mod intake;
mod litter;
mod log;
mod options;
mod orchestration;
mod outages;
mod partitions;
mod poison;
mod poll;
mod reconcile;
mod rows;
mod runaway;
mod shutdown;
mod sightings;
mod sorted;
mod tasks;
mod turn;
mod unhosted;
mod watch;
mod without_history;

pub(crate) use host::Shared;
pub use host::{Worker, WorkerBuilder};
pub use shutdown::shutdown_signal;

#[cfg(test)]
mod tests;
