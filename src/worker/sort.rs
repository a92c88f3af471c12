//! Which held messages a turn may apply: pure decisions over a message and the state of its instance.

use std::cmp::Ordering;
use std::time::Duration;

use super::drop_reason::DropReason;
use crate::model::{
    EventKind, ExecutionStarted, InstanceRef, Message, OpenTask, ParentInstance, Sender, State, TaskKind, Timestamp,
};
use crate::sabotage::{self, Sabotage};

/// What to do with one held message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append its event to the history in this turn.
    Apply,
    /// Delete it; nothing can make it matter any more.
    Drop(DropReason),
    /// Not yet: its decision is not in history. Test again after the next commit, or later.
    Early,
    /// Not before its time.
    NotBefore(Duration),
}

/// The instance as it is loaded, as far as messages are concerned.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) state: &'a State,
    pub(crate) execution_id: &'a str,
    /// Message ids applied by earlier executions, from the sentinel.
    pub(crate) applied: &'a [uuid::Uuid],
    /// Executions that this one has replaced.
    pub(crate) superseded: &'a [String],
    /// The call that has started this instance, if it is a sub-orchestration.
    pub(crate) call: Option<&'a ParentInstance>,
    pub(crate) now: Timestamp,
}

impl Known<'_> {
    /// The verdict on any message but a start.
    pub(crate) fn verdict(&self, message: &Message) -> Verdict {
        if let Some(execution_id) = non_blank(message.target.execution_id.as_deref())
            && execution_id != self.execution_id
        {
            let known = self.superseded.iter().any(|s| s == execution_id);
            return if known { Verdict::Drop(DropReason::EarlierExecution) } else { Verdict::Early };
        }
        match self.order_of_call(message) {
            Some(Ordering::Less) => return Verdict::Drop(DropReason::EarlierCall),
            Some(Ordering::Greater) => return Verdict::Early,
            Some(Ordering::Equal) | None => {}
        }
        if self.state.completed.is_some() {
            return Verdict::Drop(DropReason::InstanceEnded);
        }
        match &message.event.kind {
            EventKind::TimerFired { fire_at, .. } if *fire_at > self.now && !sabotage::is(Sabotage::TimerBeforeItsTime) => {
                Verdict::NotBefore(fire_at.since(self.now))
            }
            kind => match kind.completes() {
                Some(task_id) => self.completion(message, task_id),
                None => self.external(message),
            },
        }
    }

    fn completion(&self, message: &Message, task_id: i32) -> Verdict {
        let Some(task) = self.state.open_task_of(task_id) else {
            let answered = self.state.has_decision(task_id);
            return if answered { Verdict::Drop(DropReason::TaskComplete) } else { Verdict::Early };
        };
        if self.was_taken_back(message, task_id) {
            return Verdict::Drop(DropReason::TakenBack);
        }
        if answers(message, task) { Verdict::Apply } else { Verdict::Drop(DropReason::OtherDecision) }
    }

    /// Whether this is a copy of a failure that a rewind has taken back. Another decision tells that of an activity; a child that was
    /// rewound is still that of the same decision, and .NET has no decisions.
    fn was_taken_back(&self, message: &Message, task_id: i32) -> bool {
        let may_be = match message.event.kind {
            EventKind::SubOrchestrationFailed { .. } => true,
            EventKind::TaskFailed { .. } => message.decision_id.is_none(),
            _ => false,
        };
        may_be && self.state.has_taken_back(task_id, message.event.timestamp)
    }

    fn external(&self, message: &Message) -> Verdict {
        if self.has_applied(message) && !sabotage::is(Sabotage::IdentityIgnored) {
            return Verdict::Drop(DropReason::AppliedAlready);
        }
        match message.event.kind {
            // The id of a child may have gone to another instance.
            EventKind::ExecutionTerminated { .. } if !self.may_terminate(&message.sender) => {
                Verdict::Drop(DropReason::OtherParent)
            }
            EventKind::EventRaised { .. }
            | EventKind::ExecutionTerminated { .. }
            | EventKind::ExecutionSuspended { .. }
            | EventKind::ExecutionResumed { .. }
            | EventKind::Generic { .. } => Verdict::Apply,
            _ => {
                // Nobody sends such a message: who watches the worker should know.
                tracing::warn!(
                    event = message.event.kind.type_name(),
                    message_id = %message.activity_id,
                    "a message that is not for an orchestration is dropped"
                );
                Verdict::Drop(DropReason::NotForOrchestrations)
            }
        }
    }

    /// Whether this event was applied, by this execution or by one before it.
    pub(crate) fn has_applied(&self, message: &Message) -> bool {
        let id = &message.activity_id;
        // .NET writes no id into the wrapper of old messages; an empty one identifies nothing.
        !id.is_nil() && (self.state.has_applied(id) || self.applied.contains(id))
    }

    /// An instance ends its own children only.
    fn may_terminate(&self, sender: &Sender) -> bool {
        sender.instance_id.is_empty() || self.call.is_some_and(|call| call.instance.instance_id == sender.instance_id)
    }

    /// How the call behind which an event was sent stands to the one that has started this instance, if both are of one execution. An
    /// execution that has called the id again has had the answer of the call before, whose last turn may be yet to be committed: the
    /// event is not for it.
    pub(crate) fn order_of_call(&self, message: &Message) -> Option<Ordering> {
        let (behind, call) = (message.call.as_ref()?, self.call?);
        let InstanceRef { instance_id, execution_id } = &call.instance;
        let is_of_one = *instance_id == message.sender.instance_id && execution_id.as_ref() == Some(&behind.execution_id);
        is_of_one.then(|| behind.task_id.cmp(&call.task_id))
    }

    /// Whether a start of a sub-orchestration is one that this instance has seen. .NET draws a new execution id each time it
    /// sends a start again, so the parent's task tells; ours carries the decision, which a retry that decided otherwise changes.
    pub(crate) fn is_repeated_start(&self, start: &ExecutionStarted, decision_id: Option<&str>) -> bool {
        if sabotage::is(Sabotage::RepeatedStartTaken) {
            return false;
        }
        let id = start.instance.execution_id.as_deref();
        if id.is_some_and(|id| self.superseded.iter().any(|s| s == id)) {
            return true;
        }
        // Without a start in history the first checkpoint was interrupted: this message begins the execution again.
        let Some(started) = &self.state.started else { return false };
        if id == Some(self.execution_id) {
            return true;
        }
        let Some(parent) = &start.parent else { return false };
        let Some(known) = &started.event.parent else { return false };
        let same_task = parent.instance == known.instance && parent.task_id == known.task_id;
        same_task && is_same_decision(decision_id, started.decision_id.as_deref())
    }
}

