//! The rules that every storage account keeps, as one suite of checks that runs on memory and on a real service.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test code that an integration target shares: a broken rule panics"
)]

mod blobs;
mod differential;
mod queues;
mod strict;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

pub use differential::run_differential;

use super::Storage;
use super::error::{ErrorKind, Result};

/// Runs every check on `storage`. All names begin with `prefix`: a lower-case letter, then lower-case letters and
/// digits, at most 30. What is created is deleted again. Waits some seconds in all.
pub async fn run_contract(storage: &Storage, prefix: &str) {
    tables::run(storage, prefix).await;
    queues::run(storage, prefix).await;
    blobs::run(storage, prefix).await;
}

/// The rules that Azure keeps and Azurite does not, and those that take minutes: only for accounts in memory, with
/// paused time.
pub async fn run_strict(storage: &Storage, prefix: &str) {
    strict::run(storage, prefix).await;
}

/// The call must fail so.
#[track_caller]
fn refused<T: Debug>(answer: Result<T>, kind: ErrorKind) {
    match answer {
        Err(error) => assert_eq!(error.kind, kind, "{error}"),
        Ok(value) => panic!("expected {kind:?}, not {value:?}"),
    }
}
