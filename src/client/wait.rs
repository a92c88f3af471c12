//! Waiting for an instance: for its end, for a status of it, for any change.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use super::status::resolved;
use super::{Client, Instance, InstanceStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::hub::instances::{StoredRow, Until};
use crate::ids;
use crate::model::{RuntimeStatus, in_words};

/// First and longest pause between two looks of a wait.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How a wait ended: with the row that was waited for, or the last one that was seen in the time that it had. Where the end was waited for they have the
/// output.
type Waited = std::result::Result<StoredRow, (StoredRow, Duration)>;

impl Client {
    /// Waits until the instance has ended; for ever if the limit is `Duration::MAX`.
    pub(crate) async fn wait(&self, id: &(impl AsRef<str> + ?Sized), limit: Duration) -> Result<InstanceStatus> {
        let id = id.as_ref();
        self.ended(id, limit).await?;
        self.status(id).await?.ok_or_else(|| self.no_instance(id))
    }

    /// The same without the input.
    pub(super) async fn wait_for_output(&self, id: &str, limit: Duration) -> Result<InstanceStatus> {
        resolved(&self.hub, self.ended(id, limit).await?).await
    }

    async fn ended(&self, id: &str, limit: Duration) -> Result<StoredRow> {
        let has_ended = |stored: &StoredRow| stored.row.status.is_some_and(RuntimeStatus::is_terminal);
        self.watch(id, Until::End, limit, has_ended).await?.map_err(|(last, limit)| still(id, &last, limit))
    }

    /// Waits until the status fits, which has neither input nor output then.
    pub(super) async fn wait_until(
        &self,
        id: &str,
        limit: Duration,
        fits: impl Fn(&InstanceStatus) -> bool,
    ) -> Result<InstanceStatus> {
        let is_it = |stored: &StoredRow| {
            let status = InstanceStatus::without_payloads(stored);
            status.status.is_terminal() || fits(&status)
        };
        let stored = self.watch(id, Until::Change, limit, is_it).await?.map_err(|(last, limit)| still(id, &last, limit))?;
        if !fits(&InstanceStatus::without_payloads(&stored)) {
            let status = stored.row.status.unwrap_or(RuntimeStatus::Running);
            let message = format!("instance \"{id}\" is {status}, and has not come to what was waited for");
            return Err(Error::new(ErrorKind::Ended, message));
        }
        self.status(id).await?.ok_or_else(|| self.no_instance(id))
    }

    /// Waits until the row is another than that of this revision.
    pub(super) async fn changed(&self, id: &str, since: &str, limit: Duration) -> Result<InstanceStatus> {
        match self.watch(id, Until::Change, limit, |stored| stored.etag.0 != since).await? {
            Ok(_) => self.status(id).await?.ok_or_else(|| self.no_instance(id)),
            Err((last, limit)) => Err(still(id, &last, limit)),
        }
    }

    /// Looks at the row, with growing pauses, until it is as wanted. What this process writes is seen at once.
    pub(super) async fn watch(
        &self,
        id: &str,
        until: Until,
        limit: Duration,
        mut is_it: impl FnMut(&StoredRow) -> bool,
    ) -> Result<Waited> {
        ids::check_key(id)?;
        let begun = tokio::time::Instant::now();
        let watching = self.hub.instances.watch(id, until);
        let queues = &self.hub.queues;
        let readers = queues.readers(queues.of_instance(id));
        let mut pause = WAIT_MIN;
        #[cfg(feature = "testing")]
        let limit = self.hub.changes.as_ref().map_or(limit, |changes| changes.patience.min(limit));
        loop {
            #[cfg(feature = "testing")]
            let changed_anywhere = self.hub.changes.as_ref().map(|changes| changes.next());
            let changed = watching.changed();
            let stored = match until {
                Until::End => self.hub.instances.read_with_output(id).await?,
                Until::Change => self.hub.instances.read(id, false).await?,
            };
            let stored = stored.ok_or_else(|| self.no_instance(id))?;
            if is_it(&stored) {
                return Ok(Ok(stored));
            }
            // The last look is at the very end.
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(Err((stored, limit)));
            }
            #[cfg(feature = "testing")]
            if let Some(changed) = changed_anywhere {
                drop(tokio::time::timeout(left, changed).await);
                continue;
            }
            // What this process works on is told.
            let until_next = if readers.is_any() { WAIT_MAX } else { pause };
            let was_told = tokio::time::timeout(until_next.min(left), changed).await.is_ok();
            pause = if was_told { WAIT_MIN } else { (pause * 5 / 4).min(WAIT_MAX) };
        }
    }
}

/// What a wait tells that was too short.
pub(super) fn still(id: &str, last: &StoredRow, limit: Duration) -> Error {
    let status = last.row.status.unwrap_or(RuntimeStatus::Running);
    Error::new(ErrorKind::Timeout, format!("instance \"{id}\" is still {status} after {}", in_words(limit)))
}

/// A wait for an instance: await it for what [`Instance::wait`], [`Instance::wait_until`], [`Instance::changed`] or [`Instance::result`]
/// promises. It borrows nothing.
#[must_use = "nothing waits until it is awaited"]
pub struct WaitForEnd<T> {
    instance: Instance,
    limit: Duration,
    run: Run<T>,
}

type Run<T> = Box<dyn FnOnce(Instance, Duration) -> Ending<T> + Send>;
type Ending<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

impl<T> WaitForEnd<T> {
    pub(super) fn new<O, F>(instance: &Instance<O>, run: impl FnOnce(Instance, Duration) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let run: Run<T> = Box::new(|instance, limit| Box::pin(run(instance, limit)));
        Self { instance: instance.untyped(), limit: Duration::MAX, run }
    }

    /// Gives up after `limit` with the kind `Timeout`; the instance goes on. With zero it looks once.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl<T> IntoFuture for WaitForEnd<T> {
    type Output = Result<T>;
    type IntoFuture = Ending<T>;

    fn into_future(self) -> Self::IntoFuture {
        (self.run)(self.instance, self.limit)
    }
}

impl<T> fmt::Debug for WaitForEnd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitForEnd").field("instance", &self.instance.id()).field("limit", &self.limit).finish_non_exhaustive()
    }
}
