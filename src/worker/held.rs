//! The keeper: renews every message that is held long, so that the hold itself can be short.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::hub::{Hold, Hub, QueueId};

/// All messages that this worker holds.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    holds: Mutex<BTreeMap<(QueueId, String), Weak<Hold>>>,
}

impl Keeper {
    /// Keeps a message until it is dropped by all who work on it. `None` if work on it goes on already: its hold had lapsed, and
    /// goes on with the newer receipt.
    pub(crate) fn keep(&self, hold: Hold) -> Option<Arc<Hold>> {
        let mut holds = self.lock();
        let key = (hold.queue, hold.id.clone());
        let hold = match holds.get(&key).and_then(Weak::upgrade) {
            Some(known) => known.adopt(hold)?,
            None => hold,
        };
        let hold = Arc::new(hold);
        holds.insert(key, Arc::downgrade(&hold));
        Some(hold)
    }

    /// Renews, for ever, what has used up a third of its hold. No renewal waits for another: a queue that does not answer is its
    /// own trouble, and how many calls storage sees at once is the affair of their lane.
    pub(crate) async fn run(&self, hub: &Hub, hold: Duration) {
        let mut renewing = FuturesUnordered::new();
        let mut next = Instant::now() + hold / 6;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + hold / 6;
                    renewing.extend(self.due(hold).into_iter().map(|held| renew(hub, held, hold)));
                }
                Some(()) = renewing.next() => {}
            }
        }
    }

    /// What has used up a third of its hold, the next to expire first.
    fn due(&self, hold: Duration) -> Vec<Arc<Hold>> {
        let all: Vec<_> = {
            let mut holds = self.lock();
            holds.retain(|_, held| held.strong_count() > 0);
            holds.values().filter_map(Weak::upgrade).collect()
        };
        let limit = Instant::now() + hold * 2 / 3;
        let mut due: Vec<_> =
            all.into_iter().filter_map(|held| held.expires().filter(|at| *at < limit).map(|at| (at, held))).collect();
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, held)| held).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(QueueId, String), Weak<Hold>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn renew(hub: &Hub, held: Arc<Hold>, hold: Duration) {
    match hub.renew(&held, hold).await {
        Ok(true) => {}
        Ok(false) => tracing::debug!(hub = hub.names_hub(), message_id = held.id, "a held message was received by somebody else"),
        // The next sweep tries again, if the hold has not ended.
        Err(error) => tracing::warn!(hub = hub.names_hub(), message_id = held.id, %error, "a held message could not be renewed"),
    }
}
