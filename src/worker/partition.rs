//! One owned partition: its messages by instance, at most one open turn each, and its fence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery::Delivery;
use super::intake::is_in_order;
use super::keeper;
use super::memory::Bodies;
use super::rows::RowVersions;
use super::runaway::Runaways;
use crate::hub::Received;
use crate::storage::queue::RECEIVE_MAX;
use crate::window::{Bounds, Window};

/// Most messages that one turn takes; the sentinel must be able to remember their identities.
const TURN_MESSAGES_MAX: usize = 200;
/// Most bytes of messages that one turn takes, beside its last message.
const TURN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An instance whose work takes longer is stuck as far as others are concerned, unless all take so long.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// The part of the places that an instance which is stuck may keep although others need them, beside what it works on.
const STUCK_SHARE: usize = 8;
/// The same in bytes.
const STUCK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A partition from the moment it is owned until it is given up; owning it again makes a new one.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: u32,
    /// When this worker took it.
    pub(crate) since: Instant,
    /// Cancelled when the partition is given up: no more receives, no more turns.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the poller has ended: no receive is under way.
    pub(crate) polled: CancellationToken,
    /// Cancelled when somebody else owns the partition, or may: open turns are dropped where they stand.
    pub(crate) lost: CancellationToken,
    /// Places for messages in memory.
    pub(crate) places: Arc<Window>,
    pub(crate) bodies: Bodies,
    pub(crate) rows: RowVersions,
    pub(crate) runaways: Runaways,
    /// Free places for turns: a share of its own, so that no partition waits for the storage of another.
    pub(crate) turns: Arc<Semaphore>,
    /// Messages that wait for a turn, by instance. A line exists while a task works on its instance.
    slots: Mutex<BTreeMap<String, Line<Delivery>>>,
    /// Messages that wait for bodies to be read, by instance. A line exists while a task reads for it.
    arriving: Mutex<BTreeMap<String, Line<Delivery<Received>>>>,
    idle: Notify,
    /// Until when, by the monotonic clock, nobody else can own the partition.
    fence: Mutex<Instant>,
}

/// Messages of one instance that wait.
#[derive(Debug)]
struct Line<T> {
    queue: VecDeque<T>,
    /// How many are worked on before them.
    working: usize,
    /// When somebody began to work on those before them.
    since: Instant,
}

impl Partition {
    pub(crate) fn new(id: u32, fence: Instant, places: Bounds, turns: usize) -> Self {
        Self {
            id,
            since: Instant::now(),
            stopping: CancellationToken::new(),
            polled: CancellationToken::new(),
            lost: CancellationToken::new(),
            places: Window::new(places),
            bodies: Bodies::default(),
            rows: RowVersions::default(),
            runaways: Runaways::default(),
            turns: Arc::new(Semaphore::new(turns)),
            slots: Mutex::default(),
            arriving: Mutex::default(),
            idle: Notify::new(),
            fence: Mutex::new(fence),
        }
    }

    /// Whether bodies are being read for the instance: what comes then is behind them.
    pub(crate) fn is_arriving(&self, instance_id: &str) -> bool {
        self.arriving().contains_key(instance_id)
    }

    /// Adds a message to those that are to be read. `true` if the caller has to start a task that reads for the instance.
    #[must_use]
    pub(crate) fn arrives(&self, instance_id: &str, message: Delivery<Received>) -> bool {
        let mut arriving = self.arriving();
        let is_new = !arriving.contains_key(instance_id);
        arriving.entry(instance_id.to_owned()).or_default().queue.push_back(message);
        is_new
    }

    /// The next messages to read for an instance; `None` ends the task that reads.
    pub(crate) fn arrivals(&self, instance_id: &str) -> Option<Vec<Delivery<Received>>> {
        next(&mut self.arriving(), instance_id, |queue| queue.len().min(RECEIVE_MAX))
    }

    /// Leaves what is still to be read for an instance to its expiry.
    pub(crate) fn forget_arrivals(&self, instance_id: &str) {
        self.arriving().remove(instance_id);
    }

    /// Adds a message. `true` if the caller has to start a task for its instance.
    #[must_use]
    pub(crate) fn push(&self, delivery: Delivery) -> bool {
        let mut slots = self.slots();
        let instance_id = delivery.message.target.instance_id.clone();
        let is_new = !slots.contains_key(&instance_id);
        slots.entry(instance_id).or_default().queue.push_back(delivery);
        is_new
    }

    /// The next messages of an instance; `None` ends the task of the instance.
    pub(crate) fn take(&self, instance_id: &str) -> Option<Vec<Delivery>> {
        let mut slots = self.slots();
        let sizes = |delivery: &Delivery| delivery.bytes;
        // Some came in an order that is not that of their sender: they had been handed back, or their bodies were read meanwhile.
        if let Some(line) = slots.get_mut(instance_id) {
            line.queue.make_contiguous().sort_by_key(|delivery| (delivery.inserted_on, delivery.message.sequence_number));
        }
        let taken = next(&mut slots, instance_id, |queue| fitting(queue, TURN_MESSAGES_MAX, TURN_BYTES_MAX, sizes));
        if slots.is_empty() {
            self.idle.notify_waiters();
        }
        taken
    }

