//! Instance rows that lack nothing but the time of the last update: they are written a little later, once for many turns.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Shared;
use super::dispatcher::several_at_once;
use super::partition::{Partition, SeenRow};
use crate::sabotage::{self, Sabotage};

/// How long a row may lack the time of the last update.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// The instances of a partition whose rows lack it, those first that have lacked it for longest.
#[derive(Debug, Default)]
pub(crate) struct Unshown {
    due: Mutex<VecDeque<(Instant, String)>>,
    news: Notify,
}

impl Unshown {
    /// The row of this instance lacks the time of the last update from now on.
    pub(super) fn add(&self, instance_id: &str) {
        let mut due = self.due();
        if due.is_empty() {
            self.news.notify_one();
        }
        due.push_back((Instant::now() + SHOWN_AFTER, instance_id.to_owned()));
    }

    /// Those that have lacked it for long enough by this time.
    fn take(&self, by: Instant) -> Vec<String> {
        let mut due = self.due();
        let count = due.iter().take_while(|(at, _)| *at <= by).count();
        due.drain(..count).map(|(_, instance_id)| instance_id).collect()
    }

    /// Waits until one has lacked it for long enough.
    async fn next(&self) {
        loop {
            let first = self.due().front().map(|(at, _)| *at);
            match first {
                Some(at) => return tokio::time::sleep_until(at).await,
                None => self.news.notified().await,
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, VecDeque<(Instant, String)>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Writes the rows of a partition that lack the time of the last update, until the partition is given up.
    pub(crate) async fn show_updates(&self, partition: &Partition) {
        loop {
            tokio::select! {
                biased;
                () = partition.stopping.cancelled() => return,
                () = partition.unshown.next() => self.show_updates_by(partition, Instant::now()).await,
            }
        }
    }

    /// Writes all of them, before somebody else has the partition.
    pub(crate) async fn show_all_updates(&self, partition: &Partition) {
        self.show_updates_by(partition, Instant::now() + SHOWN_AFTER).await;
    }

    async fn show_updates_by(&self, partition: &Partition, by: Instant) {
        let writes = partition.unshown.take(by).into_iter().map(|instance_id| async move {
            partition.while_ours(self.show_update(partition, &instance_id)).await.unwrap_or_default();
        });
        several_at_once(writes.map(FutureExt::boxed).collect()).await;
    }

    /// A row that could not be written stays as it is until the next turn of its instance: it lacks nothing that matters.
    async fn show_update(&self, partition: &Partition, instance_id: &str) {
        let Some((SeenRow { version, shown }, updated)) = partition.take_unshown(instance_id) else { return };
        if sabotage::is(Sabotage::UpdatesNeverShown) {
            return;
        }
        match self.hub.instances.show_update(instance_id, updated, version).await {
            Ok(Some(version)) => partition.saw_row(instance_id, SeenRow { version, shown }),
            Ok(None) => {}
            Err(error) => tracing::debug!(instance = instance_id, %error, "the time of an update is not shown yet"),
        }
    }
}

/// Begins to write the rows of a partition.
pub(super) async fn keep_shown(shared: Arc<Shared>, partition: Arc<Partition>) {
    shared.unless_it_panics("showing updates", shared.show_updates(&partition)).await;
}
