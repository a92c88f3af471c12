//! taskhub: a Durable Task engine on Azure Storage.
//!
//! An *orchestrator* is an `async fn` whose steps are recorded in a *task hub*: a crash costs the step under way, never what was
//! recorded. Steps are *activities*, timers, events and other orchestrations. A [`Worker`] hosts both, a [`Client`] starts and
//! watches *instances*, and [`Storage`] is an Azure account, Azurite, or memory.
//!
//! ```
//! use std::time::Duration;
//! use taskhub::{Activity, ActivityContext, Client, Failure, OrchestrationContext, Orchestrator, Storage, TaskHub, Worker};
//!
//! const PRICE: Activity<String, u32> = Activity::new("Price");
//! const TOTAL: Orchestrator<Vec<String>, u32> = Orchestrator::new("Total");
//!
//! async fn total(ctx: OrchestrationContext, items: Vec<String>) -> Result<u32, Failure> {
//!     // At once; each result is recorded, and after a crash only those that are missing are asked for again.
//!     let prices = futures::future::try_join_all(items.into_iter().map(|item| ctx.call(PRICE, item))).await?;
//!     Ok(prices.into_iter().sum())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = TaskHub::open(Storage::in_memory(), "Shop").await?;
//! let worker = Worker::builder(&hub)
//!     .orchestrator(TOTAL, total)
//!     .activity(PRICE, async |_: ActivityContext, item: String| Ok(item.len() as u32))
//!     .build()?;
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn(worker.run(async { drop(stopped.await) }));
//!
//! let client = Client::new(&hub);
//! let total = client.start(TOTAL, vec!["tea".to_owned(), "milk".to_owned()]).await?;
//! assert_eq!(total.result().within(Duration::from_secs(30)).await?, 7);
//!
//! drop(stop); // Everything held is handed back before `run` returns.
//! running.await??;
//! # Ok(())
//! # }
//! ```
//!
//! A whole worker, and a client in another process: `docs/getting-started.md`. What an orchestrator may do: `docs/determinism.md`. How it works: `docs/architecture.md`. Running it, and sharing a hub with
//! .NET: `docs/operations.md`. Metrics and traces, with the features `metrics` and `otel`: `docs/observability.md`. Over HTTP, with the feature `http`: `docs/http-api.md`.
//! In a browser, with the feature `dashboard`: `docs/dashboard.md`.

// Tests that run here and on Azurite name the crate as its users do.
#[cfg(test)]
extern crate self as taskhub;

mod authoring;
mod bounds;
mod client;
mod clock;
#[cfg(any(feature = "http", feature = "metrics", feature = "scaler"))]
mod connections;
#[cfg(feature = "dashboard")]
pub mod dashboard;
mod error;
#[cfg(feature = "http")]
pub mod http;
mod hub;
mod ids;
mod limits;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
mod metrics;
mod model;
mod replay;
mod rng;
mod sabotage;
#[cfg(feature = "scaler")]
pub mod scaler;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod size;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tidy;
#[cfg(feature = "otel")]
pub mod traces;
#[cfg(not(feature = "otel"))]
mod traces;
mod usage;
mod window;
mod worker;

pub use authoring::{
    Activity, ActivityContext, AsInput, Call, CallWithin, Callable, Detached, Elapsed, Event, Failure, OrchestrationContext,
    Orchestrator, Saga, TaskFailed, Timer, VersionMatch, WaitForEvent, Within, blocking, wait_all, with_state,
};
pub use client::{
    Client, Drain, DrainProgress, History, HubStatus, Instance, InstancePage, InstancePages, InstanceQuery, InstanceStatus,
    PartitionStatus, Purge, PurgeReport, QueueLengths, QueueStatus, Restart, Rewind, RewindReport, Start, Terminate, Unanswered,
    UnansweredTask, UsageReport, WaitForEnd,
};
pub use clock::Clock;
pub use error::{Error, ErrorKind};
pub use hub::{Awaited, AwaitedKind, Draining, ExportedInstance, PoisonMessage, TaskHub, TaskHubBuilder, WorkerUsage};
pub use model::{
    EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, ParentInstance, Properties, RuntimeStatus, Tags,
    Timestamp, TraceContext, UnknownStatus,
};
pub use replay::RetryPolicy;
#[cfg(feature = "entra")]
pub use storage::EntraIdentity;
pub use storage::{Error as StorageError, ErrorKind as StorageErrorKind, Storage};
pub use usage::{CallKind, Calls, Prices};
pub use worker::{InstanceLimits, Limit, Worker, WorkerBuilder, shutdown_signal};

/// JSON text as a value: a payload that is given as it is, such as one that came from elsewhere as text. It is the type of `serde_json`.
pub use serde_json::value::RawValue;

#[doc(hidden)]
pub mod internals;

/// The code in documents, compiled as doc tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/getting-started.md")]
    struct GettingStarted;
    #[doc = include_str!("../docs/versioning.md")]
    struct Versioning;
    #[cfg(all(feature = "metrics", feature = "otel"))]
    #[doc = include_str!("../docs/observability.md")]
    struct Observability;
    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/testing-workflows.md")]
    struct TestingWorkflows;
}
