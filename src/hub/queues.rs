//! The queues of a hub: sending, receiving and deleting messages, with large bodies in blobs.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::codec::Encoding;
use super::codec::{self, Incoming};
use super::hold::lost_is_fine;
use super::lanes::Lanes;
use super::names::Names;
use super::payloads::Payloads;
use super::waiting::{due, waits_since};
use super::{Doorbell, Hold, blob_names, fnv};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{EventKind, Message, Timestamp};
use crate::rng::Rng;
use crate::storage::queue::{QueueStore, RECEIVE_MAX, VISIBILITY_MAX};

/// Which queue of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QueueId {
    /// Messages to the instances of one partition.
    Control(u32),
    /// Activity requests, read by every worker.
    WorkItems,
}

/// A message that this process has put into a queue.
#[derive(Debug)]
pub(crate) struct Sent {
    queue: QueueId,
    id: String,
    /// The pop receipt, valid until somebody receives the message.
    receipt: String,
    /// The blob that holds the body of a large message.
    pub(crate) body: Option<String>,
}

/// A held message that could be read.
#[derive(Debug)]
pub(crate) struct Held {
    hold: Arc<Hold>,
    /// Size of the body in memory, for budgets.
    pub(crate) bytes: usize,
    pub(crate) message: Box<Message>,
    /// The blob that holds the body of a large message; deleted with the message.
    blob: Option<String>,
}

/// A held message whose body is still in its blob.
#[derive(Debug)]
pub(crate) struct InBlob {
    pub(crate) hold: Arc<Hold>,
    text: String,
    blob: String,
}

/// The body of a large message.
#[derive(Debug)]
pub(crate) struct Body {
    /// Its size in memory.
    pub(crate) bytes: usize,
    message: Box<Message>,
}

/// A held message that could not be read, to be parked or given back by the caller.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) hold: Arc<Hold>,
    pub(crate) text: String,
    /// The blob that holds its body, if that much could be read.
    pub(crate) blob: Option<String>,
    pub(crate) error: Error,
}

/// A held message, as far as it has been read.
#[derive(Debug)]
pub(crate) enum Received {
    Held(Held),
    InBlob(InBlob),
    Unreadable(Unreadable),
}

/// The queues of a hub.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(super) store: Arc<dyn QueueStore>,
    /// The same queues through the lane of held messages: see [`super::lanes`].
    pub(super) holds: Arc<dyn QueueStore>,
    pub(super) payloads: Payloads,
    encoding: Encoding,
    rng: Rng,
    control: Vec<Queue>,
    work_items: Queue,
    /// How many messages this process has sent, which orders messages of the same second (docs/storage-layout.md, Envelope).
    sent: AtomicI64,
}

#[derive(Debug)]
struct Queue {
    name: String,
    bell: Doorbell,
}

impl Queue {
    fn named(name: String) -> Self {
        Self { name, bell: Doorbell::default() }
    }
}

impl Queues {
    pub(super) fn new(names: &Names, partitions: u32, lanes: &Lanes, payloads: Payloads, encoding: Encoding, rng: Rng) -> Self {
        Self {
            store: Arc::clone(&lanes.data.queues),
            holds: Arc::clone(&lanes.holds.queues),
            payloads,
            encoding,
            rng,
            control: (0..partitions).map(|partition| Queue::named(names.control_queue(partition))).collect(),
            work_items: Queue::named(names.work_items.clone()),
            sent: AtomicI64::new(0),
        }
    }

    /// The queue of an instance.
    pub(crate) fn of_instance(&self, instance_id: &str) -> QueueId {
        let count = u32::try_from(self.control.len()).unwrap_or(limits::PARTITIONS_MAX);
        QueueId::Control(fnv::partition_of(instance_id, count))
    }

    fn get(&self, queue: QueueId) -> &Queue {
        match queue {
            QueueId::Control(partition) => &self.control[partition as usize],
            QueueId::WorkItems => &self.work_items,
        }
    }

    pub(crate) fn name(&self, queue: QueueId) -> &str {
        &self.get(queue).name
    }

    /// The queue of this name, if it is one of the hub's.
    pub(super) fn named(&self, name: &str) -> Option<QueueId> {
        let control = (0..).map(QueueId::Control).take(self.control.len());
        control.chain([QueueId::WorkItems]).find(|queue| self.name(*queue) == name)
    }

    /// The doorbell of a queue in this process.
    pub(crate) fn bell(&self, queue: QueueId) -> &Doorbell {
        &self.get(queue).bell
    }

    /// Puts a message, visible after `delay` rounded up to whole seconds (at most seven days).
    /// A message put twice by a retry is recognised by its `activity_id` and task id.
    pub(crate) async fn send(&self, queue: QueueId, mut message: Message, delay: Duration) -> Result<Sent> {
        message.sequence_number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let json = message.to_json();
        let (text, body) = if codec::is_large(&json) {
            let name = self.body_blob(&message);
            self.payloads.put(&name, &json).await?;
            (codec::encode(&codec::wrapper_json(&name), self.encoding), Some(name))
        } else {
            (codec::encode(&json, self.encoding), None)
        };
        let delay = delay.min(VISIBILITY_MAX);
        let put = self.store.put(self.name(queue), &text, delay).await?;
        tracing::trace!(id = %message.activity_id, event = message.event.kind.type_name(), "message sent");
        self.bell(queue).ring(delay);
        Ok(Sent { queue, id: put.id, receipt: put.pop_receipt, body })
    }

