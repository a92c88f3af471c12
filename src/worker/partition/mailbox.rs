//! The messages of one instance: those that wait for a turn, those whose bodies are still to be read, and those that are back in their
//! queue for a while and must not be overtaken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::crowded_out;
use crate::hub::{Held, Hold, InBlob, Received, Unreadable};
use crate::model::{EventKind, Message, Timestamp};
use crate::storage::queue::RECEIVE_MAX;
use crate::worker::delivery::{Delivery, Holding};
use crate::worker::keeper;

/// Most messages that one turn takes; the sentinel must be able to remember their identities.
const TURN_MESSAGES_MAX: usize = 200;
/// Most bytes of messages that one turn takes, beside its last message.
const TURN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes that an instance which is stuck may keep although others need the room.
const STUCK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long messages wait in memory for earlier ones that are visible again, while the queue answers: the polls that bring those
/// come one after the other.
const GATHERING: Duration = Duration::from_secs(10);
/// What would have to wait for longer than this goes back to the queue meanwhile.
const HELD_BEHIND: Duration = Duration::from_secs(2);
/// Between two looks whether what is waited for is still to be expected.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What has not come back for so long after its time is not expected any more, whatever the queue does.
const OVERDUE: Duration = Duration::from_secs(600);

/// Sorts the messages of one sender in the order in which they were sent.
pub(crate) type Order = (Timestamp, i64);

/// The messages of an instance.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// Messages that wait for a turn. It is served while a task works on the instance.
    pub(super) waiting: Line<Delivery>,
    /// Messages whose bodies are to be read. It is served while a task reads for the instance.
    pub(super) arriving: Line<Delivery<Received>>,
    away: Away,
    /// Rung when a message comes.
    news: Arc<Notify>,
}

/// What the task of an instance is to do.
#[derive(Debug)]
pub(crate) enum Next {
    /// Take messages and run a turn over them.
    Turn,
    /// Wait for news, and look again at this time at the latest: earlier messages are about to come back.
    Gather(Arc<Notify>, Instant),
    /// Give these back for so long: earlier messages are away until then.
    Follow(Vec<Delivery>, Duration),
    /// End: nothing waits.
    End,
}

/// Messages that wait, behind those that are worked on.
#[derive(Debug)]
pub(super) struct Line<T> {
    queue: VecDeque<T>,
    pub(super) is_served: bool,
    /// How many are worked on.
    working: usize,
    /// When somebody began to work on those.
    since: Instant,
}

/// Messages that this worker has given back, and whose order counts.
#[derive(Debug, Default)]
struct Away {
    /// By the ids of the messages.
    messages: BTreeMap<String, Absent>,
}

/// A message that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Absent {
    order: Order,
    /// When it is visible again.
    due: Instant,
}

/// How a partition receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receiving {
    /// Since when every receive has succeeded.
    pub(crate) since: Instant,
    /// When the last one has.
    pub(crate) last: Instant,
}

