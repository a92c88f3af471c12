//! One turn of an orchestrator: history and new events in, decisions out. Pure and synchronous; no I/O, no wall clock.
#![allow(clippy::result_large_err, reason = "a failure is made once, on a path that is not hot")]

mod disagreement;
mod engine;
mod execution;
mod failures;
mod inputs;
mod label;
mod long_timer;
mod mailbox;
mod patches;
mod retry;
mod state;
mod turn;
mod waits;
mod waker;

pub(crate) use disagreement::disagreement;
#[cfg(feature = "testing")]
pub(crate) use disagreement::input_of;
pub(crate) use engine::{Live, Program, Start, run};
pub(crate) use execution::Execution;
pub(crate) use failures::{is_panic, not_durable, panicked};
pub(crate) use inputs::Difference;
#[cfg(feature = "testing")]
pub(crate) use inputs::only_argument;
pub use retry::RetryPolicy;
pub(crate) use state::{Next, TaskEnd, TaskName};
#[allow(unused_imports, reason = "the worker uses them")]
pub(crate) use turn::{Action, ActionKind, Completion, Outcome, Retrying, Turn};
pub(crate) use waits::{EventWait, TaskWait, TimerWait};