    /// Takes out of memory what is too much there: of instances that make no progress most of what waits, of the others what
    /// would be renewed a second time before its turn comes. Of each instance the last ones go.
    pub(crate) fn surplus(&self, hold: Duration) -> Vec<Delivery<Received>> {
        let stuck_after = self.stuck_after();
        let most = (self.places.width() / STUCK_SHARE).max(1);
        let mut surplus = Vec::new();
        let mut stuck = Vec::new();
        for line in self.arriving().values_mut() {
            if line.since.elapsed() > stuck_after {
                // Their bodies are not in memory.
                stuck.extend(line.beyond(most, |_| 0));
            }
        }
        for line in self.slots().values_mut() {
            surplus.extend(line.overdue(hold).map(|delivery| delivery.map(Received::Held)));
            if line.since.elapsed() > stuck_after {
                stuck.extend(line.beyond(most, |delivery| delivery.bytes).map(|delivery| delivery.map(Received::Held)));
            }
        }
        // How long what is stuck has taken says nothing about the work on the others.
        stuck.iter_mut().for_each(|delivery| delivery.place().excuse());
        surplus.append(&mut stuck);
        surplus
    }

    /// Lets others work beside instances that are stuck: what these have in memory takes no place from them, within bounds.
    pub(crate) fn make_way(&self) {
        if self.turns.available_permits() == 0 {
            // What would come then could not be worked on either.
            return;
        }
        let stuck_after = self.stuck_after();
        let reading: usize = self.arriving().values().map(|line| line.stuck(stuck_after)).sum();
        let working: usize = self.slots().values().map(|line| line.stuck(stuck_after)).sum();
        if reading + working > 0 {
            self.places.widen_to(reading + working + RECEIVE_MAX);
        }
    }

    /// Where everything takes long, nothing is stuck only because it does.
    fn stuck_after(&self) -> Duration {
        STUCK_AFTER.max(2 * self.places.typical())
    }

    /// Lets the next step of the instance look at these messages again, in front of what came meanwhile.
    pub(crate) fn retry(&self, instance_id: &str, deliveries: Vec<Delivery>) {
        let mut slots = self.slots();
        let line = slots.entry(instance_id.to_owned()).or_default();
        for delivery in deliveries.into_iter().rev() {
            line.queue.push_front(delivery);
        }
    }

    /// Whether one instance has all messages that are in memory.
    pub(crate) fn serves_only_one(&self) -> bool {
        self.slots().len() == 1
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

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Line<Delivery>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arriving(&self) -> MutexGuard<'_, BTreeMap<String, Line<Delivery<Received>>>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the first messages of a line, as many as `count` says; removes a line in which nobody waits.
fn next<T>(lines: &mut BTreeMap<String, Line<T>>, instance_id: &str, count: impl Fn(&VecDeque<T>) -> usize) -> Option<Vec<T>> {
    let line = lines.get_mut(instance_id)?;
    if line.queue.is_empty() {
        lines.remove(instance_id);
        return None;
    }
    line.since = Instant::now();
    line.working = count(&line.queue);
    Some(line.queue.drain(..line.working).collect())
}

/// How many of the first are no more than so many and have, but for the last of them, no more than so many bytes.
fn fitting<T>(queue: &VecDeque<T>, most: usize, bytes_max: usize, bytes: impl Fn(&T) -> usize) -> usize {
    let mut sum = 0;
    let mut fits = |item: &T| {
        let fits = sum < bytes_max;
        sum += bytes(item);
        fits
    };
    queue.iter().take(most).map_while(|item| fits(item).then_some(())).count()
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), working: 0, since: Instant::now() }
    }
}

impl Line<Delivery> {
    /// What was renewed before and is to be renewed again, with all that waits behind it, unless a later message of the same
    /// sender, which is still in the queue, could overtake it then.
    fn overdue(&mut self, hold: Duration) -> impl Iterator<Item = Delivery> {
        let is_overdue = |waiting: &Delivery| waiting.is_renewed() && keeper::due_at(waiting, hold).is_some();
        let first = self.queue.iter().position(is_overdue).unwrap_or(self.queue.len());
        let counts = self.queue.range(first..).any(|waiting| is_in_order(&waiting.message));
        self.queue.split_off(if counts { self.queue.len() } else { first }).into_iter()
    }
}

impl<T> Line<T> {
    /// How many are in memory, if those that are worked on make no progress.
    fn stuck(&self, after: Duration) -> usize {
        if self.working > 0 && self.since.elapsed() > after { self.working + self.queue.len() } else { 0 }
    }

    /// The last of those who wait, beyond what may stay of an instance that is stuck.
    fn beyond(&mut self, most: usize, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = T> {
        let kept = fitting(&self.queue, most, STUCK_BYTES_MAX, bytes);
        self.queue.split_off(kept).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Bounds = Bounds { least: 1, first: 1, most: 1, late: Duration::from_secs(8) };

    #[tokio::test(start_paused = true)]
    async fn a_write_under_way_is_given_up_with_the_partition() {
        let begun = Instant::now();
        let partition = Partition::new(0, begun + Duration::from_secs(25), PLACES, 1);
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
        let partition = Partition::new(0, begun + Duration::from_secs(25), PLACES, 1);
        assert_eq!(partition.while_ours(std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), Duration::from_secs(25));
        assert_eq!(partition.while_ours(async { unreachable!("it is not begun") }).await, None::<()>);
    }
}
