//! The worker: owns partitions, runs turns and activities, and hands everything back when it stops.

mod activity;
mod app_lease;
mod bodies;
mod checkpoint;
mod claim;
mod dispatcher;
mod held;
mod host;
mod hosting;
mod inbox;
mod intake;
mod litter;
mod log;
mod options;
mod orchestration;
#[cfg(test)]
mod order;
mod partitions;
mod poison;
mod poll;
mod reconcile;
mod rows;
mod runaway;
mod tasks;
mod turn;
mod unhosted;
mod watch;
mod without_history;

pub(crate) use host::Shared;
pub use host::{Worker, WorkerBuilder};

#[cfg(test)]
mod apps;
#[cfg(test)]
mod backlog;
#[cfg(test)]
mod carried;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod counts;
#[cfg(test)]
mod crash_points;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod cut_off;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod hosting_tests;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod logged;
#[cfg(test)]
mod manners;
#[cfg(test)]
mod marked;
#[cfg(test)]
mod mixed_apps;
#[cfg(test)]
mod mixed_hub;
#[cfg(test)]
mod odd_ids;
#[cfg(test)]
mod old_owner;
#[cfg(test)]
mod overheard;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod poison_tests;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod stored_values;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod texts;
