//! The worker: owns partitions, runs turns and activities, and hands everything back when it stops.

mod app_lease;
mod aside;
mod builder;
mod checkpoint;
mod claim;
mod delivery;
mod descent;
mod direct;
mod dispatcher;
mod drains;
mod drop_reason;
mod executor;
mod fast_path;
mod fate;
mod hosting;
mod instance_limits;
mod intake;
mod keeper;
mod litter;
pub(crate) mod loaded;
mod local;
mod log;
mod measures;
mod memory;
mod options;
mod outages;
mod outbox;
mod ownership;
#[cfg(feature = "metrics")]
mod page;
mod park;
mod partition;
mod patience;
mod play;
mod poll;
mod recorder;
mod renewals;
mod runaway;
mod sent_ahead;
mod shutdown;
mod sightings;
mod sort;
mod spans;
mod starts;
mod step;
mod tasks;
mod throttle;
mod traced;
mod traffic;
mod turn_threads;
mod unhosted;
mod unshown;
mod usage;
mod watch;
mod without_history;
mod work_items;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use self::executor::Executor;
use self::hosting::Hosting;
use self::keeper::Keeper;
use self::local::LocalActivities;
use self::memory::Bodies;
use self::options::Options;
use self::outages::Outages;
use self::ownership::Ownership;
use self::partition::Partition;
use self::renewals::{Keeping, Pulse, RenewalThread};
use self::tasks::Tasks;
use self::traffic::Traffic;
use self::usage::Usage;
use crate::error::Result;
use crate::hub::{Hub, QueueId, TaskHub};
use crate::window::Window;

pub use self::builder::WorkerBuilder;
#[cfg(test)]
pub(crate) use self::fast_path::FastPath;
pub use instance_limits::InstanceLimits;
pub use shutdown::shutdown_signal;
pub use throttle::Limit;

/// Hosts orchestrators and activities of a task hub until it is told to stop.
///
/// Any number of workers, of this crate and of .NET, may share a hub: each owns some of its partitions.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    #[cfg(feature = "metrics")]
    page: page::Page,
}

/// What the tasks of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) local: LocalActivities,
    pub(crate) options: Options,
    pub(crate) worker_id: String,
    pub(crate) tasks: Tasks,
    pub(crate) keeper: Keeper,
    /// Whether the runtime goes on in which the worker works.
    pub(crate) pulse: Pulse,
    pub(crate) hosting: Hosting,
    pub(crate) outages: Outages,
    pub(crate) traffic: Traffic,
    pub(crate) usage: Usage,
    pub(crate) activities: Arc<Window>,
    /// When a work item that was left to other workers becomes visible, until the poller hears of it.
    pub(crate) left_until: Mutex<Option<Instant>>,
    /// Memory for large work items.
    pub(crate) items: Bodies,
    /// No new work.
    pub(crate) stopping: CancellationToken,
    /// No waiting for old work either.
    pub(crate) giving_up: CancellationToken,
}

impl Worker {
    /// Begins a worker for a hub.
    pub fn builder(hub: &TaskHub) -> WorkerBuilder {
        WorkerBuilder::new(hub)
    }

    /// The name under which the worker owns partitions; unique per process unless it was given.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.worker_id
    }

    /// Works until `shutdown` completes, then finishes open turns, hands everything back and returns.
    ///
    /// Activities that are still running after the grace period go back to their queue and run elsewhere. Dropping the
    /// returned future instead stops the worker where it stands, as a crash would: nothing is lost, but others take over only
    /// when its leases expire.
    ///
    /// # Errors
    /// Only what fails before the first message is received: the hub cannot be reached or is incomplete and cannot be created, or nothing can
    /// listen on the address of its metrics;
    /// `Mismatch` if .NET runs it with a blob lease manager.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let span = spans::worker(&self.shared.hub, &self.shared.worker_id);
        self.work_until_shutdown(shutdown).instrument(span).await
    }

    async fn work_until_shutdown(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        #[cfg(feature = "metrics")]
        let page = self.page.serve().await?;
        #[cfg(not(feature = "metrics"))]
        let page = std::future::pending::<()>();
        shared.hub.check_lease_manager()?;
        shared.hub.ensure().await?;
        tracing::info!("worker started");
        let _watching = shared.executor.start_watch(&shared.hub.clock);
        let renewals = RenewalThread::start(&shared.hub.clock);
        shared.tasks.run_in(renewals.handle());
        // Not among the tasks that stopping waits for: it renews to the very end.
        let keeping = Keeping::start(&shared, &renewals);
        let teller = Arc::clone(&shared);
        // Boxed, so that who nests the future of the worker in others, as tests do, does not carry all of them on the stack.
        let telling = teller.steadily("telling what is waited for", |_| teller.hosting.tell(&teller.hub, teller.options.refresh));
        let telling = telling.boxed();
        let measuring = Arc::clone(&shared);
        let measuring = measuring.steadily("measuring queues", |_| measuring.measure()).boxed();
        let counting = Arc::clone(&shared);
        let counting = counting.steadily("telling the storage calls", |_| counting.tell_usage()).boxed();
        let working = async {
            shared.tasks.spawn_renewing(Arc::clone(&shared).work());
            shutdown.await;
            tracing::info!("worker stopping");
            shared.stopping.cancel();
            shared.finish().await;
        };
        tokio::select! {
            biased;
            () = working => {}
            () = shared.pulse.beat(&shared.hub.clock) => {}
            () = telling => {}
            () = counting => {}
            () = measuring => {}
            () = page => {}
        }
        keeping.end().await;
        shared.hosting.withdraw(&shared.hub).await;
        shared.tell_last_usage().await;
        tracing::info!("worker stopped");
        Ok(())
    }
}

