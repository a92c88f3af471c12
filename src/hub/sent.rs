//! Sending: a message goes into its queue, and straight to whoever reads that in this process and has room for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::hold::{Hold, lost_is_fine};
use super::queues::{QueueId, Queues};
use super::readers::Reader;
use super::received::Held;
use super::{blob_names, codec};
use crate::error::Result;
use crate::model::{EventKind, Message};
use crate::sabotage::{self, Sabotage};
use crate::storage::queue::{QueueMessage, VISIBILITY_MAX};
use crate::storage::table::Etag;
use crate::window::Place;

/// How a message goes to whoever works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Held for a reader of this process that has room for it, if there is one.
    Direct,
    /// Visible to all who receive.
    Queue,
}

/// A message that this process has put into a queue.
///
/// If somebody here is to work on it, it is hidden in the queue until it is handed over to him, given back or withdrawn; one that is merely dropped
/// becomes visible when its visibility timeout expires.
#[derive(Debug)]
#[must_use = "a message that is held for a reader of this process reaches nobody before it is handed over"]
pub(crate) struct Sent {
    queue: QueueId,
    id: String,
    /// The pop receipt, valid until somebody receives the message.
    receipt: String,
    /// The blob that holds the body of a large message.
    pub(crate) body: Option<String>,
    held: Option<HeldFor>,
}

/// A message that was born held, for this reader.
#[derive(Debug)]
struct HeldFor {
    reader: Arc<dyn Reader>,
    held: Held,
    when: When,
}

/// When the reader takes it.
#[derive(Debug)]
enum When {
    Now(Place),
    /// It is a timer.
    Due(OwnedSemaphorePermit),
}

/// How much later than it is due a timer becomes visible that is to fire from memory: the message is there in case that nobody does.
const TIMER_SLACK: Duration = Duration::from_secs(2);

impl Sent {
    /// Gives the message to whoever reads the queue in this process, if it is held for him.
    pub(crate) fn hand_over(self) {
        let Some(HeldFor { reader, held, when }) = self.held.filter(|_| !sabotage::is(Sabotage::OwnMessagesForgotten)) else {
            return;
        };
        match when {
            When::Now(place) => reader.take_in(held, place),
            When::Due(seat) => reader.take_in_when_due(held, seat),
        }
    }

    /// A start whose instance row stands in this version: whoever takes the message need not read it.
    pub(crate) fn with_row(mut self, version: Etag) -> Self {
        if let Some(held) = &mut self.held {
            held.held.row = Some(version);
        }
        self
    }

    /// The message, if it is held for a reader of this process.
    pub(crate) fn message(&self) -> Option<&Message> {
        self.held.as_ref().map(|held| &*held.held.message)
    }

    /// Whether it reaches nobody before it is handed over.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

/// For how long a message is hidden that this process holds.
fn hidden(reader: &dyn Reader, when: &When, delay: Duration) -> Duration {
    match when {
        _ if sabotage::is(Sabotage::OwnMessagesForgotten) => VISIBILITY_MAX,
        When::Now(_) => reader.hold(),
        When::Due(_) => delay + TIMER_SLACK,
    }
}

impl Queues {
    /// Sends a message, visible after `delay` rounded up to whole seconds (at most seven days).
    /// A message sent twice by a retry is recognised by its `activity_id` and task id.
    pub(crate) async fn send(&self, queue: QueueId, message: Message, delay: Duration) -> Result<()> {
        self.put(queue, message, delay, Way::Direct).await?.hand_over();
        Ok(())
    }