    /// Deletes a message that this process has just sent, unless somebody has received it. The body of a large one stays.
    pub(super) async fn take_back(&self, sent: &Sent) -> Result<()> {
        lost_is_fine(self.store.delete(self.name(sent.queue), &sent.id, &sent.receipt).await)
    }

    /// Puts a text that was in this queue before, letter by letter.
    pub(super) async fn put_text(&self, name: &str, text: &str) -> Result<()> {
        self.store.put(name, text, Duration::ZERO).await?;
        Ok(())
    }

    /// Each send has a blob of its own, not each message: a repeated turn sends a message again under the same identity, and deleting
    /// one copy deletes its body. The body of a start stays, and is found by the identity.
    fn body_blob(&self, message: &Message) -> String {
        let is_start = matches!(message.event.kind, EventKind::ExecutionStarted(_));
        let id = if is_start { message.activity_id } else { self.rng.uuid() };
        blob_names::message_blob(&message.target.instance_id, id, message.event.kind.type_name())
    }

    /// Receives up to `max` messages and holds them for `visibility`; each with its text, to be read as [`Received`].
    pub(crate) async fn receive(&self, queue: QueueId, max: usize, visibility: Duration) -> Result<Vec<(Hold, String)>> {
        let expires = Instant::now() + visibility;
        let raw = self.store.receive(self.name(queue), max, visibility).await?;
        Ok(raw.into_iter().map(|raw| Hold::of(queue, raw, expires)).collect())
    }

    /// Reads the body of a message from its blob; `None` if it has more than `max` bytes.
    pub(crate) async fn read_body(&self, message: &InBlob, max: usize) -> Result<Option<Body>> {
        let blob = &message.blob;
        let Some(json) = self.payloads.get_up_to(blob, max).await? else { return Ok(None) };
        match Message::from_json(&json) {
            Ok(message) => Ok(Some(Body { bytes: json.len(), message: Box::new(message) })),
            Err(bad) => Err(Error::corrupt(format!("blob \"{blob}\": {bad}"), &bad)),
        }
    }

    /// About how many messages a queue has, hidden ones included, and since when the oldest visible one waits.
    pub(crate) async fn look_at(&self, queue: QueueId) -> Result<(u64, Option<Timestamp>)> {
        let name = self.name(queue);
        let count = self.store.count(name).await?;
        let visible = self.store.peek(name, RECEIVE_MAX).await?;
        Ok((count, visible.iter().map(waits_since).min()))
    }

    /// The ids of the messages that are visible, up to as many as a receive brings.
    pub(crate) async fn visible_ids(&self, queue: QueueId) -> Result<Vec<String>> {
        let visible = self.store.peek(self.name(queue), RECEIVE_MAX).await?;
        Ok(visible.into_iter().map(|message| message.id).collect())
    }

    /// Deletes a held message, and the blob that carried its body.
    pub(crate) async fn delete(&self, held: &Held) -> Result<()> {
        // If another process has received the message meanwhile, it needs the body.
        let deleted = self.delete_hold(held).await?;
        if let Some(blob) = held.blob.as_deref().filter(|_| deleted && held.blob_is_garbage()) {
            self.payloads.delete(blob).await?;
        }
        Ok(())
    }

    /// Deletes a message that could not be read.
    pub(crate) async fn delete_unreadable(&self, unreadable: &Unreadable) -> Result<()> {
        self.delete_hold(&unreadable.hold).await.map(drop)
    }
}

impl Received {
    /// Decodes the text of a message, whose body may still be in a blob.
    pub(crate) fn of(hold: Arc<Hold>, text: String) -> Self {
        match codec::decode(&text) {
            Ok(Incoming::Message(message)) => Self::Held(Held { hold, bytes: text.len(), message, blob: None }),
            Ok(Incoming::InBlob(blob)) => Self::InBlob(InBlob { hold, text, blob }),
            Err(bad) => {
                let error = match &bad {
                    codec::BadMessage::Json(cause) => Error::corrupt(bad.to_string(), cause),
                    codec::BadMessage::NotBase64 => Error::new(ErrorKind::Corrupt, bad.to_string()),
                };
                Self::Unreadable(Unreadable { hold, text, blob: None, error })
            }
        }
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        match self {
            Self::Held(held) => held.hold(),
            Self::InBlob(InBlob { hold, .. }) | Self::Unreadable(Unreadable { hold, .. }) => hold,
        }
    }

