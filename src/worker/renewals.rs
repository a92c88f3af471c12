//! A thread of its own for what renews leases and held messages, so that code which keeps the threads of the runtime costs the worker nothing that
//! it owns; and the pulse of that runtime, because what stands still for good is to be given up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

use super::Shared;
use super::keeper::Holds;
use crate::clock::Clock;
use crate::hub::renew_on_this_thread;

/// How often the runtime shows that it goes on.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A runtime that stands still for longer does not come back: others are to have its partitions.
const STANDSTILL_MAX: Duration = Duration::from_secs(300);

/// The thread that renews, until this is dropped.
#[derive(Debug)]
pub(super) struct RenewalThread(Option<Runtime>);

/// The renewal of held messages, until this is dropped.
#[derive(Debug)]
pub(super) struct Keeping(JoinHandle<()>);

/// When the runtime that does the work has last shown that it goes on.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Option<Instant>>);

impl RenewalThread {
    /// Starts it. Under a paused clock, where runs must repeat, there is none.
    pub(super) fn start(clock: &Clock) -> Self {
        if !clock.is_real() {
            return Self(None);
        }
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).thread_name("taskhub-renewals").on_thread_start(renew_on_this_thread).enable_all();
        match runtime.build() {
            Ok(runtime) => Self(Some(runtime)),
            Err(error) => {
                tracing::warn!(%error, "no thread can be had for renewals; they wait for code that keeps the threads of the runtime");
                Self(None)
            }
        }
    }

    /// Where what renews is run; in the runtime of the caller if there is no thread.
    pub(super) fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for RenewalThread {
    fn drop(&mut self) {
        // Merely dropped it would block, which a task of the runtime around may not.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Keeping {
    #[allow(clippy::disallowed_methods, reason = "it is none of the tasks that stopping waits for")]
    pub(super) fn start(shared: &Arc<Shared>, thread: &RenewalThread) -> Self {
        let shared = Arc::clone(shared);
        let keeping = async move {
            let (hub, holds) = (&shared.hub, Holds { first: shared.options.hold, renewed: shared.options.renewed_hold });
            shared.steadily("renewing held messages", |_| shared.keeper.run(hub, holds, &shared.pulse)).await;
        };
        Self(thread.handle().spawn(keeping.in_current_span().with_current_subscriber()))
    }

    /// Ends it, and waits until its thread has let go of the worker: the last to do so exports the last spans, and the program may end when the
    /// worker has.
    pub(super) async fn end(mut self) {
        self.0.abort();
        drop((&mut self.0).await);
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pulse {
    /// Beats for as long as the runtime of the caller goes on.
    pub(super) async fn beat(&self, clock: &Clock) {
        if !clock.is_real() {
            return std::future::pending().await;
        }
        loop {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            tokio::time::sleep(BEAT_EVERY).await;
        }
    }

    /// Whether the runtime has stood still for so long that it counts as dead.
    pub(super) fn has_stopped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|last| last.elapsed() > STANDSTILL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;
    use crate::{TaskHub, Worker};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_that_has_returned_holds_its_hub_on_no_thread() {
        for _ in 0..50 {
            let hub = TaskHub::open(Storage::in_memory(), "Test").await.unwrap();
            Worker::builder(&hub).run(tokio::time::sleep(Duration::from_millis(1))).await.unwrap();
            assert_eq!(Arc::strong_count(&hub.0), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_stands_still_for_five_minutes_counts_as_dead_until_it_goes_on() {
        let pulse = Pulse::default();
        assert!(!pulse.has_stopped(), "one that has not begun is none that stands still");
        let beats = |clock: Clock| {
            let pulse = &pulse;
            async move { drop(tokio::time::timeout(Duration::from_millis(10), pulse.beat(&clock)).await) }
        };
        beats(Clock::system()).await;
        tokio::time::sleep(STANDSTILL_MAX - BEAT_EVERY).await;
        assert!(!pulse.has_stopped());
        tokio::time::sleep(2 * BEAT_EVERY).await;
        assert!(pulse.has_stopped());
        beats(Clock::system()).await;
        assert!(!pulse.has_stopped());
    }
}
