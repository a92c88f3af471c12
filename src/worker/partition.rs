//! One owned partition: its instances, at most one open turn of each, and its fence.

mod idle;
mod instance;
mod mailbox;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::instance::Instances;
pub(crate) use self::instance::SeenRow;
use self::mailbox::Receiving;
pub(crate) use self::mailbox::{Next, Ordered, is_in_order};
use super::delivery::{Delivery, Holding};
use super::loaded::Loaded;
use super::memory::Bodies;
use super::options::Share;
use super::runaway::{Pace, Told};
use super::step::back_off;
use super::unshown::Unshown;
use crate::hub::{Hold, Received};
use crate::model::Timestamp;
use crate::storage::queue::RECEIVE_MAX;
use crate::window::{Bounds, Window};

/// An instance whose work takes longer is stuck as far as others are concerned, unless all take so long.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// The part of the places that an instance which is stuck may keep although others need them, beside what it works on.
const STUCK_SHARE: usize = 8;
/// Timers in memory, beside those that wait in the queue.
const TIMERS_MAX: usize = 10_000;
/// How long bodies are read on when the partition is given up.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// The longest that a message stays away which is handed back for want of room.
const CROWDED_OUT_MAX: Duration = Duration::from_secs(30);

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
    /// Seats for timers that fire from memory.
    pub(crate) timers: Arc<Semaphore>,
    /// What was told of instances that run away.
    pub(crate) told: Told,
    /// Places for turns: a share of its own, so that no partition waits for the storage of another.
    pub(crate) turns: Arc<Window>,
    instances: Mutex<Instances>,
    pub(crate) unshown: Unshown,
    /// How messages are received; nothing since a receive failed, or before the first.
    receiving: Mutex<Option<Receiving>>,
    /// How much goes on beside the instances.
    beside: AtomicUsize,
    idle: Notify,
    /// Until when, by the monotonic clock, nobody else can own the partition.
    fence: Mutex<Instant>,
}

impl Partition {
    pub(crate) fn new(id: u32, fence: Instant, places: Bounds, share: Share) -> Self {
        Self {
            id,
            since: Instant::now(),
            stopping: CancellationToken::new(),
            polled: CancellationToken::new(),
            lost: CancellationToken::new(),
            places: Window::new(places),
            bodies: Bodies::default(),
            timers: Arc::new(Semaphore::new(TIMERS_MAX)),
            told: Told::default(),
            turns: Window::new(Bounds::fixed(share.turns)),
            instances: Mutex::new(Instances::new(share.history_bytes)),
            unshown: Unshown::default(),
            receiving: Mutex::default(),
            beside: AtomicUsize::new(0),
            idle: Notify::new(),
            fence: Mutex::new(fence),
        }
    }

    /// Gives it another share of what its worker may take.
    pub(crate) fn share(&self, share: Share) {
        self.turns.fix_at(share.turns);
        self.instances().may_keep(share.history_bytes);
    }

    /// Whether bodies are being read for the instance: what comes then is behind them.
    pub(crate) fn is_arriving(&self, instance_id: &str) -> bool {
        self.instances().get(instance_id).is_some_and(|room| room.mailbox.arriving.is_served)
    }

    /// Adds a message to those that are to be read. `true` if the caller has to start a task that reads for the instance.
    #[must_use]
    pub(crate) fn arrives(&self, instance_id: &str, message: Delivery<Received>) -> bool {
        let mut instances = self.instances();
        let arriving = &mut instances.enter(instance_id).mailbox.arriving;
        arriving.push(message);
        arriving.serve()
    }

    /// The next messages to read for an instance; `None` ends the task that reads.
    pub(crate) fn arrivals(&self, instance_id: &str) -> Option<Vec<Delivery<Received>>> {
        self.instances().get(instance_id)?.mailbox.arrivals(RECEIVE_MAX)
    }

    /// Leaves what is still to be read for an instance to its expiry.
    pub(crate) fn forget_arrivals(&self, instance_id: &str) {
        if let Some(room) = self.instances().get(instance_id) {
            room.mailbox.arriving.forget();
        }
    }

