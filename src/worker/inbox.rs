//! One owned partition: its messages by instance, at most one open turn each, and its fence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bodies::{Arrived, Bodies};

/// Most messages that one turn takes; the sentinel must be able to remember their identities.
const TURN_MESSAGES_MAX: usize = 200;
/// Messages that wait for the turn of one instance even when the partition has no place left.
const INSTANCE_SHARE: usize = 64;

/// A partition from the moment it is owned until it is given up; owning it again makes a new one.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: u32,
    /// Cancelled when the partition is given up: no more receives, no more turns.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the poller has ended: no receive is under way.
    pub(crate) polled: CancellationToken,
    /// Cancelled when somebody else owns the partition, or may: open turns are dropped where they stand.
    pub(crate) lost: CancellationToken,
    /// Free places for messages in memory.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) bodies: Arc<Bodies>,
    /// Free places for turns: a share of its own, so that no partition waits for the storage of another.
    pub(crate) turns: Arc<Semaphore>,
    slots: Mutex<BTreeMap<String, Slot>>,
    idle: Notify,
    /// Until when, by the monotonic clock, nobody else can own the partition.
    fence: Mutex<Instant>,
}

/// The messages of one instance that wait for their turn. A slot exists while a task works on it.
#[derive(Debug, Default)]
struct Slot {
    queue: VecDeque<Arrived>,
}

impl Partition {
    pub(crate) fn new(id: u32, fence: Instant, places: usize, turns: usize) -> Self {
        Self {
            id,
            stopping: CancellationToken::new(),
            polled: CancellationToken::new(),
            lost: CancellationToken::new(),
            places: Arc::new(Semaphore::new(places)),
            bodies: Arc::default(),
            turns: Arc::new(Semaphore::new(turns)),
            slots: Mutex::default(),
            idle: Notify::new(),
            fence: Mutex::new(fence),
        }
    }

    /// Adds a message. `true` if the caller has to start a task for its instance.
    #[must_use]
    pub(crate) fn push(&self, arrived: Arrived) -> bool {
        let mut slots = self.slots();
        let instance_id = arrived.held.message.target.instance_id.clone();
        let is_new = !slots.contains_key(&instance_id);
        slots.entry(instance_id).or_default().queue.push_back(arrived);
        is_new
    }

    /// Takes out what instances have beyond their share of the places, for others to have some.
    pub(crate) fn surplus(&self) -> Vec<Arrived> {
        let mut slots = self.slots();
        let crowded = slots.values_mut().filter(|slot| slot.queue.len() > INSTANCE_SHARE);
        crowded.flat_map(|slot| slot.queue.split_off(INSTANCE_SHARE)).collect()
    }

    /// The next messages of an instance; `None` ends the task of the instance.
    pub(crate) fn take(&self, instance_id: &str) -> Option<Vec<Arrived>> {
        let mut slots = self.slots();
        let slot = slots.get_mut(instance_id)?;
        if slot.queue.is_empty() {
            slots.remove(instance_id);
            if slots.is_empty() {
                self.idle.notify_waiters();
            }
            return None;
        }
        let count = slot.queue.len().min(TURN_MESSAGES_MAX);
        Some(slot.queue.drain(..count).collect())
    }

    /// Puts messages back in front of what came meanwhile.
    pub(crate) fn put_back(&self, instance_id: &str, waiting: Vec<Arrived>) {
        if let Some(slot) = self.slots().get_mut(instance_id) {
            for waiting in waiting.into_iter().rev() {
                slot.queue.push_front(waiting);
            }
        }
    }

    /// Waits until nothing more is received and no instance has messages in memory.
    pub(crate) async fn idle(&self) {
        self.polled.cancelled().await;
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.slots().is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// The lease was renewed: the fence moves.
    pub(crate) fn renewed_until(&self, fence: Instant) {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = fence;
    }

    /// Somebody else owns the partition, or may: nothing more is written for it.
    pub(crate) fn lose(&self) {
        self.lost.cancel();
        self.stopping.cancel();
    }

    /// Whether this worker may write for the partition: it never asks the wall clock.
    pub(crate) fn may_commit(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < self.fence()
    }

    /// Runs a write for as long as this worker may write for the partition. `None` if it was given up, or not begun.
    pub(crate) async fn while_ours<T>(&self, write: impl Future<Output = T>) -> Option<T> {
        if !self.may_commit() {
            return None;
        }
        tokio::select! {
            biased;
            () = self.lost.cancelled() => None,
            // Before the write goes on: a process that was stopped for a while finds out here that it is too late.
            () = tokio::time::sleep_until(self.fence()) => None,
            written = write => Some(written),
        }
    }

    /// When writing must end unless the lease is renewed before.
    pub(crate) fn fence(&self) -> Instant {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_under_way_is_given_up_with_the_partition() {
        let begun = Instant::now();
        let partition = Partition::new(0, begun + Duration::from_secs(25), 1, 1);
        assert_eq!(partition.while_ours(async { 7 }).await, Some(7));
        let lose = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            partition.lose();
        };
        let (written, ()) = tokio::join!(partition.while_ours(std::future::pending::<()>()), lose);
        assert_eq!((written, begun.elapsed()), (None, Duration::from_secs(1)));
        assert_eq!(partition.while_ours(async { unreachable!("it is not begun") }).await, None::<()>);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_under_way_is_given_up_at_the_fence() {
        let begun = Instant::now();
        let partition = Partition::new(0, begun + Duration::from_secs(25), 1, 1);
        assert_eq!(partition.while_ours(std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), Duration::from_secs(25));
        assert_eq!(partition.while_ours(async { unreachable!("it is not begun") }).await, None::<()>);
    }
}