    /// Sorts the messages of one sender in the order in which they were sent. It is known only for messages that have been read; others sort
    /// first, so that nothing overtakes them unnoticed.
    pub(crate) fn order(&self) -> Option<(Timestamp, i64)> {
        match self {
            Self::Held(held) => Some((held.inserted_on, held.message.sequence_number)),
            Self::InBlob(_) | Self::Unreadable(_) => None,
        }
    }
}

impl InBlob {
    /// The instance that the message is for, as far as the name of its blob tells; a name of another form stands for itself.
    pub(crate) fn instance_id(&self) -> String {
        blob_names::parse_message_blob(&self.blob).map_or_else(|| self.blob.clone(), |(instance_id, _)| instance_id)
    }

    /// The kind of its event, as far as the name of its blob tells.
    pub(crate) fn event_type(&self) -> Option<&str> {
        blob_names::parse_message_blob(&self.blob).map(|(_, event_type)| event_type)
    }

    /// The message with the body that was read.
    pub(crate) fn with(self, body: Body) -> Held {
        let Self { hold, blob, .. } = self;
        Held { hold, bytes: body.bytes, message: body.message, blob: Some(blob) }
    }

    /// The message whose body could not be read.
    pub(crate) fn without_body(self, error: Error) -> Unreadable {
        let Self { hold, text, blob } = self;
        Unreadable { hold, text, blob: Some(blob), error }
    }
}

impl Unreadable {
    /// The instance that the message is for and the kind of its event, as far as the name of its blob tells.
    pub(crate) fn of_instance(&self) -> Option<(String, &str)> {
        self.blob.as_deref().and_then(blob_names::parse_message_blob)
    }

    pub(crate) fn event_type(&self) -> Option<&str> {
        self.of_instance().map(|(_, event_type)| event_type)
    }
}

impl Held {
    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// Since when it waits to be worked on: it was put, or a timer was due, or a start was scheduled for then.
    pub(crate) fn waits_since(&self) -> Timestamp {
        due(&self.message.event.kind).map_or(self.inserted_on, |due| due.max(self.inserted_on))
    }

    /// The blob of a start message stays: the instance row refers to it until the first checkpoint, and for ever if that is .NET's.
    fn blob_is_garbage(&self) -> bool {
        !matches!(self.message.event.kind, EventKind::ExecutionStarted(_))
    }
}

impl Deref for Held {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::hub::{Hub, TaskHub};
    use crate::model::{HistoryEvent, InstanceRef};
    use crate::storage::Storage;

    const HIDDEN: Duration = Duration::from_secs(30);

    async fn hub() -> Arc<Hub> {
        let clock = Clock::paused(Timestamp::UNIX_EPOCH);
        let builder = TaskHub::builder(Storage::memory(clock.clone(), Rng::seeded(1)), "Test");
        builder.clock(clock).rng(Rng::seeded(2)).open().await.unwrap().0
    }

    fn large(hub: &Hub) -> Message {
        let result = Some("x".repeat(100_000));
        Message::from_client(
            hub.rng.uuid(),
            HistoryEvent::arriving(hub.now(), EventKind::TaskCompleted { task_id: 0, result }),
            InstanceRef::new("i", "x"),
        )
    }

    async fn received(hub: &Hub) -> InBlob {
        let (hold, text) = hub.queues.receive(QueueId::Control(0), 1, HIDDEN).await.unwrap().remove(0);
        let Received::InBlob(message) = Received::of(Arc::new(hold), text) else { panic!("a large message lies in a blob") };
        message
    }

    async fn read(hub: &Hub) -> Held {
        let message = received(hub).await;
        let body = hub.queues.read_body(&message, 1 << 20).await.unwrap().expect("it is small enough");
        message.with(body)
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_lost_a_message_leaves_its_body_to_the_next_holder() {
        let hub = hub().await;
        hub.queues.send(QueueId::Control(0), large(&hub), Duration::ZERO).await.unwrap();
        let lost = read(&hub).await;
        tokio::time::sleep(HIDDEN).await;
        let next = received(&hub).await;
        hub.queues.delete(&lost).await.unwrap();
        assert!(hub.queues.read_body(&next, 1 << 20).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_larger_than_asked_for_stays_in_its_blob() {
        let hub = hub().await;
        hub.queues.send(QueueId::Control(0), large(&hub), Duration::ZERO).await.unwrap();
        let message = received(&hub).await;
        assert_eq!(message.instance_id(), "i");
        // The blob is larger than that, then only its text.
        for max in [10, 10_000] {
            assert_eq!(hub.payloads.get_up_to(&message.blob, max).await.unwrap(), None);
        }
        assert!(hub.queues.read_body(&message, 1 << 20).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_that_is_sent_again_has_a_body_of_its_own() {
        let hub = hub().await;
        let message = large(&hub);
        for _ in 0..2 {
            hub.queues.send(QueueId::Control(0), message.clone(), Duration::ZERO).await.unwrap();
        }
        for _ in 0..2 {
            hub.queues.delete(&read(&hub).await).await.unwrap();
        }
        assert_eq!(hub.queues.look_at(QueueId::Control(0)).await.unwrap(), (0, None));
    }
}
