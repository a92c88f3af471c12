//! What an instance has asked for and got no answer to, as its history tells.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{EventKind, FIRE_AND_FORGET, HistoryEvent, Timestamp};

/// Something that an instance has asked for and that has not come. Its code may have given up on it, as on the slower of two, and it may wait
/// for an external event too: of neither anything is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unanswered {
    /// The decision that asked for it.
    pub id: i32,
    /// When it was asked for.
    pub since: Timestamp,
    /// What it is.
    pub task: UnansweredTask,
}

/// What an instance has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnansweredTask {
    /// The result of an activity.
    #[allow(missing_docs, reason = "the fields say what they are")]
    Activity { name: String },
    /// The result of a sub-orchestration.
    #[allow(missing_docs, reason = "the fields say what they are")]
    SubOrchestration { name: String, instance_id: String },
    /// A time.
    #[allow(missing_docs, reason = "the field says what it is")]
    Timer { fire_at: Timestamp },
}

impl Unanswered {
    /// All of it, in the order in which it was asked for; of a [history](super::Instance::history) of one execution.
    #[must_use]
    pub fn in_history(history: &[HistoryEvent]) -> Vec<Self> {
        let mut open = BTreeMap::new();
        for event in history {
            if let Some(id) = event.kind.completes() {
                open.remove(&id);
            }
            if let Some(task) = UnansweredTask::of(&event.kind) {
                open.insert(event.event_id, Self { id: event.event_id, since: event.timestamp, task });
            }
        }
        open.into_values().collect()
    }
}

impl UnansweredTask {
    fn of(kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::TaskScheduled { name, .. } => Self::Activity { name: name.clone() },
            // Nobody waits for a child that is left to itself.
            EventKind::SubOrchestrationCreated { tags: Some(tags), .. } if tags.contains_key(FIRE_AND_FORGET) => return None,
            EventKind::SubOrchestrationCreated { name, instance_id, .. } => {
                Self::SubOrchestration { name: name.clone(), instance_id: instance_id.clone() }
            }
            EventKind::TimerCreated { fire_at } => Self::Timer { fire_at: *fire_at },
            _ => return None,
        })
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id;
        match &self.task {
            UnansweredTask::Activity { name } => write!(f, "the activity \"{name}\" (#{id})"),
            UnansweredTask::SubOrchestration { name, instance_id } => {
                write!(f, "the sub-orchestration \"{name}\" (#{id}, instance \"{instance_id}\")")
            }
            UnansweredTask::Timer { fire_at } => write!(f, "a timer until {fire_at} (#{id})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tags;

    #[test]
    fn what_was_asked_for_is_unanswered_until_its_answer_unless_nobody_waits_for_it() {
        let at = Timestamp::UNIX_EPOCH;
        let scheduled = |id| {
            let kind = EventKind::TaskScheduled { name: "Charge".into(), version: None, input: None, trace: None, tags: None };
            HistoryEvent::decision(id, at, kind)
        };
        let child = |id, tags| {
            let (name, instance_id) = ("Ship".to_owned(), format!("order:{id}"));
            let (version, input, client_span_id) = (None, None, None);
            let kind = EventKind::SubOrchestrationCreated { name, version, instance_id, input, client_span_id, tags };
            HistoryEvent::decision(id, at, kind)
        };
        let timer = HistoryEvent::decision(3, at, EventKind::TimerCreated { fire_at: at });
        let done = |task_id| HistoryEvent::arriving(at, EventKind::TaskCompleted { task_id, result: None });
        let left = Tags::from([(FIRE_AND_FORGET.to_owned(), String::new())]);
        let mut history = vec![scheduled(0), scheduled(1), child(2, None), timer, child(4, Some(left)), done(0)];
        let said = |history: &[HistoryEvent]| -> Vec<String> {
            Unanswered::in_history(history).iter().map(ToString::to_string).collect()
        };
        let timer = "a timer until 1970-01-01T00:00:00Z (#3)";
        let child = "the sub-orchestration \"Ship\" (#2, instance \"order:2\")";
        assert_eq!(said(&history), ["the activity \"Charge\" (#1)", child, timer]);
        history.push(HistoryEvent::arriving(at, EventKind::TimerFired { timer_id: 3, fire_at: at }));
        history.push(HistoryEvent::arriving(at, EventKind::SubOrchestrationCompleted { task_id: 2, result: None }));
        history.push(done(1));
        assert!(said(&history).is_empty());
    }
}