    /// The same, but what a reader of this process is to have is not handed over yet.
    pub(crate) async fn put(&self, queue: QueueId, mut message: Message, delay: Duration, way: Way) -> Result<Sent> {
        message.sequence_number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let reader = if way == Way::Direct { self.reader_for(queue, &message, delay) } else { None };
        let dequeue_count = 1 + u32::from(message.seen_before);
        message.seen_before |= reader.is_some();
        let json = message.to_json();
        let is_large = codec::is_large(&json);
        // What needs memory is received, by whoever has it.
        let reader = reader.filter(|_| !is_large);
        let (text, body) = if is_large {
            let name = self.body_blob(&message);
            self.payloads.put(&name, &json).await?;
            (codec::encode(codec::wrapper_json(&name), self.encoding), Some(name))
        } else {
            (codec::encode(json, self.encoding), None)
        };
        let hidden = reader.as_ref().map_or(delay, |(reader, when)| hidden(&**reader, when, delay)).min(VISIBILITY_MAX);
        let expires = Instant::now() + hidden;
        let put = self.store.put(self.name(queue), &text, hidden).await?;
        tracing::trace!(id = %message.activity_id, event = message.event.kind.type_name(), "message sent");
        let (id, receipt) = (put.id.clone(), put.pop_receipt.clone());
        let held = reader.and_then(|(reader, when)| {
            let bytes = text.len();
            let hold = Hold::of(queue, QueueMessage { dequeue_count, ..put }, expires).0;
            let hold = match when {
                When::Now(_) => reader.keep(hold)?,
                // Kept from when it is due.
                When::Due(_) => Arc::new(hold),
            };
            let held = Held { hold, bytes, message: Box::new(message), blob: None, is_answer: false, row: None };
            Some(HeldFor { reader, held, when })
        });
        if held.is_none() {
            self.bell(queue).ring(hidden);
        }
        Ok(Sent { queue, id, receipt, body, held })
    }

    /// Who takes a message in this process, at once or when it is due.
    fn reader_for(&self, queue: QueueId, message: &Message, delay: Duration) -> Option<(Arc<dyn Reader>, When)> {
        let readers = self.readers(queue);
        if delay.is_zero() {
            return readers.place_for(message).map(|(reader, place)| (reader, When::Now(place)));
        }
        let is_in_reach = delay + TIMER_SLACK < VISIBILITY_MAX;
        let is_timer = matches!(message.event.kind, EventKind::TimerFired { .. });
        let seat = if is_timer && is_in_reach { readers.seat_for(message) } else { None };
        seat.map(|(reader, seat)| (reader, When::Due(seat)))
    }

    /// Deletes a message that this process has just sent, unless somebody has received it. The body of a large one stays.
    pub(crate) async fn take_back(&self, sent: Sent) -> Result<()> {
        match sent.held {
            Some(held) => self.delete_hold(held.held.hold()).await.map(drop),
            None => lost_is_fine(self.store.delete(self.name(sent.queue), &sent.id, &sent.receipt).await),
        }
    }

    /// Lets everybody receive a message that this process has just sent, if it is held. A timer is not due yet: it comes when its visibility timeout
    /// expires.
    pub(crate) async fn let_go(&self, sent: Sent) -> Result<()> {
        match sent.held {
            Some(HeldFor { held, when: When::Now(_), .. }) => self.give_back(held.hold(), Duration::ZERO).await,
            Some(HeldFor { when: When::Due(_), .. }) | None => Ok(()),
        }
    }

    /// Sends an answer that was not sent because it was to be taken here, and deletes the work item that it answers.
    pub(crate) async fn send_answer(&self, held: &Held, delay: Duration) -> Result<()> {
        let queue = self.of_instance(&held.message.target.instance_id);
        self.put(queue, (*held.message).clone(), delay, Way::Queue).await?.hand_over();
        self.delete(held).await
    }

    /// Each send has a blob of its own, not each message: a repeated turn sends a message again under the same identity, and deleting
    /// one copy deletes its body. The body of a start stays, and is found by the identity.
    fn body_blob(&self, message: &Message) -> String {
        let is_start = matches!(message.event.kind, EventKind::ExecutionStarted(_));
        let id = if is_start { message.activity_id } else { self.rng.uuid() };
        blob_names::message_blob(&message.target.instance_id, id, message.event.kind.type_name())
    }
}
