//! What users write orchestrations with: typed handles, the context, awaitables, failures, the registry.
#![allow(clippy::result_large_err, reason = "a failure is made once, on a path that is not hot")]

mod activity;
mod adapt;
mod bare_runtime;
mod call;
mod context;
mod excess;
mod failure;
mod handle;
mod names;
mod payload;
mod registry;
#[cfg(feature = "testing")]
mod rehearsal;
mod rigour;
mod saga;
#[cfg(test)]
mod tests;
mod versioning;
mod wait;

pub use activity::ActivityContext;
pub(crate) use activity::Ends;
pub use adapt::{blocking, with_state};
pub use call::{Call, CallWithin, Detached};
pub use context::OrchestrationContext;
pub use failure::{Failure, TaskFailed};
pub use handle::{Activity, AsInput, Callable, Event, Orchestrator};
pub(crate) use names::Serves;
#[allow(unused_imports, reason = "the worker uses them")]
pub(crate) use payload::MISFIT;
pub(crate) use registry::{ActivityTask, Code, Registry, RegistryBuilder};
#[cfg(feature = "testing")]
pub(crate) use rehearsal::{Decided, Rehearsal};
pub(crate) use rigour::Rigour;
pub use saga::{Saga, wait_all};
pub use versioning::VersionMatch;
pub use wait::{Elapsed, Timer, WaitForEvent, Within};
