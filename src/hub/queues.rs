//! Messages in and out: control queues by partition, the work-item queue, large bodies in blobs, held messages.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::codec::{self, Incoming};
use super::waiting::waits_since;
use super::{Doorbell, Hub, blob_names, partition};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EventKind, Message, Timestamp};
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::queue::{QueueMessage, RECEIVE_MAX, VISIBILITY_MAX};

/// Which queue of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QueueId {
    /// Messages to the instances of one partition.
    Control(u32),
    /// Activity requests, read by every worker.
    WorkItems,
}

/// A message that this worker holds a valid pop receipt for. It ends in exactly one of delete, hand-back or expiry.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) queue: QueueId,
    pub(crate) id: String,
    pub(crate) dequeue_count: u32,
    pub(crate) inserted_on: Timestamp,
    /// Size of the body in memory, for budgets.
    pub(crate) bytes: usize,
    pub(crate) message: Message,
    /// The blob that holds the body of a large message; deleted with the message.
    blob: Option<String>,
    /// One lock for renewing and ending, because every update changes the receipt. `None` once the message has ended.
    receipt: Mutex<Option<Receipt>>,
}

#[derive(Debug)]
struct Receipt {
    text: String,
    expires: Instant,
}

/// A message that could not be read: still held, to be parked by the caller.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) queue: QueueId,
    pub(crate) raw: QueueMessage,
    /// The blob that holds its body, if that much could be read.
    pub(crate) blob: Option<String>,
    pub(crate) error: Error,
}

/// A message as it was read, and where from.
struct Body {
    message: Message,
    bytes: usize,
    blob: Option<String>,
}

