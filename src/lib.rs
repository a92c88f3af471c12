//! taskhub: a Durable Task engine on Azure Storage.
#![allow(dead_code)]

mod clock;
mod ids;
mod model;
mod rng;
mod storage;

pub use clock::Clock;
pub use model::{
    EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, ParentInstance, RuntimeStatus, Tags, Timestamp,
    TraceContext,
};
pub use rng::Rng;
pub use storage::{Error as StorageError, ErrorKind as StorageErrorKind, Storage};

/// What this package's own integration tests share. Not part of the API.
#[doc(hidden)]
pub mod internals {
    pub use crate::storage::contract::{run_contract, run_differential, run_strict};
}
