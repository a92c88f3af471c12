//! The envelope of queue messages, both ways, and the wrapper that stands for a message in a blob
//! (docs/storage-layout.md, Envelope).

use uuid::Uuid;

use super::error::DecodeError;
use super::event::{read_event, write_event};
use super::parts::{Part as _, write_tags};
use super::read::{Node, parse};
use super::write::JsonWriter;
use crate::model::members::MemberReader as _;
use crate::model::{ChildCall, Descendants, InstanceRef, Message, Sender};

/// The texts of the member `Descendants`.
const ATTACHED: &str = "Attached";
const ALL: &str = "All";

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Incoming {
    /// The message itself.
    Message(Box<Message>),
    /// The name of the blob in which the envelope lies.
    InBlob(String),
}

/// Room for a message with small payloads.
const USUAL_BYTES: usize = 1536;

impl Message {
    /// The bytes that .NET writes; our own `DecisionId`, `Attempt`, `Descendants`, `CallExecutionId`, `CallTaskId` and `SeenBefore` come
    /// last, where .NET ignores them.
    #[must_use]
    pub(crate) fn to_json(&self) -> String {
        let mut w = JsonWriter::new(true).with_room(USUAL_BYTES);
        w.object("DurableTask.AzureStorage.MessageData", |w| {
            w.name("ActivityId").string(&self.activity_id.hyphenated().to_string());
            w.name("TaskMessage").object("DurableTask.Core.TaskMessage", |w| self.write_task_message(w));
            w.name("CompressedBlobName").null();
            w.name("SequenceNumber").raw(self.sequence_number);
            if let Some(episode) = self.episode {
                w.name("Episode").raw(episode);
            }
            w.name("Sender").plain_object(|w| {
                w.name("InstanceId").string(&self.sender.instance_id);
                w.name("ExecutionId").optional_string(self.sender.execution_id.as_deref());
            });
            w.name("SerializableTraceContext").null();
            if let Some(id) = &self.decision_id {
                w.name("DecisionId").string(id);
            }
            if let Some(attempt) = self.attempt {
                w.name("Attempt").raw(attempt);
            }
            if let Some(descendants) = self.descendants {
                w.name("Descendants").string(if descendants == Descendants::All { ALL } else { ATTACHED });
            }
            if let Some(call) = &self.call {
                w.name("CallExecutionId").string(&call.execution_id);
                w.name("CallTaskId").raw(call.task_id);
            }
            if self.seen_before {
                w.name("SeenBefore").raw(true);
            }
        });
        w.finish()
    }

    fn write_task_message(&self, w: &mut JsonWriter) {
        write_event(&self.event, w.name("Event"));
        w.name("SequenceNumber").raw(0);
        self.target.write(w.name("OrchestrationInstance"));
        w.name("OrchestrationExecutionContext");
        match &self.context_tags {
            Some(tags) => {
                w.object("DurableTask.Core.OrchestrationExecutionContext", |w| write_tags(tags, w.name("OrchestrationTags")));
            }
            None => w.null(),
        }
    }

    /// Reads what .NET would read, and some more: the data contract form, and a `$type` of the event in any place.
    ///
    /// # Errors
    /// The text is no JSON, holds no message, names no known event, or a member has a value that cannot stand there.
    pub(crate) fn from_json(text: &str) -> Result<Self, DecodeError> {
        read_message(&parse(text)?)
    }
}

impl Incoming {
    /// Reads a message or a wrapper.
    pub(crate) fn from_json(text: &str) -> Result<Self, DecodeError> {
        let node = parse(text)?;
        match node.text("CompressedBlobName")? {
            Some(blob) if !blob.is_empty() => Ok(Self::InBlob(blob)),
            _ => Ok(Self::Message(Box::new(read_message(&node)?))),
        }
    }
}

/// The envelope that stands on a queue for a message in a blob.
pub(crate) fn wrapper_json(blob_name: &str) -> String {
    let mut w = JsonWriter::new(true);
    w.object("DurableTask.AzureStorage.MessageData", |w| {
        w.name("ActivityId").string(&Uuid::nil().hyphenated().to_string());
        w.name("TaskMessage").null();
        w.name("CompressedBlobName").string(blob_name);
        w.name("SequenceNumber").raw(0);
        w.name("Sender").null();
        w.name("SerializableTraceContext").null();
    });
    w.finish()
}

fn read_message(node: &Node<'_>) -> Result<Message, DecodeError> {
    let activity_id = match node.text("ActivityId")? {
        None => Uuid::nil(),
        Some(text) => Uuid::try_parse(&text).map_err(|_| DecodeError::not_a(&text, "a GUID").within("ActivityId"))?,
    };
    let sender = node.object("Sender")?;
    let sender = match sender {
        None => Sender::default(),
        Some(node) => read_sender(node).map_err(|e| e.within("Sender"))?,
    };
    let task_message = node.object("TaskMessage")?.ok_or_else(|| DecodeError::missing().within("TaskMessage"))?;
    let mut message = read_task_message(task_message).map_err(|e| e.within("TaskMessage"))?;
    message.activity_id = activity_id;
    message.sequence_number = node.long("SequenceNumber")?.unwrap_or(0);
    message.episode = node.nullable_int("Episode")?;
    message.sender = sender;
    message.decision_id = node.text("DecisionId")?;
    message.attempt = node.nullable_int("Attempt")?.and_then(|attempt| u32::try_from(attempt).ok());
    let (execution_id, task_id) = (node.text("CallExecutionId")?, node.nullable_int("CallTaskId")?);
    message.call = execution_id.zip(task_id).map(|(execution_id, task_id)| ChildCall { execution_id, task_id });
    message.seen_before = node.flag("SeenBefore")?;
    message.descendants =
        node.text("Descendants")?.map(|text| if text == ALL { Descendants::All } else { Descendants::Attached });
    Ok(message)
}

fn read_sender(node: &Node<'_>) -> Result<Sender, DecodeError> {
    Ok(Sender { instance_id: node.text("InstanceId")?.unwrap_or_default(), execution_id: node.text("ExecutionId")? })
}

fn read_task_message(node: &Node<'_>) -> Result<Message, DecodeError> {
    let event = node.object("Event")?.ok_or_else(|| DecodeError::missing().within("Event"))?;
    let target: InstanceRef =
        node.part("OrchestrationInstance")?.ok_or_else(|| DecodeError::missing().within("OrchestrationInstance"))?;
    let context_tags = match node.object("OrchestrationExecutionContext")? {
        None => None,
        Some(context) => {
            Some(context.tags("OrchestrationTags").map_err(|e| e.within("OrchestrationExecutionContext"))?.unwrap_or_default())
        }
    };
    Ok(Message {
        activity_id: Uuid::nil(),
        event: read_event(event).map_err(|e| e.within("Event"))?,
        target,
        context_tags,
        sequence_number: 0,
        episode: None,
        sender: Sender::default(),
        decision_id: None,
        attempt: None,
        descendants: None,
        call: None,
        seen_before: false,
    })
}