impl Mailbox {
    /// A message has come back or is new, and can be worked on.
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.away.messages.remove(&delivery.id);
        self.waiting.queue.push_back(delivery);
        self.news.notify_one();
    }

    /// What the task of the instance is to do. When it is to end, the line is not served any more.
    pub(super) fn next(&mut self, receiving: Option<Receiving>) -> Next {
        if self.waiting.queue.is_empty() {
            self.waiting.is_served = false;
            return Next::End;
        }
        let Some(first) = self.away.first(receiving) else { return Next::Turn };
        if !self.waiting.queue.iter().all(|delivery| overtakes(delivery, first.order)) {
            return Next::Turn;
        }
        let now = Instant::now();
        let remaining = first.due.saturating_duration_since(now);
        if remaining > HELD_BEHIND {
            return Next::Follow(self.waiting.queue.drain(..).collect(), remaining);
        }
        self.waiting.working = 0;
        Next::Gather(Arc::clone(&self.news), first.due.max(now) + LOOK_EVERY)
    }

    /// Whether a termination waits, and what is rung when anything comes.
    pub(super) fn termination(&self) -> (bool, Arc<Notify>) {
        let is_termination = |waiting: &Delivery| matches!(waiting.message.event.kind, EventKind::ExecutionTerminated { .. });
        (self.waiting.queue.iter().any(is_termination), Arc::clone(&self.news))
    }

    /// What has been in memory for too long and takes places from others: most of what waits, the last first, each with the time for
    /// which it goes back.
    pub(super) fn stuck(&mut self, after: Duration, most: usize) -> Vec<(Delivery<Received>, Duration)> {
        let mut stuck = Vec::new();
        if self.arriving.takes_longer(after) {
            // Their bodies are not in memory.
            stuck.extend(self.arriving.beyond(most, |_| 0).map(|delivery| (crowded_out(delivery.hold()), delivery)));
        }
        if self.waiting.takes_longer(after) {
            // Nothing works on them: earlier ones are to come first, and find no place. They follow those, as many at a time as come at once.
            let gathers = self.waiting.working == 0 && !self.away.messages.is_empty();
            self.waiting.sort();
            let beyond = self.waiting.beyond(most, |delivery| delivery.bytes).enumerate();
            stuck.extend(beyond.map(|(at, delivery)| {
                let behind = Duration::from_secs(1 + (at / RECEIVE_MAX) as u64);
                (if gathers { behind } else { crowded_out(&delivery) }, delivery.map(Received::Held))
            }));
        }
        // How long what is stuck has taken says nothing about the work on the others.
        stuck.iter_mut().for_each(|(_, delivery)| delivery.place().excuse());
        stuck.into_iter().map(|(delay, delivery)| (delivery, delay)).collect()
    }

    /// The next messages of the instance, in the order in which their senders put them.
    pub(super) fn take(&mut self, receiving: Option<Receiving>) -> Vec<Delivery> {
        // Some came in another order: they had been given back, or their bodies were read meanwhile.
        self.waiting.sort();
        let behind = match self.away.first(receiving) {
            Some(first) => self.waiting.extract(|delivery| overtakes(delivery, first.order)),
            None => VecDeque::new(),
        };
        let count = fitting(&self.waiting.queue, TURN_MESSAGES_MAX, TURN_BYTES_MAX, |delivery| delivery.bytes);
        let taken = self.waiting.take(count);
        self.waiting.queue.extend(behind);
        taken
    }

    /// The next messages whose bodies are to be read, at most so many. `None` ends the task that reads.
    pub(super) fn arrivals(&mut self, most: usize) -> Option<Vec<Delivery<Received>>> {
        if self.arriving.queue.is_empty() {
            self.arriving.is_served = false;
            return None;
        }
        Some(self.arriving.take(self.arriving.queue.len().min(most)))
    }

    /// A message goes back to its queue for so long. If its order counts, those behind it wait for it.
    pub(super) fn leaves(&mut self, delivery: &Delivery<impl Ordered + Holding>, delay: Duration) {
        let hold = delivery.hold();
        // One whose hold has ended is not in the queue any more, or has surfaced.
        if let Some(order) = delivery.order().filter(|_| hold.held_until().is_some()) {
            // The service counts in whole seconds, rounded up.
            let due = Instant::now() + Duration::from_secs(delay.as_secs() + u64::from(delay.subsec_nanos() > 0));
            self.away.messages.insert(hold.id.clone(), Absent { order, due });
        }
    }

    /// A message could not be given back, and is hidden until its hold ends.
    pub(super) fn is_delayed(&mut self, message_id: &str, until: Instant) {
        if let Some(absent) = self.away.messages.get_mut(message_id) {
            absent.due = absent.due.max(until);
        }
    }

    /// A message will not come again.
    pub(super) fn is_gone(&mut self, message_id: &str) {
        self.away.messages.remove(message_id);
        self.news.notify_one();
    }

    /// Everything that waits.
    pub(super) fn clear(&mut self) -> Vec<Delivery> {
        self.waiting.queue.drain(..).collect()
    }

    /// Nobody works on it, and nothing is known of it that matters.
    pub(super) fn is_idle(&self) -> bool {
        !self.waiting.is_served && !self.arriving.is_served && !self.away.is_expected()
    }
}

impl Away {
    /// The first of those that are still expected. Whoever has not come although the queue was received from for a while is in other
    /// hands or gone.
    fn first(&mut self, receiving: Option<Receiving>) -> Option<Absent> {
        if let Some(Receiving { since, last }) = receiving {
            self.messages.retain(|_, absent| absent.due.max(since) + GATHERING > last);
        }
        self.messages.values().min().copied()
    }

    fn is_expected(&self) -> bool {
        let now = Instant::now();
        self.messages.values().any(|absent| absent.due + OVERDUE > now)
    }
}

impl<T> Line<T> {
    /// Somebody is to work on the line. `false` if somebody does so already.
    pub(super) fn serve(&mut self) -> bool {
        if self.is_served {
            return false;
        }
        (self.is_served, self.working, self.since) = (true, 0, Instant::now());
        true
    }

    pub(super) fn push(&mut self, item: T) {
        self.queue.push_back(item);
    }

