//! taskhub: a Durable Task engine on Azure Storage.
#![allow(dead_code)]

mod authoring;
mod clock;
mod ids;
mod model;
mod replay;
mod rng;
mod storage;

pub use authoring::{
    Activity, ActivityContext, AsInput, Call, Callable, Detached, Elapsed, Event, Failure, OrchestrationContext, Orchestrator,
    TaskFailed, Timer, WaitForEvent, Within,
};
pub use clock::Clock;
pub use model::{
    EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, ParentInstance, RuntimeStatus, Tags, Timestamp,
    TraceContext,
};
pub use replay::RetryPolicy;
pub use rng::Rng;
#[cfg(feature = "entra")]
pub use storage::EntraIdentity;
pub use storage::{Error as StorageError, ErrorKind as StorageErrorKind, Storage};

/// What this package's own integration tests share. Not part of the API.
#[doc(hidden)]
pub mod internals {
    pub use crate::storage::azure::repairs as azure_repairs;
    pub use crate::storage::contract::{run_contract, run_differential, run_strict};
}
