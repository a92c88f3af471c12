//! A message: one event on its way to one instance, or one work item, in the envelope of the .NET provider.

use uuid::Uuid;

use super::{HistoryEvent, InstanceRef, Tags};

/// What a queue message says (docs/storage-layout.md, Envelope).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// The identity of the message: derived from the decision that made it, so that a message sent again is recognised.
    pub(crate) activity_id: Uuid,
    /// The event.
    pub(crate) event: HistoryEvent,
    /// Whom it is for; of a work item, whom the result is for.
    pub(crate) target: InstanceRef,
    /// Tags of the sending orchestration: set on work items and on starts of sub-orchestrations.
    pub(crate) context_tags: Option<Tags>,
    /// The sender's process-wide counter: breaks ties of the insertion time.
    pub(crate) sequence_number: i64,
    /// The turn of the sender, counted from one; `None` from clients.
    pub(crate) episode: Option<i32>,
    /// Who sent it; both ids empty from clients.
    pub(crate) sender: Sender,
    /// The decision that this message serves; .NET ignores and never writes it.
    pub(crate) decision_id: Option<String>,
    /// Which attempt of a retry policy a work item is, if it is not the first; .NET ignores and never writes it.
    pub(crate) attempt: Option<u32>,
    /// Which sub-orchestrations a termination ends too; .NET ignores and never writes it.
    pub(crate) descendants: Option<Descendants>,
    /// Of an event for an instance that the sending execution has called as a sub-orchestration: the last such call before it. .NET ignores
    /// and never writes it.
    pub(crate) call: Option<ChildCall>,
    /// Whether somebody may have worked on it, or on a copy of it, before anybody receives it: its sender held it, or sends it again. .NET ignores and
    /// never writes it.
    pub(crate) seen_before: bool,
}

/// A call of a sub-orchestration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildCall {
    /// The execution that has made it. The sender of a message is the execution with which its turn began, and may be an earlier one.
    pub(crate) execution_id: String,
    pub(crate) task_id: i32,
}

/// How far a termination goes beyond the instance that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Descendants {
    /// Sub-orchestrations, and theirs, but those that were left to themselves.
    Attached,
    /// All of them.
    All,
}

impl Message {
    /// What a client sends: no turn and no decision is behind it.
    pub(crate) fn from_client(activity_id: Uuid, event: HistoryEvent, target: InstanceRef) -> Self {
        Self {
            activity_id,
            event,
            target,
            context_tags: None,
            sequence_number: 0,
            episode: None,
            sender: Sender::client(),
            decision_id: None,
            attempt: None,
            descendants: None,
            call: None,
            seen_before: false,
        }
    }

    /// What an instance sends in a turn, or an activity in its name: for a decision, if it is known.
    pub(crate) fn from_instance(
        activity_id: Uuid,
        event: HistoryEvent,
        target: InstanceRef,
        sender: Sender,
        episode: i32,
        decision_id: Option<String>,
    ) -> Self {
        Self { episode: Some(episode), sender, decision_id, ..Self::from_client(activity_id, event, target) }
    }
}

/// The sending instance; an entity has no execution id in its first turn, a client has two empty ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) struct Sender {
    pub(crate) instance_id: String,
    pub(crate) execution_id: Option<String>,
}

impl Sender {
    /// A client: both ids are empty, not absent, because .NET dereferences them.
    #[must_use]
    pub(crate) fn client() -> Self {
        Self { instance_id: String::new(), execution_id: Some(String::new()) }
    }
}
