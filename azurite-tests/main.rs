//! Tests against a real storage service: an Azurite of our own, started once for the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod alone;
mod backlog;
mod blocked;
#[path = "../examples/catalogue_worker/catalogue.rs"]
mod catalogue;
// Pausing a process takes the signals of Unix.
#[cfg(unix)]
mod chaos;
#[cfg(feature = "cli")]
mod cli;
mod contract;
mod entities;
mod fleet;
mod generations;
mod harness;
mod load;
#[cfg(target_os = "linux")]
mod memory;
mod odd_ids;
mod operations;
mod patterns;
#[cfg(unix)]
mod proxy;
mod purge_pace;
mod shop;
mod storage;
mod takeover;
#[cfg(all(feature = "metrics", feature = "otel"))]
mod traces;
#[cfg(unix)]
mod update;
#[path = "../examples/catalogue_worker/versions.rs"]
mod versions;
mod workers;
