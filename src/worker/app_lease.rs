//! Works while the app of this worker holds the app lease: acquire, work and renew, and start over when it is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::hub::app_lease::{Acquired, lease_id};

/// Between two tries of a call that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(2);

/// How often a worker that waits for another app says so.
const WARNING_EVERY: Duration = Duration::from_secs(60);

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
/// A failure that is told of ever less often.
const UNACQUIRED: &str = "the app lease could not be acquired";

/// Whose lease a worker works under.
#[derive(Debug, Default)]
pub(super) enum App {
    #[default]
    OfEnvironment,
    Named(String),
    None,
}

impl App {
    pub(super) fn name(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Named(name) => Some(name),
            // The one place where the environment is read: .NET workers of the same machine or site take their name from it.
            Self::OfEnvironment => {
                let name = ["WEBSITE_SITE_NAME", "DTFX_APP_NAME"].into_iter().find_map(|name| std::env::var(name).ok());
                Some(name.unwrap_or_default())
            }
        }
    }
}

impl Shared {
    /// Works whenever the app of this worker holds the app lease, until the worker stops.
    pub(crate) async fn work_as_app(self: Arc<Self>, app: &str) {
        let id = lease_id(app);
        let (mut state, mut warned) = (State::Acquiring, None);
        while !self.stopping.is_cancelled() {
            state = match state {
                State::Acquiring => {
                    let acquiring = self.unless_it_panics("acquiring the app lease", self.acquire(app, &id, &mut warned));
                    match acquiring.await {
                        Some(Ok(since)) => State::Held(since),
                        tried => {
                            self.pause(tried.map_or(PAUSE_AFTER_ERROR, |tried| tried.err().unwrap_or_default())).await;
                            State::Acquiring
                        }
                    }
                }
                State::Held(since) => {
                    warned = None;
                    let until = self.stopping.child_token();
                    let keeping = async {
                        self.unless_it_panics("renewing the app lease", self.keep(&id, since, &until)).await;
                        until.cancel();
                    };
                    let ((), ()) = tokio::join!(keeping, Arc::clone(&self).work_until(until.clone()));
                    State::Lost
                }
                State::Lost => {
                    tracing::warn!(app_lease = id, "the app lease was lost; another app may work");
                    State::Acquiring
                }
            };
        }
    }

    /// Tries once: since when the lease is held, or how long to wait before the next try.
    async fn acquire(&self, app: &str, id: &str, warned: &mut Option<Instant>) -> Result<Instant, Duration> {
        let before = Instant::now();
        match self.hub.app_lease.acquire(id, self.options.app_lease).await {
            Ok(Acquired::Held) => {
                self.outages.worked(UNACQUIRED, String::new);
                tracing::info!(app_lease = id, "app lease held");
                Ok(before)
            }
            Ok(Acquired::Anothers(holder)) => {
                if warned.is_none_or(|last: Instant| last.elapsed() >= WARNING_EVERY) {
                    *warned = Some(before);
                    tracing::warn!(
                        app,
                        app_lease = id,
                        holder,
                        remedy = "give the workers of all apps of this hub the same app name, or let all of them work without the app lease",
                        "another app holds the app lease; this worker stands by and asks again every few seconds"
                    );
                }
                Err(self.options.app_lease_retry)
            }
            Err(error) => {
                if let Some(failures) = self.outages.failed(UNACQUIRED, "") {
                    tracing::warn!(failures, %error, "the app lease could not be acquired");
                }
                Err(PAUSE_AFTER_ERROR)
            }
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Renews the lease until the worker stops or the lease is, or may be, another's.
    ///
    /// It is not released: the other workers of the app hold it under the same id, and some of them show nowhere. A .NET worker that loses
    /// it does nothing more until its process is restarted.
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
                renewed = tokio::time::timeout_at(fence, self.hub.app_lease.renew(id)) => renewed,
            };
            match renewed {
                Ok(Ok(true)) => {
                    since = before;
                    next = since + self.options.app_lease_renewal;
                }
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the app lease could not be renewed");
                    next = Instant::now() + PAUSE_AFTER_ERROR;
                    if next >= fence {
                        return;
                    }
                }
            }
        }
    }
}
