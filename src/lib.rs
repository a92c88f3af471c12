//! taskhub: a Durable Task engine on Azure Storage.
#![allow(dead_code)]

mod clock;
mod hub;
mod ids;
mod limits;
mod model;
mod rng;
mod storage;

pub use clock::Clock;
pub use model::{
    DecodeError, EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, ParentInstance, RuntimeStatus, Tags,
    Timestamp, TraceContext,
};
pub use rng::Rng;
pub use storage::{Error as StorageError, ErrorKind as StorageErrorKind, Storage};
