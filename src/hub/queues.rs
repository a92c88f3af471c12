//! Messages in and out: control queues by partition, the work-item queue, large bodies in blobs, held messages.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::codec::{self, Incoming};
use super::{Doorbell, Hub, blob_names, partition};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Message, Timestamp};
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
    /// Messages whose body is gone.
    pub(crate) bodiless: Vec<Bodiless>,
}

/// A message whose body was deleted with its twin, which somebody has handled: a body is put before its message, and deleted
/// after it or with its whole instance. Starts are never that, because their bodies stay.
#[derive(Debug)]
pub(crate) struct Bodiless {
    queue: QueueId,
    raw: QueueMessage,
    pub(crate) blob: String,
}

/// Why there is no message to work on.
enum Unread {
    Bad(Error, Option<String>),
    Bodiless(String),
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
            let event_type = message.event.kind.type_name();
            let name = blob_names::message_blob(&message.target.instance_id, message.activity_id, event_type);
            self.put_payload(&name, &json).await?;
            codec::encode(&codec::wrapper_json(&name), self.encoding)
        } else {
            codec::encode(&json, self.encoding)
        };
        let delay = delay.min(VISIBILITY_MAX);
        tracing::trace!(id = %message.activity_id, event = message.event.kind.type_name(), "message sent");
        let put = self.storage.queues.put(&self.queue_name(queue), &text, delay).await?;
        self.bell(queue).ring(delay);
        Ok(put)
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
                Err(Unread::Bad(error, blob)) => received.unreadable.push(Unreadable { queue, raw, blob, error }),
                Err(Unread::Bodiless(blob)) => received.bodiless.push(Bodiless { queue, raw, blob }),
            }
        }
        received.held.sort_by_key(|h| (h.inserted_on, h.message.sequence_number));
        Ok(received)
    }

    async fn read_message(&self, text: &str) -> std::result::Result<Body, Unread> {
        let corrupt = |why: String, blob| Unread::Bad(Error::new(ErrorKind::Corrupt, why), blob);
        let name = match codec::decode(text) {
            Ok(Incoming::Message(message)) => return Ok(Body { message: *message, bytes: text.len(), blob: None }),
            Ok(Incoming::InBlob(name)) => name,
            Err(bad) => return Err(corrupt(bad.to_string(), None)),
        };
        let json = match self.find_payload(&name).await {
            Ok(Some(json)) => json,
            Ok(None) if blob_names::is_start_message(&name) => {
                return Err(corrupt(format!("blob \"{name}\" of a large payload is missing"), Some(name)));
            }
            Ok(None) => return Err(Unread::Bodiless(name)),
            Err(error) => return Err(Unread::Bad(error, Some(name))),
        };
        match Message::from_json(&json) {
            Ok(message) => Ok(Body { message, bytes: json.len(), blob: Some(name) }),
            Err(bad) => Err(corrupt(format!("blob \"{name}\": {bad}"), Some(name))),
        }
    }

    /// About how many messages a queue has, hidden ones included, and when the oldest visible one was put.
    pub(crate) async fn look_at(&self, queue: QueueId) -> Result<(u64, Option<Timestamp>)> {
        let name = self.queue_name(queue);
        let count = self.storage.queues.count(&name).await?;
        let visible = self.storage.queues.peek(&name, RECEIVE_MAX).await?;
        Ok((count, visible.iter().map(|message| message.inserted_on).min()))
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
        lost_is_fine(self.storage.queues.update(&queue, &held.id, &current.text, delay, None).await.map(drop))?;
        self.bell(held.queue).ring(delay);
        Ok(())
    }

    /// Holds a message for `visibility` from now. `false` if it is no longer ours.
    pub(crate) async fn renew(&self, held: &Held, visibility: Duration) -> Result<bool> {
        let mut receipt = held.receipt.lock().await;
        let Some(current) = receipt.as_mut() else { return Ok(false) };
        let expires = Instant::now() + visibility;
        let queue = self.queue_name(held.queue);
        match self.storage.queues.update(&queue, &held.id, &current.text, visibility, None).await {
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

    /// Deletes a message whose body is gone.
    pub(crate) async fn delete_bodiless(&self, bodiless: &Bodiless) -> Result<()> {
        let raw = &bodiless.raw;
        lost_is_fine(self.storage.queues.delete(&self.queue_name(bodiless.queue), &raw.id, &raw.pop_receipt).await)
    }

    /// Deletes or postpones a message that could not be read.
    pub(crate) async fn delete_unreadable(&self, unreadable: &Unreadable) -> Result<()> {
        let raw = &unreadable.raw;
        lost_is_fine(self.storage.queues.delete(&self.queue_name(unreadable.queue), &raw.id, &raw.pop_receipt).await)
    }

    pub(crate) async fn postpone_unreadable(&self, unreadable: &Unreadable, delay: Duration) -> Result<()> {
        let (raw, queue) = (&unreadable.raw, self.queue_name(unreadable.queue));
        lost_is_fine(self.storage.queues.update(&queue, &raw.id, &raw.pop_receipt, delay, None).await.map(drop))
    }
}

impl Received {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.unreadable.is_empty() && self.bodiless.is_empty()
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
        !matches!(self.message.event.kind, crate::model::EventKind::ExecutionStarted(_))
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
