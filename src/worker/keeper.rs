//! The keeper: renews every message that is held long, so that the hold itself can be short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::outages::Outages;
use super::renewals::Pulse;
use crate::hub::{Hold, Hub, QueueId};

/// All messages that this worker holds.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    holds: Mutex<BTreeMap<(QueueId, String), Weak<Hold>>>,
    /// Queues whose messages are not renewed as soon as they should be.
    behind: Mutex<BTreeSet<QueueId>>,
    outages: Outages,
}

/// For how long messages are hidden, at first and when they are renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    pub(crate) first: Duration,
    pub(crate) renewed: Duration,
}

/// When to renew a message, if nobody is about to do anything with it: less than half of a first hold is left of it.
pub(crate) fn due_at(held: &Hold, hold: Duration) -> Option<Instant> {
    held.expires().filter(|at| *at < Instant::now() + hold / 2)
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

    /// Keeps a message that was held without being kept. `false` if work on it goes on already, or its hold has ended.
    pub(crate) fn keep_on(&self, hold: &Arc<Hold>) -> bool {
        let mut holds = self.lock();
        let key = (hold.queue, hold.id.clone());
        let is_free =
            holds.get(&key).and_then(Weak::upgrade).is_none() && hold.held_until().is_some_and(|at| at > Instant::now());
        if is_free {
            holds.insert(key, Arc::downgrade(hold));
        }
        is_free
    }

    /// Whether renewals of this queue come late: whoever receives more of it then makes them later.
    pub(crate) fn is_behind(&self, queue: QueueId) -> bool {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).contains(&queue)
    }

    /// Renews, for ever, what has less than half of a first hold left. No renewal waits for another: a queue that does not answer is its
    /// own trouble, and how many calls storage sees at once is the affair of their lane.
    pub(crate) async fn run(&self, hub: &Hub, holds: Holds, pulse: &Pulse) {
        let mut renewing = FuturesUnordered::new();
        let hold = holds.first;
        let mut next = Instant::now() + hold / 6;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + hold / 6;
                    // What a dead runtime holds is for others to have.
                    let due = if pulse.has_stopped() { Vec::new() } else { self.due(hold) };
                    renewing.extend(due.into_iter().map(|held| self.renew(hub, held, holds.renewed)));
                }
                Some(()) = renewing.next() => {}
            }
        }
    }

    /// What is to be renewed, the next to expire first.
    fn due(&self, hold: Duration) -> Vec<Arc<Hold>> {
        let all: Vec<_> = {
            let mut holds = self.lock();
            holds.retain(|_, held| held.strong_count() > 0);
            holds.values().filter_map(Weak::upgrade).collect()
        };
        let ends = Instant::now()..Instant::now() + hold / 4;
        let late = all.iter().filter(|held| held.held_until().is_some_and(|at| ends.contains(&at)));
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = late.map(|held| held.queue).collect();
        let mut due: Vec<_> = all.into_iter().filter_map(|held| due_at(&held, hold).map(|at| (at, held))).collect();
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, held)| held).collect()
    }

    async fn renew(&self, hub: &Hub, held: Arc<Hold>, hold: Duration) {
        const FAILED: &str = "a held message could not be renewed";
        let renewed = hub.queues.renew(&held, hold).await;
        let (queue, message_id) = (hub.queues.name(held.queue), &held.id);
        if matches!(renewed, Ok(false)) {
            tracing::debug!(message_id, "a held message was received by somebody else");
        }
        // After a failure the next sweep tries again, if the hold has not ended.
        if let Some((error, failures)) = self.outages.after(FAILED, || queue.to_owned(), &renewed) {
            tracing::warn!(queue, message_id, failures, %error, "a held message could not be renewed");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(QueueId, String), Weak<Hold>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
