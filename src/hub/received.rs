//! A message that this process has received or holds from its birth, as far as it has been read.

use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;

use super::blob_names;
use super::codec::{self, Incoming};
use super::hold::Hold;
use super::queues::QueueId;
use super::waiting::due;
use crate::error::{Error, ErrorKind};
use crate::model::{EventKind, Message, Timestamp};
use crate::storage::queue::QueueMessage;
use crate::storage::table::Etag;

/// A held message that could be read.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) hold: Arc<Hold>,
    /// Size of the body in memory, for budgets.
    pub(crate) bytes: usize,
    pub(crate) message: Box<Message>,
    /// The blob that holds the body of a large message; deleted with the message.
    pub(super) blob: Option<String>,
    /// Whether what is held is the work item whose answer the message is: the answer itself was never sent.
    pub(super) is_answer: bool,
    /// The version of the instance row, if the message is a start that this process has sent with it.
    pub(crate) row: Option<Etag>,
}

/// A held message whose body is still in its blob.
#[derive(Debug)]
pub(crate) struct InBlob {
    pub(crate) hold: Arc<Hold>,
    text: String,
    pub(super) blob: String,
}

/// The body of a large message.
#[derive(Debug)]
pub(crate) struct Body {
    /// Its size in memory.
    pub(crate) bytes: usize,
    pub(super) message: Box<Message>,
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

/// A message that has just been received, and what its text says.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) hold: Hold,
    pub(crate) content: Content,
}

/// What the text of a message says.
#[derive(Debug)]
pub(crate) struct Content {
    text: String,
    decoded: std::result::Result<Incoming, codec::BadMessage>,
}

impl Arrival {
    pub(super) fn of(queue: QueueId, mut raw: QueueMessage, expires: Instant) -> Self {
        let decoded = codec::decode(&raw.text);
        let seen_before = matches!(&decoded, Ok(Incoming::Message(message)) if message.seen_before);
        raw.dequeue_count = raw.dequeue_count.saturating_add(u32::from(seen_before));
        let (hold, text) = Hold::of(queue, raw, expires);
        Self { hold, content: Content { text, decoded } }
    }
}

impl Received {
    /// A message whose body may still be in a blob.
    pub(crate) fn of(hold: Arc<Hold>, Content { text, decoded }: Content) -> Self {
        match decoded {
            Ok(Incoming::Message(message)) => {
                Self::Held(Held { hold, bytes: text.len(), message, blob: None, is_answer: false, row: None })
            }
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

    /// Since when it has waited, if this is the first time that anybody has received it. Of a body in a blob nobody knows yet whether it came
    /// before its time.
    pub(crate) fn first_since(&self) -> Option<Timestamp> {
        match self {
            Self::Held(held) if held.dequeue_count == 1 => Some(held.waits_since()),
            _ => None,
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
        Held { hold, bytes: body.bytes, message: body.message, blob: Some(blob), is_answer: false, row: None }
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

    /// The answer to this work item, held by it: it ends with the work item, or is sent in its stead.
    pub(crate) fn answered_by(self, answer: Message) -> Self {
        Self { message: Box::new(answer), is_answer: true, ..self }
    }

    /// Whether the message was never sent, and what is held is the work item that it answers.
    pub(crate) fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// Since when it waits to be worked on: it was put, or a timer was due, or a start was scheduled for then.
    pub(crate) fn waits_since(&self) -> Timestamp {
        due(&self.message.event.kind).map_or(self.inserted_on, |due| due.max(self.inserted_on))
    }

    /// The blob of a start message stays: the instance row refers to it until the first checkpoint, and for ever if that is .NET's.
    pub(super) fn blob_is_garbage(&self) -> bool {
        !matches!(self.message.event.kind, EventKind::ExecutionStarted(_))
    }
}

impl Deref for Held {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.hold
    }
}