/// Whether a completion belongs to the decision that history has under its task id. What .NET sends carries no decision id and
/// is taken by task id, child id and due time.
fn answers(message: &Message, task: &OpenTask) -> bool {
    let same_decision = is_same_decision(message.decision_id.as_deref(), task.decision_id.as_deref());
    let same_kind = match (&message.event.kind, &task.kind) {
        (EventKind::TaskCompleted { .. } | EventKind::TaskFailed { .. }, TaskKind::Activity) => true,
        (
            EventKind::SubOrchestrationCompleted { .. } | EventKind::SubOrchestrationFailed { .. },
            TaskKind::SubOrchestration { instance_id },
        ) => message.sender.instance_id.is_empty() || message.sender.instance_id == *instance_id,
        (EventKind::TimerFired { fire_at, .. }, TaskKind::Timer { fire_at: due }) => fire_at == due,
        _ => false,
    };
    (same_decision || sabotage::is(Sabotage::DecisionIgnored)) && same_kind
}

/// What .NET writes carries no decision id: then nothing speaks against it.
pub(super) fn is_same_decision(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

fn non_blank(execution_id: Option<&str>) -> Option<&str> {
    execution_id.filter(|id| !id.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChildCall, HistoryEvent, StoredEvent};
    use uuid::Uuid;

    const TIME: Timestamp = Timestamp::UNIX_EPOCH;

    fn message(kind: EventKind) -> Message {
        Message::from_client(Uuid::from_u128(7), HistoryEvent::arriving(TIME, kind), InstanceRef::new("i", "x"))
    }

    fn check(history: &[StoredEvent], message: &Message) -> Verdict {
        let state = State::fold(history);
        let superseded = ["old".to_owned()];
        let instance = InstanceRef::new("parent", "p");
        let call = Some(&ParentInstance { name: None, instance, task_id: 3, version: None });
        Known { state: &state, execution_id: "x", applied: &[], superseded: &superseded, call, now: TIME }.verdict(message)
    }

    fn scheduled(decision_id: Option<&str>) -> StoredEvent {
        let kind = EventKind::TaskScheduled { name: "a".into(), version: None, input: None, trace: None, tags: None };
        StoredEvent { decision_id: decision_id.map(Into::into), ..HistoryEvent::decision(0, TIME, kind).into() }
    }

    fn completed() -> Message {
        message(EventKind::TaskCompleted { task_id: 0, result: None })
    }

    #[test]
    fn a_completion_is_applied_once_and_waits_for_its_decision() {
        assert_eq!(check(&[], &completed()), Verdict::Early);
        assert_eq!(check(&[scheduled(None)], &completed()), Verdict::Apply);
        let done = HistoryEvent::arriving(TIME, completed().event.kind).into();
        assert!(matches!(check(&[scheduled(None), done], &completed()), Verdict::Drop(_)));
    }

    #[test]
    fn a_completion_of_another_decision_under_the_same_task_id_is_dropped() {
        let answer = Message { decision_id: Some("d1".into()), ..completed() };
        assert_eq!(check(&[scheduled(Some("d1"))], &answer), Verdict::Apply);
        assert!(matches!(check(&[scheduled(Some("d2"))], &answer), Verdict::Drop(_)));
        assert_eq!(check(&[scheduled(None)], &answer), Verdict::Apply);
        assert_eq!(check(&[scheduled(Some("d2"))], &completed()), Verdict::Apply);
    }

    #[test]
    fn another_kind_of_completion_is_dropped() {
        let fired = message(EventKind::TimerFired { timer_id: 0, fire_at: TIME });
        assert!(matches!(check(&[scheduled(None)], &fired), Verdict::Drop(_)));
    }

    #[test]
    fn a_timer_is_never_early_and_one_of_an_uncommitted_turn_is_dropped() {
        let due = TIME.plus(Duration::from_secs(5));
        let created: StoredEvent = HistoryEvent::decision(0, TIME, EventKind::TimerCreated { fire_at: TIME }).into();
        let early = message(EventKind::TimerFired { timer_id: 0, fire_at: due });
        assert_eq!(check(std::slice::from_ref(&created), &early), Verdict::NotBefore(Duration::from_secs(5)));
        let other = message(EventKind::TimerFired { timer_id: 0, fire_at: TIME.plus_ticks(-1) });
        assert!(matches!(check(std::slice::from_ref(&created), &other), Verdict::Drop(_)));
        let fired = message(EventKind::TimerFired { timer_id: 0, fire_at: TIME });
        assert_eq!(check(&[created], &fired), Verdict::Apply);
    }

    #[test]
    fn an_external_event_is_applied_once_by_the_identity_of_its_message() {
        let raised = message(EventKind::EventRaised { name: "e".into(), input: None, trace: None });
        assert_eq!(check(&[], &raised), Verdict::Apply);
        let row = StoredEvent { message_id: Some(raised.activity_id), ..raised.event.clone().into() };
        assert!(matches!(check(&[row], &raised), Verdict::Drop(_)));
    }

    #[test]
    fn an_instance_is_terminated_by_clients_and_by_its_own_parent_only() {
        let by = |id: &str| {
            let sender = Sender { instance_id: id.to_owned(), execution_id: None };
            check(&[], &Message { sender, ..message(EventKind::ExecutionTerminated { reason: None }) })
        };
        assert_eq!((by(""), by("parent")), (Verdict::Apply, Verdict::Apply));
        assert_eq!(by("another"), Verdict::Drop(DropReason::OtherParent));
    }

    #[test]
    fn an_event_is_for_the_child_of_the_call_behind_which_it_was_sent() {
        let behind = |sender: (&str, &str), task_id: Option<i32>| {
            // The turn began with an execution before that.
            let by = Sender { instance_id: sender.0.to_owned(), execution_id: Some("o".to_owned()) };
            let raised = EventKind::EventRaised { name: "e".into(), input: None, trace: None };
            let call = task_id.map(|task_id| ChildCall { execution_id: sender.1.to_owned(), task_id });
            check(&[], &Message { sender: by, call, ..message(raised) })
        };
        assert_eq!(behind(("parent", "p"), Some(2)), Verdict::Drop(DropReason::EarlierCall));
        assert_eq!(behind(("parent", "p"), Some(3)), Verdict::Apply);
        assert_eq!(behind(("parent", "p"), Some(4)), Verdict::Early);
        // Nothing is known of calls that another execution has made, or nobody.
        for other in [behind(("parent", "q"), Some(2)), behind(("another", "p"), Some(4)), behind(("parent", "p"), None)] {
            assert_eq!(other, Verdict::Apply);
        }
    }

    #[test]
    fn what_is_no_message_for_an_orchestration_is_dropped() {
        assert!(matches!(check(&[scheduled(None)], &message(scheduled(None).event.kind)), Verdict::Drop(_)));
    }

    #[test]
    fn messages_of_a_replaced_execution_are_dropped_and_those_of_an_unknown_one_wait() {
        let of = |execution: &str| Message { target: InstanceRef::new("i", execution), ..completed() };
        assert!(matches!(check(&[scheduled(None)], &of("old")), Verdict::Drop(_)));
        assert_eq!(check(&[scheduled(None)], &of("unheard-of")), Verdict::Early);
        assert_eq!(check(&[scheduled(None)], &of(" ")), Verdict::Apply);
    }
}
