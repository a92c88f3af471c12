//! Calls of storage that fail again and again: told at the first failure, then ever less often, and once when they work again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};

/// Between the first line about an outage and the second; each pause is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What fails now: by what it is, and of what, such as a queue.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<BTreeMap<(&'static str, String), Outage>>);

#[derive(Debug)]
struct Outage {
    begun: Instant,
    failures: u64,
    next: Instant,
    pause: Duration,
}

impl Outages {
    /// Counts what a call has come to, and tells the end of an outage. The error and how many failures there have been, if that is
    /// to be told now.
    pub(crate) fn after<'r, T>(
        &self,
        what: &'static str,
        of: impl FnOnce() -> String,
        result: &'r Result<T>,
    ) -> Option<(&'r Error, u64)> {
        match result {
            Ok(_) => {
                self.worked(what, of);
                None
            }
            Err(error) => Some((error, self.failed(what, &of())?)),
        }
    }

    /// Counts one more failure. How many there have been, if that is to be told now.
    pub(crate) fn failed(&self, what: &'static str, of: &str) -> Option<u64> {
        let now = Instant::now();
        let mut all = self.lock();
        let new = || Outage { begun: now, failures: 0, next: now, pause: PAUSE_MIN };
        let outage = all.entry((what, of.to_owned())).or_insert_with(new);
        outage.failures += 1;
        let is_due = outage.next <= now;
        if is_due {
            outage.next = now + outage.pause;
            outage.pause = (outage.pause * 2).min(PAUSE_MAX);
        }
        is_due.then_some(outage.failures)
    }

    /// Tells that what has failed works again.
    pub(crate) fn worked(&self, what: &'static str, of: impl FnOnce() -> String) {
        let mut all = self.lock();
        if all.is_empty() {
            return;
        }
        let of = of();
        let Some(Outage { begun, failures, .. }) = all.remove(&(what, of.clone())) else { return };
        let lasted = begun.elapsed();
        tracing::info!(what, of, failures, ?lasted, "what had failed works again");
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::storage::error::ErrorKind;
    use crate::worker::tests::overheard::Overheard;
    use crate::worker::tests::poison::{How, MINUTE, World};

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_at_its_beginning_ever_less_often_and_at_its_end() {
        let log = Overheard::default();
        let _hears = log.listen();
        let world = World::new().await;
        let acting = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            world.sabotage.set("queue.receive", "test-control-00", How::Refuse(ErrorKind::Denied));
            tokio::time::sleep(60 * MINUTE).await;
            world.sabotage.end();
            tokio::time::sleep(MINUTE).await;
        };
        world.with_worker(acting).await;
        let told = log.with("receive failed");
        // At once, and after 1, 3, 7, 15 and 31 minutes.
        assert_eq!(told.iter().filter(|line| line.contains("WARN")).count(), 6, "{told:#?}");
        assert!(told[0].contains("failures=1 ") && !told[5].contains("failures=6 "), "{told:#?}");
        let over = log.with("what had failed works again");
        assert!(over.len() == 1 && over[0].contains("of=test-control-00"), "{over:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_that_cannot_be_released_are_told_of_once() {
        let log = Overheard::default();
        let _hears = log.listen();
        let world = World::new().await;
        let acting = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            world.sabotage.set("table.replace", "TestPartitions", How::Refuse(ErrorKind::Denied));
        };
        world.with_worker(acting).await;
        let told = log.with("a partition could not be released");
        assert_eq!(told.len(), 1, "{told:#?}");
    }
}