impl Drop for Worker {
    /// A worker that is dropped while it runs stops where it stands.
    fn drop(&mut self) {
        self.shared.tasks.abort_all();
    }
}

impl Shared {
    /// Works until the worker stops, whenever its app may.
    async fn work(self: Arc<Self>) {
        match self.options.app_name.clone() {
            Some(app) => self.work_as_app(&app).await,
            None => Arc::clone(&self).work_until(self.stopping.clone()).await,
        }
    }

    /// Owns partitions and receives work items; returns when both have ended and the partitions are released.
    async fn work_until(self: Arc<Self>, until: CancellationToken) {
        let tracker = TaskTracker::new();
        let (shared, ending) = (Arc::clone(&self), until.clone());
        let polling = async move {
            let poll = |_| Arc::clone(&shared).poll_work_items(ending.clone());
            shared.steadily("receiving work items", poll).await;
        };
        self.tasks.spawn(tracker.track_future(polling));
        // A task of its own, on a thread of its own, so that lease calls never wait behind data calls or code of users.
        let shared = Arc::clone(&self);
        let owning = async move {
            let own = |again| Ownership::new(Arc::clone(&shared), until.clone()).run(again);
            shared.steadily("owning partitions", own).await;
        };
        self.tasks.spawn_renewing(tracker.track_future(owning));
        tracker.close();
        tracker.wait().await;
    }

    /// Lets open work end, hands back what does not, and leaves to its expiry what storage does not take back in time.
    async fn finish(&self) {
        if tokio::time::timeout(self.options.grace, self.tasks.finish()).await.is_ok() {
            return;
        }
        self.giving_up.cancel();
        if tokio::time::timeout(self.options.hand_back_timeout, self.tasks.finish()).await.is_err() {
            tracing::warn!("not everything could be handed back in time");
            self.tasks.abort_all();
            self.tasks.finish().await;
        }
    }

    pub(crate) fn partition_of_queue(&self, queue: &str) -> Option<u32> {
        (0..self.hub.partition_count).find(|p| self.hub.names.control_queue(*p) == queue)
    }

    /// Begins to receive from a partition.
    pub(crate) fn listen(self: &Arc<Self>, id: u32, fence: Instant) -> Arc<Partition> {
        self.hosting.forget_queue(QueueId::Control(id));
        let share = self.options.share_of_one_in(self.hub.partition_count as usize);
        let partition = Arc::new(Partition::new(id, fence, self.options.messages_window(), share));
        let polling = Arc::clone(self).poll_partition(Arc::clone(&partition));
        self.tasks.spawn(polling.instrument(spans::partition(id)));
        self.tasks.spawn(unshown::keep_shown(Arc::clone(self), Arc::clone(&partition)).instrument(spans::partition(id)));
        partition
    }

    /// Stops work on a partition, and tells when nothing of it is in memory any more.
    pub(crate) fn drain(self: &Arc<Self>, partition: &Arc<Partition>, drained: &Arc<AtomicBool>, bell: &Arc<Notify>) {
        partition.stopping.cancel();
        let (shared, partition) = (Arc::clone(self), Arc::clone(partition));
        let (drained, bell) = (Arc::clone(drained), Arc::clone(bell));
        let span = spans::partition(partition.id);
        let draining = async move {
            let draining = async {
                if tokio::time::timeout(shared.options.drain_timeout, partition.idle()).await.is_err() {
                    tracing::warn!("turns are still open after the drain; they are dropped");
                    partition.lose();
                    // Their messages go back before the next owner looks for them.
                    drop(tokio::time::timeout(shared.options.drop_timeout, partition.idle()).await);
                }
                drop(tokio::time::timeout(shared.options.drop_timeout, shared.show_all_updates(&partition)).await);
            };
            shared.unless_it_panics("draining a partition", draining).await;
            drained.store(true, Ordering::Release);
            bell.notify_one();
        };
        self.tasks.spawn(draining.instrument(span));
    }
}
