//! History events: what one row of a history, or one message to an instance, says.

use std::collections::BTreeMap;

use super::weight::Weight;
use super::{FailureDetails, RuntimeStatus, Timestamp, members};

/// String tags of an instance or activity.
pub type Tags = BTreeMap<String, String>;

/// The tag of a child that nobody waits for, as .NET writes it.
pub(crate) const FIRE_AND_FORGET: &str = "FireAndForget";

/// An event: the base members of .NET's `HistoryEvent` and one of its kinds (docs/storage-layout.md, Events).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HistoryEvent {
    /// The decision id for decisions (0, 1, 2, ...), -1 for everything that arrives or marks a turn.
    pub event_id: i32,
    /// Informational, as .NET writes it (docs/storage-layout.md, Columns).
    pub is_played: bool,
    /// When the event was made; of a received event, when its message was made.
    pub timestamp: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What happened. Names and members are those of .NET's event classes.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "members are those of .NET, by the same names")]
#[non_exhaustive]
pub enum EventKind {
    ExecutionStarted(Box<ExecutionStarted>),
    ExecutionCompleted {
        status: RuntimeStatus,
        result: Option<String>,
        failure: Option<FailureDetails>,
    },
    ExecutionTerminated {
        reason: Option<String>,
    },
    ExecutionSuspended {
        reason: Option<String>,
    },
    ExecutionResumed {
        reason: Option<String>,
    },
    TaskScheduled {
        name: String,
        version: Option<String>,
        input: Option<String>,
        trace: Option<TraceContext>,
        tags: Option<Tags>,
    },
    TaskCompleted {
        task_id: i32,
        result: Option<String>,
    },
    TaskFailed {
        task_id: i32,
        reason: Option<String>,
        details: Option<String>,
        failure: Option<FailureDetails>,
    },
    SubOrchestrationCreated {
        name: String,
        version: Option<String>,
        instance_id: String,
        input: Option<String>,
        client_span_id: Option<String>,
        tags: Option<Tags>,
    },
    SubOrchestrationCompleted {
        task_id: i32,
        result: Option<String>,
    },
    SubOrchestrationFailed {
        task_id: i32,
        reason: Option<String>,
        details: Option<String>,
        failure: Option<FailureDetails>,
    },
    TimerCreated {
        fire_at: Timestamp,
    },
    TimerFired {
        timer_id: i32,
        fire_at: Timestamp,
    },
    OrchestratorStarted,
    OrchestratorCompleted,
    EventSent {
        instance_id: String,
        name: String,
        input: Option<String>,
    },
    EventRaised {
        name: String,
        input: Option<String>,
        trace: Option<TraceContext>,
    },
    ContinueAsNew {
        status: RuntimeStatus,
        result: Option<String>,
        failure: Option<FailureDetails>,
    },
    Generic {
        data: Option<String>,
        /// What it was before a [rewind](crate::Instance::rewind) took it back, as far as its row still tells.
        was: Option<Box<Self>>,
    },
    ExecutionRewound {
        reason: Option<String>,
        parent_execution_id: Option<String>,
        instance_id: Option<String>,
        trace: Option<TraceContext>,
    },
    /// A legacy snapshot; the state is kept as the JSON text it came with.
    HistoryState {
        state: Option<String>,
    },
}

/// The first event of an execution.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are those of .NET, by the same names")]
#[non_exhaustive]
pub struct ExecutionStarted {
    pub instance: InstanceRef,
    pub parent: Option<ParentInstance>,
    pub name: String,
    pub version: Option<String>,
    pub input: Option<String>,
    pub tags: Option<Tags>,
    pub correlation: Option<String>,
    pub trace: Option<TraceContext>,
    pub scheduled_start: Option<Timestamp>,
    pub generation: Option<i32>,
    pub generate_new_trace: bool,
    /// How many parents are above the instance, as far as workers of this crate have counted: .NET ignores and never writes it.
    pub level: Option<i32>,
}

/// An instance, and which of its executions; `None` means the current one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct InstanceRef {
    /// The id that users see.
    pub instance_id: String,
    /// One run between two continue-as-news: opaque text.
    pub execution_id: Option<String>,
}

impl InstanceRef {
    /// A reference to one execution.
    pub fn new(instance_id: impl Into<String>, execution_id: impl Into<String>) -> Self {
        Self { instance_id: instance_id.into(), execution_id: Some(execution_id.into()) }
    }

    /// A reference to whatever execution is current.
    pub fn current(instance_id: impl Into<String>) -> Self {
        Self { instance_id: instance_id.into(), execution_id: None }
    }
}

/// Who waits for a sub-orchestration.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are those of .NET, by the same names")]
#[non_exhaustive]
pub struct ParentInstance {
    pub name: Option<String>,
    pub instance: InstanceRef,
    pub task_id: i32,
    pub version: Option<String>,
}

/// A distributed-tracing context (docs/storage-layout.md, Events).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "members are those of .NET, by the same names")]
#[non_exhaustive]
pub struct TraceContext {
    pub trace_parent: Option<String>,
    pub trace_state: Option<String>,
    pub id: Option<String>,
    pub span_id: Option<String>,
    /// A .NET `DateTimeOffset`, kept as text.
    pub activity_start_time: Option<String>,
}

impl ExecutionStarted {
    /// The instance that has started this one.
    pub(crate) fn parent_id(&self) -> Option<&str> {
        self.parent.as_ref().map(|parent| parent.instance.instance_id.as_str())
    }
}

