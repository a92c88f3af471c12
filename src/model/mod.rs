//! Plain data of the Durable Task model: times, events, messages, status, failures. No I/O and no async.

mod event;
mod failure;
pub(crate) mod json;
pub(crate) mod members;
mod message;
mod properties;
mod said;
mod state;
mod status;
mod time;
mod weight;

pub use event::{EventKind, ExecutionStarted, HistoryEvent, InstanceRef, ParentInstance, Tags, TraceContext};
pub(crate) use event::{FIRE_AND_FORGET, StoredEvent};
pub use failure::FailureDetails;
pub(crate) use json::DecodeError;
pub(crate) use json::without_lone_surrogates;
pub(crate) use json::{Incoming, JsonColumn, canonical, read_payload, text_member, wrapper_json};
pub(crate) use message::{ChildCall, Descendants, Message, Sender};
pub use properties::Properties;
pub(crate) use state::{OpenTask, Started, State, TaskKind};
pub use status::{RuntimeStatus, UnknownStatus};
pub use time::Timestamp;
pub(crate) use time::in_words;
