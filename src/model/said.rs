//! What an event says, whatever its kind: for those who show histories.

use super::{EventKind, FailureDetails, HistoryEvent};

impl HistoryEvent {
    /// The number of the task, timer or sent event that it is about: the one that it decides, or the one that it answers.
    #[must_use]
    pub fn task_id(&self) -> Option<i32> {
        let is_end = matches!(self.kind, EventKind::ExecutionCompleted { .. } | EventKind::ContinueAsNew { .. });
        self.kind.completes().or_else(|| Some(self.event_id).filter(|id| *id >= 0 && !is_end))
    }

    /// What it was before a [rewind](crate::Instance::rewind) took it back, as far as that can still be told; `None` of every other event.
    #[must_use]
    pub fn before_rewind(&self) -> Option<Self> {
        match &self.kind {
            EventKind::Generic { was: Some(was), .. } => Some(Self { kind: EventKind::clone(was), ..self.clone() }),
            _ => None,
        }
    }

    /// The name of an orchestrator, an activity or an event. What answers a task has none: it is that of the task.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            EventKind::ExecutionStarted(start) => Some(&start.name),
            EventKind::TaskScheduled { name, .. }
            | EventKind::SubOrchestrationCreated { name, .. }
            | EventKind::EventSent { name, .. }
            | EventKind::EventRaised { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The JSON text that a start, a call or an event was given; `None` is null, or was not stored.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        match &self.kind {
            EventKind::ExecutionStarted(start) => start.input.as_deref(),
            EventKind::TaskScheduled { input, .. }
            | EventKind::SubOrchestrationCreated { input, .. }
            | EventKind::EventSent { input, .. }
            | EventKind::EventRaised { input, .. } => input.as_deref(),
            _ => None,
        }
    }

    /// The JSON text of what a task, or the execution, has given.
    #[must_use]
    pub fn result(&self) -> Option<&str> {
        match &self.kind {
            EventKind::TaskCompleted { result, .. }
            | EventKind::SubOrchestrationCompleted { result, .. }
            | EventKind::ExecutionCompleted { result, .. }
            | EventKind::ContinueAsNew { result, .. } => result.as_deref(),
            _ => None,
        }
    }

    /// Why: of a termination, a suspension, a resumption or a rewind what was told, of a task that has failed the message.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.kind {
            EventKind::ExecutionTerminated { reason }
            | EventKind::ExecutionSuspended { reason }
            | EventKind::ExecutionResumed { reason }
            | EventKind::ExecutionRewound { reason, .. }
            | EventKind::TaskFailed { reason, .. }
            | EventKind::SubOrchestrationFailed { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }

    /// How a task, or the execution, has failed, if it was stored in parts.
    #[must_use]
    pub fn failure(&self) -> Option<&FailureDetails> {
        match &self.kind {
            EventKind::TaskFailed { failure, .. }
            | EventKind::SubOrchestrationFailed { failure, .. }
            | EventKind::ExecutionCompleted { failure, .. }
            | EventKind::ContinueAsNew { failure, .. } => failure.as_ref(),
            _ => None,
        }
    }
}
