//! What an execution that has ended answers to its parent.

use super::is_detached;
use crate::ids::{DecisionId, DecisionKind};
use crate::model::{EventKind, ExecutionStarted, FailureDetails, HistoryEvent, Message, RuntimeStatus, Sender, Timestamp};

/// How an execution ended.
pub(crate) struct Ended<'a> {
    pub(crate) execution_id: &'a str,
    /// The turn in which it ended.
    pub(crate) episode: i32,
    /// The event id of its completion.
    pub(crate) id: i32,
    pub(crate) status: RuntimeStatus,
    pub(crate) result: Option<String>,
    pub(crate) failure: Option<FailureDetails>,
}

impl Ended<'_> {
    /// What the execution that `start` began answers to its parent; `None` if nobody waits for it. The same end gives the same
    /// message, so that it may be sent again.
    pub(crate) fn answer(
        self,
        start: &ExecutionStarted,
        decision_id: Option<&str>,
        sender: Sender,
        now: Timestamp,
    ) -> Option<Message> {
        let parent = start.parent.as_ref().filter(|_| !is_detached(start))?;
        let (kind, result) = (DecisionKind::Complete, self.result.as_deref());
        let decision = DecisionId::new(self.execution_id, self.id, kind, &start.name, result);
        let task_id = parent.task_id;
        let kind = if self.status == RuntimeStatus::Completed {
            EventKind::SubOrchestrationCompleted { task_id, result: self.result }
        } else {
            EventKind::SubOrchestrationFailed { task_id, reason: self.result, details: None, failure: self.failure }
        };
        let (event, target) = (HistoryEvent::arriving(now, kind), parent.instance.clone());
        // The parent knows its own decision, not ours.
        let decision_id = decision_id.map(str::to_owned);
        Some(Message::from_instance(decision.message_id(), event, target, sender, self.episode, decision_id))
    }
}
