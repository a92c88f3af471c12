//! taskhub: a Durable Task engine on Azure Storage.

mod authoring;
mod client;
mod clock;
mod error;
mod hub;
mod ids;
mod limits;
mod model;
mod replay;
mod rng;
mod sabotage;
#[cfg(test)]
mod simulation;
mod storage;
#[cfg(test)]
mod tidy;
mod worker;

pub use authoring::{
    Activity, ActivityContext, AsInput, Call, Callable, Detached, Elapsed, Event, Failure, OrchestrationContext, Orchestrator,
    TaskFailed, Timer, WaitForEvent, Within,
};
pub use client::{Client, HubStatus, InstancePage, InstanceQuery, InstanceStatus, PartitionStatus, QueueStatus, Start};
pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use hub::{PoisonMessage, TaskHub, TaskHubBuilder};
pub use model::{
    DecodeError, EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, ParentInstance, RuntimeStatus, Tags,
    Timestamp, TraceContext, UnknownStatus,
};
pub use replay::RetryPolicy;
pub use rng::Rng;
#[cfg(feature = "entra")]
pub use storage::EntraIdentity;
pub use storage::{Error as StorageError, ErrorKind as StorageErrorKind, Storage};
pub use worker::{Worker, WorkerBuilder};

#[doc(hidden)]
pub mod internals;