/// What one receive brought.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) held: Vec<Held>,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Hub {
    /// The queue of an instance.
    pub(crate) fn control_queue_of(&self, instance_id: &str) -> QueueId {
        QueueId::Control(partition::partition_of(instance_id, self.partitions))
    }

    pub(crate) fn queue_name(&self, queue: QueueId) -> String {
        match queue {
            QueueId::Control(partition) => self.names.control_queue(partition),
            QueueId::WorkItems => self.names.work_items.clone(),
        }
    }

    /// The queue of this name, if it is one of the hub's.
    pub(crate) fn queue_named(&self, name: &str) -> Option<QueueId> {
        let mut all = (0..self.partitions).map(QueueId::Control).chain([QueueId::WorkItems]);
        all.find(|queue| self.queue_name(*queue) == name)
    }

    /// The doorbell of a queue in this process.
    pub(crate) fn bell(&self, queue: QueueId) -> &Doorbell {
        match queue {
            QueueId::WorkItems => &self.work_items_bell,
            QueueId::Control(partition) => &self.control_bells[partition as usize],
        }
    }

    /// Puts a message, visible after `delay` rounded up to whole seconds (at most seven days).
    /// A message put twice by a retry is recognised by its `activity_id` and task id.
    pub(crate) async fn send(&self, queue: QueueId, mut message: Message, delay: Duration) -> Result<QueueMessage> {
        message.sequence_number = self.next_sequence_number();
        let json = message.to_json();
        let text = if codec::is_large(&json) {
            let name = self.body_blob(&message);
            self.put_payload(&name, &json).await?;
            codec::encode(&codec::wrapper_json(&name), self.encoding)
        } else {
            codec::encode(&json, self.encoding)
        };
        let delay = delay.min(VISIBILITY_MAX);
        let put = self.storage.queues.put(&self.queue_name(queue), &text, delay).await?;
        tracing::trace!(id = %message.activity_id, event = message.event.kind.type_name(), "message sent");
        self.bell(queue).ring(delay);
        Ok(put)
    }

    /// A blob for each send, and not for each message: a turn that is repeated sends a message again under its identity, and
    /// whoever ends one copy deletes its body. That of a start stays, and is found by the identity.
    fn body_blob(&self, message: &Message) -> String {
        let is_start = matches!(message.event.kind, EventKind::ExecutionStarted(_));
        let id = if is_start { message.activity_id } else { self.rng.uuid() };
        blob_names::message_blob(&message.target.instance_id, id, message.event.kind.type_name())
    }

    /// Whether the body of a message goes to a blob.
    pub(crate) fn is_large(&self, message: &Message) -> bool {
        codec::is_large(&message.to_json())
    }

    /// Receives up to `max` messages and holds them for `visibility`; oldest first, a sender's messages in its order.
    pub(crate) async fn receive(&self, queue: QueueId, max: usize, visibility: Duration) -> Result<Received> {
        let name = self.queue_name(queue);
        let expires = Instant::now() + visibility;
        let raw = self.storage.queues.receive(&name, max, visibility).await?;
        let mut received = Received::default();
        for raw in raw {
            match self.read_message(&raw.text).await {
                Ok(Body { message, bytes, blob }) => received.held.push(Held {
                    queue,
                    dequeue_count: raw.dequeue_count,
                    inserted_on: raw.inserted_on,
                    bytes,
                    message,
                    blob,
                    receipt: Mutex::new(Some(Receipt { text: raw.pop_receipt, expires })),
                    id: raw.id,
                }),
                Err((error, blob)) => received.unreadable.push(Unreadable { queue, raw, blob, error }),
            }
        }
        received.held.sort_by_key(|h| (h.inserted_on, h.message.sequence_number));
        Ok(received)
    }

    /// A message; of one that cannot be read, why, and the blob that its body is in.
    async fn read_message(&self, text: &str) -> std::result::Result<Body, (Error, Option<String>)> {
        let corrupt = |why: String| Error::new(ErrorKind::Corrupt, why);
        match codec::decode(text) {
            Ok(Incoming::Message(message)) => Ok(Body { message: *message, bytes: text.len(), blob: None }),
            Ok(Incoming::InBlob(name)) => {
                let json = match self.get_payload(&name).await {
                    Ok(json) => json,
                    Err(error) => return Err((error, Some(name))),
                };
                match Message::from_json(&json) {
                    Ok(message) => Ok(Body { message, bytes: json.len(), blob: Some(name) }),
                    Err(bad) => Err((corrupt(format!("blob \"{name}\": {bad}")), Some(name))),
                }
            }
            Err(bad) => Err((corrupt(bad.to_string()), None)),
        }
    }

    /// About how many messages a queue has, hidden ones included, and since when the oldest visible one waits.
    pub(crate) async fn look_at(&self, queue: QueueId) -> Result<(u64, Option<Timestamp>)> {
        let name = self.queue_name(queue);
        let count = self.storage.queues.count(&name).await?;
        let visible = self.storage.queues.peek(&name, RECEIVE_MAX).await?;
        Ok((count, visible.iter().map(waits_since).min()))
    }

    /// Deletes a held message, and the blob that carried its body.
    pub(crate) async fn delete_message(&self, held: &Held) -> Result<()> {
        let mut receipt = held.receipt.lock().await;
        let Some(current) = receipt.take() else { return Ok(()) };
        let result = self.storage.queues.delete(&self.queue_name(held.queue), &held.id, &current.text).await;
        lost_is_fine(result)?;
        if let Some(blob) = held.blob.as_deref().filter(|_| held.blob_is_garbage()) {
            self.delete_payload(blob).await?;
        }
        Ok(())
    }

    /// Gives a held message back, visible after `delay`.
    pub(crate) async fn give_back(&self, held: &Held, delay: Duration) -> Result<()> {
        let mut receipt = held.receipt.lock().await;
        let Some(current) = receipt.take() else { return Ok(()) };
        let delay = delay.min(VISIBILITY_MAX);
        let queue = self.queue_name(held.queue);
        lost_is_fine(self.holds.queues.update(&queue, &held.id, &current.text, delay, None).await.map(drop))?;
        self.bell(held.queue).ring(delay);
        Ok(())
    }

    /// Holds a message for `visibility` from now. `false` if it is no longer ours.
    pub(crate) async fn renew(&self, held: &Held, visibility: Duration) -> Result<bool> {
        let mut receipt = held.receipt.lock().await;
        let Some(current) = receipt.as_mut() else { return Ok(false) };
        let expires = Instant::now() + visibility;
        let queue = self.queue_name(held.queue);
        match self.holds.queues.update(&queue, &held.id, &current.text, visibility, None).await {
            Ok(text) => {
                *current = Receipt { text, expires };
                Ok(true)
            }
            Err(e) if is_lost(&e) => {
                *receipt = None;
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Deletes or postpones a message that could not be read.
    pub(crate) async fn delete_unreadable(&self, unreadable: &Unreadable) -> Result<()> {
        let raw = &unreadable.raw;
        lost_is_fine(self.storage.queues.delete(&self.queue_name(unreadable.queue), &raw.id, &raw.pop_receipt).await)
    }

    pub(crate) async fn postpone_unreadable(&self, unreadable: &Unreadable, delay: Duration) -> Result<()> {
        let (raw, queue) = (&unreadable.raw, self.queue_name(unreadable.queue));
        lost_is_fine(self.holds.queues.update(&queue, &raw.id, &raw.pop_receipt, delay, None).await.map(drop))
    }
}

impl Held {
    /// A message that this process has just put.
    pub(crate) fn of_put(queue: QueueId, put: QueueMessage, message: Message) -> Self {
        Self {
            queue,
            id: put.id,
            dequeue_count: 0,
            inserted_on: put.inserted_on,
            bytes: 0,
            message,
            blob: None,
            receipt: Mutex::new(Some(Receipt { text: put.pop_receipt, expires: Instant::now() })),
        }
    }

    /// When the message surfaces for others, `None` if it has ended.
    pub(crate) async fn expires(&self) -> Option<Instant> {
        self.receipt.lock().await.as_ref().map(|r| r.expires)
    }

    /// The blob of a start message stays: the instance row refers to it until the first checkpoint, and for ever if that is .NET's.
    fn blob_is_garbage(&self) -> bool {
        !matches!(self.message.event.kind, EventKind::ExecutionStarted(_))
    }
}

fn is_lost(error: &storage::Error) -> bool {
    matches!(error.kind, storage::ErrorKind::PopReceipt | storage::ErrorKind::NotFound)
}

/// A message that somebody else received meanwhile is theirs now; nothing is to be done.
fn lost_is_fine(result: storage::error::Result<()>) -> Result<()> {
    match result {
        Err(e) if is_lost(&e) => Ok(()),
        other => Ok(other.or_none().map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::TaskHub;
    use crate::model::{HistoryEvent, InstanceRef, Sender};
    use crate::storage::Storage;

    #[tokio::test(start_paused = true)]
    async fn a_large_message_that_is_sent_again_has_a_body_of_its_own() {
        let hub = TaskHub::open(Storage::in_memory(), "Test").await.unwrap().0;
        let result = Some("x".repeat(100_000));
        let message = Message {
            activity_id: hub.rng.uuid(),
            event: HistoryEvent::arriving(hub.now(), EventKind::TaskCompleted { task_id: 0, result }),
            target: InstanceRef::new("i", "x"),
            context_tags: None,
            sequence_number: 0,
            episode: None,
            sender: Sender::client(),
            decision_id: None,
        };
        for _ in 0..2 {
            hub.send(QueueId::Control(0), message.clone(), Duration::ZERO).await.unwrap();
        }
        for _ in 0..2 {
            let received = hub.receive(QueueId::Control(0), 1, Duration::from_secs(30)).await.unwrap();
            assert_eq!((received.held.len(), received.unreadable.len()), (1, 0));
            hub.delete_message(&received.held[0]).await.unwrap();
        }
        assert_eq!(hub.look_at(QueueId::Control(0)).await.unwrap(), (0, None));
    }
}