    /// Adds a message. `true` if the caller has to start a task for its instance.
    #[must_use]
    pub(crate) fn push(&self, delivery: Delivery) -> bool {
        let mut instances = self.instances();
        let instance_id = delivery.message.target.instance_id.clone();
        let mailbox = &mut instances.enter(&instance_id).mailbox;
        mailbox.push(delivery);
        let is_new = mailbox.waiting.serve();
        *instances.served() += usize::from(is_new);
        is_new
    }

    /// What the task of an instance is to do next.
    pub(crate) fn next(&self, instance_id: &str) -> Next {
        let mut instances = self.instances();
        let next = instances.enter(instance_id).mailbox.next(self.receiving());
        if matches!(next, Next::End) {
            *instances.served() -= 1;
            if *instances.served() == 0 {
                self.idle.notify_waiters();
            }
        }
        next
    }

    /// The next messages of an instance.
    pub(crate) fn take(&self, instance_id: &str) -> Vec<Delivery> {
        self.instances().enter(instance_id).mailbox.take(self.receiving())
    }

    /// Everything that waits for a turn of an instance.
    pub(crate) fn take_all(&self, instance_id: &str) -> Vec<Delivery> {
        self.instances().enter(instance_id).mailbox.clear()
    }

    /// Completes when a message waits that terminates the instance.
    pub(crate) async fn is_to_terminate(&self, instance_id: &str) {
        loop {
            let (waits, news) = self.instances().enter(instance_id).mailbox.termination();
            if waits {
                return;
            }
            news.notified().await;
        }
    }

    /// Lets the next step of the instance look at these messages again, in front of what came meanwhile.
    pub(crate) fn retry(&self, instance_id: &str, deliveries: Vec<Delivery>) {
        self.instances().enter(instance_id).mailbox.waiting.push_in_front(deliveries);
    }

    /// A message is about to go back to its queue for a while. If its order counts, what was sent after it waits for it.
    pub(crate) fn leaves(&self, delivery: &Delivery<impl Ordered + Holding>, delay: Duration) {
        if delivery.order().is_some() {
            self.instances().enter(&delivery.instance_id()).mailbox.leaves(delivery, delay);
        }
    }

    /// A message could not be given back, and is hidden until its hold ends.
    pub(crate) fn is_delayed(&self, instance_id: &str, message_id: &str, until: Instant) {
        if let Some(room) = self.instances().get(instance_id) {
            room.mailbox.is_delayed(message_id, until);
        }
    }

    /// A message of an instance will not come again.
    pub(crate) fn is_gone(&self, instance_id: &str, message_id: &str) {
        if let Some(room) = self.instances().get(instance_id) {
            room.mailbox.is_gone(message_id);
        }
    }

    /// A receive has succeeded, or has not.
    pub(crate) fn received(&self, is_ok: bool) {
        let now = Instant::now();
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let since = receiving.map_or(now, |receiving| receiving.since);
        *receiving = is_ok.then_some(Receiving { since, last: now });
    }