    /// Puts items in front of all others, in this order.
    pub(super) fn push_in_front(&mut self, items: Vec<T>) {
        items.into_iter().rev().for_each(|item| self.queue.push_front(item));
    }

    /// Leaves what waits to its expiry.
    pub(super) fn forget(&mut self) {
        self.queue.clear();
        self.is_served = false;
    }

    fn take(&mut self, count: usize) -> Vec<T> {
        (self.since, self.working) = (Instant::now(), count);
        self.queue.drain(..count).collect()
    }

    /// Takes out what is to stay behind.
    fn extract(&mut self, stays: impl Fn(&T) -> bool) -> VecDeque<T> {
        let (behind, others) = std::mem::take(&mut self.queue).into_iter().partition(stays);
        self.queue = others;
        behind
    }

    /// How many are in memory, if those that are worked on make no progress.
    pub(super) fn stuck(&self, after: Duration) -> usize {
        if self.working > 0 && self.takes_longer(after) { self.working + self.queue.len() } else { 0 }
    }

    pub(super) fn takes_longer(&self, after: Duration) -> bool {
        self.is_served && self.since.elapsed() > after
    }

    /// The last of those who wait, beyond what may stay of an instance that is stuck.
    pub(super) fn beyond(&mut self, most: usize, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = T> {
        let kept = fitting(&self.queue, most, STUCK_BYTES_MAX, bytes);
        self.queue.split_off(kept).into_iter()
    }
}

impl Line<Delivery> {
    /// Sorts what waits in the order in which its senders put it.
    fn sort(&mut self) {
        self.queue.make_contiguous().sort_by_key(|delivery| order(delivery));
    }

    /// What was renewed before and is to be renewed again, with all that waits behind it, unless the order of something counts.
    pub(super) fn overdue(&mut self, hold: Duration) -> impl Iterator<Item = Delivery> {
        let is_overdue = |waiting: &Delivery| waiting.is_renewed() && keeper::due_at(waiting, hold).is_some();
        let first = self.queue.iter().position(is_overdue).unwrap_or(self.queue.len());
        let counts = self.queue.range(first..).any(|waiting| is_in_order(&waiting.message));
        self.queue.split_off(if counts { self.queue.len() } else { first }).into_iter()
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), is_served: false, working: 0, since: Instant::now() }
    }
}

/// A message whose place among those of its sender may count.
pub(crate) trait Ordered {
    /// Its place, if it counts.
    fn order(&self) -> Option<Order>;
}

impl Ordered for Held {
    fn order(&self) -> Option<Order> {
        may_not_be_overtaken(&self.message).then(|| order(self))
    }
}

impl Ordered for InBlob {
    fn order(&self) -> Option<Order> {
        unread_order(&self.hold, self.event_type())
    }
}

impl Ordered for Unreadable {
    fn order(&self) -> Option<Order> {
        unread_order(&self.hold, self.event_type())
    }
}

impl Ordered for Received {
    fn order(&self) -> Option<Order> {
        match self {
            Self::Held(held) => Ordered::order(held),
            Self::InBlob(message) => message.order(),
            Self::Unreadable(unreadable) => unreadable.order(),
        }
    }
}

/// Of a message that is not read only the kind is known: it comes before all others of its second.
fn unread_order(hold: &Hold, event_type: Option<&str>) -> Option<Order> {
    matches!(event_type, Some("EventRaised" | "ExecutionSuspended" | "ExecutionResumed")).then_some((hold.inserted_on, i64::MIN))
}

fn order(held: &Held) -> Order {
    let hold: &Hold = held;
    (hold.inserted_on, held.message.sequence_number)
}

/// Whether a message may not be worked on before one that is away.
fn overtakes(held: &Held, first_away: Order) -> bool {
    may_not_be_overtaken(&held.message) && order(held) > first_away
}

/// Whether the message counts in the order in which its sender put it: what a turn waits for by its task does not.
pub(crate) fn is_in_order(message: &Message) -> bool {
    let event = &message.event.kind;
    event.completes().is_none() && !matches!(event, EventKind::ExecutionStarted(_))
}

/// Events, suspensions and resumptions. A termination waits for nothing that is away: it ends what would have taken that. What names
/// an execution may be for one that is not there any more, and holds nothing up.
fn may_not_be_overtaken(message: &Message) -> bool {
    let is_for_any = message.target.execution_id.as_deref().is_none_or(str::is_empty);
    let event = &message.event.kind;
    let counts = matches!(
        event,
        EventKind::EventRaised { .. } | EventKind::ExecutionSuspended { .. } | EventKind::ExecutionResumed { .. }
    );
    is_for_any && counts
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
