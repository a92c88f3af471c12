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
#[cfg(feature = "entra")]
pub use storage::EntraIdentity;
pub use storage::{Error as StorageError, ErrorKind as StorageErrorKind, Storage};

/// Not part of the public API: what the `azurite` test target needs from inside. It may change in any release.
#[doc(hidden)]
pub mod internals {
    pub use crate::storage::azure::repairs as azure_repairs;
}