impl HistoryEvent {
    /// An event that arrives or marks a turn: its id is -1.
    #[must_use]
    pub fn arriving(timestamp: Timestamp, kind: EventKind) -> Self {
        Self { event_id: -1, is_played: false, timestamp, kind }
    }

    /// A decision of an orchestrator.
    #[must_use]
    pub fn decision(event_id: i32, timestamp: Timestamp, kind: EventKind) -> Self {
        Self { event_id, is_played: false, timestamp, kind }
    }
}

/// How the event begins that records a change of the code. Persisted, never change it.
const PATCHED: &str = "Patched: ";

impl EventKind {
    /// The answer to the call of an activity.
    pub(crate) fn answer(task_id: i32, result: Result<Option<String>, FailureDetails>) -> Self {
        match result {
            Ok(result) => Self::TaskCompleted { task_id, result },
            Err(failure) => {
                let reason = Some(failure.error_message.clone());
                Self::TaskFailed { task_id, reason, details: None, failure: Some(failure) }
            }
        }
    }

    /// The task of an activity to which this is the answer.
    pub(crate) fn answers_task(&self) -> Option<i32> {
        match self {
            Self::TaskCompleted { task_id, .. } | Self::TaskFailed { task_id, .. } => Some(*task_id),
            _ => None,
        }
    }

    /// The name in the `EventType` column, and of the .NET class without the suffix `Event`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::ExecutionStarted(_) => "ExecutionStarted",
            Self::ExecutionCompleted { .. } => "ExecutionCompleted",
            Self::ExecutionTerminated { .. } => "ExecutionTerminated",
            Self::ExecutionSuspended { .. } => "ExecutionSuspended",
            Self::ExecutionResumed { .. } => "ExecutionResumed",
            Self::TaskScheduled { .. } => "TaskScheduled",
            Self::TaskCompleted { .. } => "TaskCompleted",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::SubOrchestrationCreated { .. } => "SubOrchestrationInstanceCreated",
            Self::SubOrchestrationCompleted { .. } => "SubOrchestrationInstanceCompleted",
            Self::SubOrchestrationFailed { .. } => "SubOrchestrationInstanceFailed",
            Self::TimerCreated { .. } => "TimerCreated",
            Self::TimerFired { .. } => "TimerFired",
            Self::OrchestratorStarted => "OrchestratorStarted",
            Self::OrchestratorCompleted => "OrchestratorCompleted",
            Self::EventSent { .. } => "EventSent",
            Self::EventRaised { .. } => "EventRaised",
            Self::ContinueAsNew { .. } => "ContinueAsNew",
            Self::Generic { .. } => "GenericEvent",
            Self::ExecutionRewound { .. } => "ExecutionRewound",
            Self::HistoryState { .. } => "HistoryState",
        }
    }

    /// Whether a rewind has taken this event back: such a row keeps the id of the decision that it was. What only woke an instance has none.
    pub(crate) fn is_taken_back(&self, event_id: i32) -> bool {
        matches!(self, Self::Generic { .. }) && event_id >= 0
    }

    /// The task or timer that this event completes.
    #[must_use]
    pub fn completes(&self) -> Option<i32> {
        match self {
            Self::TaskCompleted { task_id, .. }
            | Self::TaskFailed { task_id, .. }
            | Self::SubOrchestrationCompleted { task_id, .. }
            | Self::SubOrchestrationFailed { task_id, .. } => Some(*task_id),
            Self::TimerFired { timer_id, .. } => Some(*timer_id),
            _ => None,
        }
    }
}

/// An event and what is kept beside it in columns that .NET ignores.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredEvent {
    pub(crate) event: HistoryEvent,
    /// Of an event that came from outside: the identity of its message, so that a redelivery is not applied twice.
    pub(crate) message_id: Option<uuid::Uuid>,
    /// Of a decision, and of the start of a child: the decision's identity.
    pub(crate) decision_id: Option<String>,
    /// Of an answer that a rewind has taken back: the task that it answered.
    pub(crate) taken_back: Option<i32>,
    /// Of an event that was read from its row: the columns whose texts are in blobs, and the names of these.
    pub(crate) blobs: Vec<(&'static str, String)>,
}

/// The identity of the record of a change, in the place of that of a decision: no message of anybody has it.
const CHANGE: &str = "change";

impl StoredEvent {
    /// The record that an execution runs with a change of its code: an event of a kind that replay passes over, here and in .NET.
    pub(crate) fn patched(at: Timestamp, change: &str) -> Self {
        let event = HistoryEvent::arriving(at, EventKind::Generic { data: Some(format!("{PATCHED}{change}")), was: None });
        Self { decision_id: Some(CHANGE.to_owned()), ..event.into() }
    }

    /// About how many bytes it takes up in memory.
    pub(crate) fn weight(&self) -> usize {
        let mut texts = Weight(0);
        members::write_event(&self.event, &mut texts);
        let beside: usize = self.blobs.iter().map(|(_, blob)| blob.len()).sum();
        size_of::<Self>() + texts.0 + beside + self.decision_id.as_ref().map_or(0, String::len)
    }

    /// The change of the code that this records.
    pub(crate) fn change(&self) -> Option<&str> {
        let EventKind::Generic { data, .. } = &self.event.kind else { return None };
        data.as_deref().filter(|_| self.decision_id.as_deref() == Some(CHANGE))?.strip_prefix(PATCHED)
    }
}

impl From<HistoryEvent> for StoredEvent {
    fn from(event: HistoryEvent) -> Self {
        Self { event, message_id: None, decision_id: None, taken_back: None, blobs: Vec::new() }
    }
}
