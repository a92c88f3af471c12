//! Metrics of task hubs: what workers do, how much waits, and what storage calls take and cost (docs/observability.md).
//!
//! [`Metrics`] is given to a hub when it is opened, and shows all that is measured on a page for Prometheus, or gives it to a recorder
//! of the `metrics` crate. A hub that was opened without it measures nothing.
//!
//! ```
//! use std::time::Duration;
//! use taskhub::metrics::Metrics;
//! use taskhub::{ActivityContext, Activity, Client, OrchestrationContext, Orchestrator, Storage, TaskHub, Worker};
//!
//! const PRICE: Activity<String, u32> = Activity::new("Price");
//! const TOTAL: Orchestrator<String, u32> = Orchestrator::new("Total");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = Metrics::prometheus();
//! let hub = TaskHub::builder(Storage::in_memory(), "Shop").metrics(&metrics).open().await?;
//! let worker = Worker::builder(&hub)
//!     .orchestrator(TOTAL, async |ctx: OrchestrationContext, item: String| ctx.call(PRICE, item).await.map_err(Into::into))
//!     .activity(PRICE, async |_: ActivityContext, item: String| Ok(item.len() as u32))
//!     // `GET http://127.0.0.1:9464/metrics`; port 0 takes a free one.
//!     .metrics_address("127.0.0.1:0".parse()?)
//!     .build()?;
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn(worker.run(async { drop(stopped.await) }));
//! Client::new(&hub).start(TOTAL, "tea".to_owned()).await?.result().within(Duration::from_secs(30)).await?;
//! drop(stop);
//! running.await??;
//! assert!(metrics.page().contains("taskhub_turns_total"));
//! # Ok(())
//! # }
//! ```

mod catalogue;
#[cfg(feature = "metrics")]
mod instruments;
#[cfg(not(feature = "metrics"))]
#[path = "nothing.rs"]
mod instruments;
#[cfg(feature = "metrics")]
mod page;
#[cfg(feature = "metrics")]
mod process;
#[cfg(feature = "metrics")]
mod server;
#[cfg(test)]
mod tests;

pub(crate) use catalogue::*;
pub(crate) use instruments::{Counter, Gauge, Histogram, Live, Sink, Stopwatch};
#[cfg(feature = "metrics")]
pub use page::Metrics;