    fn receiving(&self) -> Option<Receiving> {
        *self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bodies are not read any more: a while after the partition is given up, so that what was sent later does not
    /// overtake them.
    pub(crate) async fn reading_ends(&self) {
        self.stopping.cancelled().await;
        tokio::select! {
            biased;
            () = self.lost.cancelled() => {}
            () = tokio::time::sleep(READ_PATIENCE) => {}
        }
    }

    /// Takes out of memory what is too much there, each message with the time for which it is to go back: of instances that make no
    /// progress most of what waits, of the others what would be renewed a second time before its turn comes. Of each instance the
    /// last ones go.
    pub(crate) fn surplus(&self, hold: Duration) -> Vec<(Delivery<Received>, Duration)> {
        let stuck_after = self.stuck_after();
        let most = (self.places.width() / STUCK_SHARE).max(1);
        let mut surplus = Vec::new();
        for mailbox in self.instances().all().map(|room| &mut room.mailbox) {
            let overdue = mailbox.waiting.overdue(hold);
            surplus.extend(overdue.map(|delivery| {
                let delay = crowded_out(&delivery);
                (delivery.map(Received::Held), delay)
            }));
            surplus.append(&mut mailbox.stuck(stuck_after, most));
        }
        surplus
    }

    /// Lets others work beside instances that are stuck: what these have in memory takes no place from them, within bounds.
    pub(crate) fn make_way(&self) {
        if self.turns.is_full() {
            // What would come then could not be worked on either.
            return;
        }
        let after = self.stuck_after();
        let mut instances = self.instances();
        let stuck = instances.all().map(|room| room.mailbox.arriving.stuck(after) + room.mailbox.waiting.stuck(after));
        let stuck: usize = stuck.sum();
        if stuck > 0 {
            self.places.widen_to(stuck + RECEIVE_MAX);
        }
    }

    /// Where everything takes long, nothing is stuck only because it does.
    fn stuck_after(&self) -> Duration {
        STUCK_AFTER.max(2 * self.places.typical())
    }

    /// Whether one instance has all messages that are in memory.
    pub(crate) fn serves_only_one(&self) -> bool {
        *self.instances().served() == 1
    }

    /// An instance row as it was seen last, for a write that makes it void.
    pub(crate) fn take_row(&self, instance_id: &str) -> Option<SeenRow> {
        self.instances().get(instance_id)?.row.take()
    }

    /// The history that was kept of an instance, for a step that may change it.
    pub(crate) fn take_history(&self, instance_id: &str) -> Option<Loaded> {
        self.instances().take_history(instance_id)
    }

    /// A commit has left this history, which is that of the instance for as long as nobody else can commit.
    pub(crate) fn keep_history(&self, instance_id: &str, history: Loaded) {
        self.instances().keep_history(instance_id, history);
    }

    /// Whether the row is known to be of the execution that runs.
    pub(crate) fn knows_row(&self, instance_id: &str) -> bool {
        self.instances().get(instance_id).is_some_and(|room| room.row.is_some())
    }

    /// An instance row is this now.
    pub(crate) fn saw_row(&self, instance_id: &str, row: SeenRow) {
        let mut instances = self.instances();
        let room = instances.enter(instance_id);
        (room.row, room.unshown) = (Some(row), None);
    }

    /// An instance row is still this, but for the time of the last update, which is to be shown a little later.
    pub(crate) fn left_row(&self, instance_id: &str, row: SeenRow, updated: Timestamp) {
        let mut instances = self.instances();
        let room = instances.enter(instance_id);
        room.row = Some(row);
        if room.unshown.replace(updated).is_none() {
            self.unshown.add(instance_id);
        }
    }

    /// The row of an instance and the time of its last update, if it does not show that.
    pub(crate) fn take_unshown(&self, instance_id: &str) -> Option<(SeenRow, Timestamp)> {
        let mut instances = self.instances();
        let room = instances.get(instance_id)?;
        let updated = room.unshown.take()?;
        Some((room.row.take()?, updated))
    }

    /// Generations that an instance has begun within the last minute.
    pub(crate) fn generations(&self, instance_id: &str) -> u32 {
        self.instances().get(instance_id).and_then(|room| room.pace.as_ref()).map_or(0, Pace::generations)
    }

    /// Counts generations that an instance has begun. Answers how many within a minute, if that is too many.
    pub(crate) fn continued(&self, instance_id: &str, generations: u32) -> Option<u32> {
        self.instances().enter(instance_id).pace.get_or_insert_with(Pace::default).begun(generations)
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

    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a message that finds no room stays away: longer each time, but not for long once there is room again.
pub(crate) fn crowded_out(hold: &Hold) -> Duration {
    back_off(hold.dequeue_count).min(CROWDED_OUT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Bounds = Bounds { least: 1, first: 1, most: 1, late: Duration::from_secs(8) };
    const SHARE: Share = Share { turns: 1, history_bytes: 0 };

    #[tokio::test(start_paused = true)]
    async fn a_write_under_way_is_given_up_with_the_partition() {
        let begun = Instant::now();
        let partition = Partition::new(0, begun + Duration::from_secs(25), PLACES, SHARE);
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
        let partition = Partition::new(0, begun + Duration::from_secs(25), PLACES, SHARE);
        assert_eq!(partition.while_ours(std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), Duration::from_secs(25));
        assert_eq!(partition.while_ours(async { unreachable!("it is not begun") }).await, None::<()>);
    }
}
