//! Plain data of the Durable Task model: times, events, messages, status, failures. No I/O and no async.

mod event;
mod failure;
mod message;
mod state;
mod status;
mod time;

pub(crate) use event::StoredEvent;
pub use event::{EventKind, ExecutionStarted, HistoryEvent, InstanceRef, ParentInstance, Tags, TraceContext};
pub use failure::FailureDetails;
pub use message::{Message, Sender};
pub(crate) use state::{OpenTask, State, TaskKind};
pub use status::{RuntimeStatus, UnknownStatus};
pub use time::Timestamp;
