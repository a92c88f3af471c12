//! Works while the app of this worker holds the app lease: acquire, work and renew, and start over when it is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::partitions::Ownership;

/// Between two tries of a call that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(2);

/// Where a worker stands with the app lease.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Another app works, or nobody yet.
    Acquiring,
    /// Ours, since a call that began then.
    Held(Instant),
    /// Another app has it, or may have it.
    Lost,
}

impl Shared {
    /// Receives work until the worker stops, whenever its app may.
    pub(crate) async fn work(self: Arc<Self>) {
        let Some(id) = self.options.app_lease_id.clone() else {
            return Arc::clone(&self).work_until(self.stopping.clone()).await;
        };
        let mut state = State::Acquiring;
        while !self.stopping.is_cancelled() {
            state = match state {
                State::Acquiring => self.acquire(&id).await,
                State::Held(since) => {
                    let until = self.stopping.child_token();
                    let keeping = async {
                        self.keep(&id, since, &until).await;
                        until.cancel();
                    };
                    let ((), ()) = tokio::join!(keeping, Arc::clone(&self).work_until(until.clone()));
                    State::Lost
                }
                State::Lost => {
                    tracing::warn!(hub = self.hub.names_hub(), app_lease = id, "the app lease was lost; another app may work");
                    State::Acquiring
                }
            };
        }
    }

    /// Owns partitions and receives work items; returns when both have ended and the partitions are released.
    async fn work_until(self: Arc<Self>, until: CancellationToken) {
        let tracker = TaskTracker::new();
        self.tasks.spawn(tracker.track_future(Arc::clone(&self).poll_work_items(until.clone())));
        // A task of its own, so that lease calls never wait behind data calls.
        self.tasks.spawn(tracker.track_future(Ownership::new(Arc::clone(&self), until).run()));
        tracker.close();
        tracker.wait().await;
    }

    /// Tries once, and waits before the next try if it was in vain.
    async fn acquire(&self, id: &str) -> State {
        let before = Instant::now();
        let pause = match self.hub.acquire_app_lease(id, self.options.app_lease).await {
            Ok(true) => {
                tracing::info!(hub = self.hub.names_hub(), app_lease = id, "app lease held");
                return State::Held(before);
            }
            Ok(false) => {
                tracing::info!(hub = self.hub.names_hub(), app_lease = id, "another app holds the app lease; waiting for it");
                self.options.app_lease_retry
            }
            Err(error) => {
                tracing::warn!(hub = self.hub.names_hub(), %error, "the app lease could not be acquired");
                PAUSE_AFTER_ERROR
            }
        };
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        State::Acquiring
    }

    /// Renews the lease until the worker stops or the lease is, or may be, another's.
    ///
    /// It is not released: the other workers of the app hold it under the same id.
    async fn keep(&self, id: &str, mut since: Instant, until: &CancellationToken) {
        let mut next = since + self.options.app_lease_renewal;
        loop {
            tokio::select! {
                biased;
                () = until.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            let (before, fence) = (Instant::now(), since + self.options.app_lease.saturating_sub(self.options.lease_margin));
            let renewed = tokio::select! {
                biased;
                () = until.cancelled() => return,
                renewed = tokio::time::timeout_at(fence, self.hub.renew_app_lease(id)) => renewed,
            };
            match renewed {
                Ok(Ok(true)) => {
                    since = before;
                    next = since + self.options.app_lease_renewal;
                }
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::warn!(hub = self.hub.names_hub(), %error, "the app lease could not be renewed");
                    next = Instant::now() + PAUSE_AFTER_ERROR;
                    if next >= fence {
                        return;
                    }
                }
            }
        }
    }
}
