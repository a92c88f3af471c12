//! One turn of an orchestrator: history and new events in, decisions out. Pure and synchronous; no I/O, no wall clock.

mod engine;
mod execution;
mod label;
mod mailbox;
mod retry;
mod state;
mod turn;
mod waits;
mod waker;

pub(crate) use engine::{End, Program, panicked, run};
pub(crate) use execution::Execution;
pub use retry::RetryPolicy;
pub(crate) use state::TaskFault;
pub(crate) use turn::{Action, ActionKind, Completion, Outcome, Turn};
pub(crate) use waits::{EventWait, TaskWait, TimerWait};
