//! What a history amounts to: fold its events and ask whether one more may be appended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{EventKind, ExecutionStarted, HistoryEvent, RuntimeStatus, StoredEvent, Timestamp};

/// The state of one execution, folded from its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) started: Option<Arc<Started>>,
    /// How the execution ended.
    pub(crate) completed: Option<RuntimeStatus>,
    pub(crate) suspended: bool,
    /// Turns so far: the number of `OrchestratorStarted` events.
    pub(crate) episodes: i32,
    /// The latest time of a turn; later turns never go below it.
    pub(crate) last_turn: Option<Timestamp>,
    /// Sub-orchestrations that were started.
    pub(crate) children: u64,
    open: BTreeMap<i32, OpenTask>,
    known: BTreeSet<i32>,
    applied: BTreeSet<Uuid>,
    /// How often the decision with an id was taken back by a rewind.
    taken_back: BTreeMap<i32, u32>,
    /// The answers that a rewind has taken back: to which task, and when they were made.
    answers_taken_back: BTreeSet<(i32, Timestamp)>,
    /// The time of the latest event.
    latest: Option<Timestamp>,
}

/// How the execution began.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) event: ExecutionStarted,
    pub(crate) timestamp: Timestamp,
    /// The decision of the parent that started it, if the parent was ours.
    pub(crate) decision_id: Option<String>,
}

/// A decision whose completion has not come.
#[derive(Clone, Debug)]
pub(crate) struct OpenTask {
    pub(crate) kind: TaskKind,
    /// Present on rows that we wrote; those of .NET have none.
    pub(crate) decision_id: Option<String>,
}

/// What kind of completion a decision waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskKind {
    Activity,
    SubOrchestration { instance_id: String },
    Timer { fire_at: Timestamp },
}

impl State {
    pub(crate) fn fold<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> Self {
        let mut state = Self::default();
        for stored in events {
            state.apply(stored);
        }
        state
    }

    /// Adds one event. Any order is accepted: what .NET has written must be readable, doubles included.
    pub(crate) fn apply(&mut self, stored: &StoredEvent) {
        self.applied.extend(stored.message_id);
        let event = &stored.event;
        self.latest = self.latest.max(Some(event.timestamp));
        self.answers_taken_back.extend(stored.taken_back.map(|task_id| (task_id, event.timestamp)));
        if event.kind.is_taken_back(event.event_id) {
            self.take_back(event.event_id);
        } else if event.event_id >= 0 {
            self.known.insert(event.event_id);
        }
        if let Some(task_id) = event.kind.completes() {
            self.open.remove(&task_id);
        }
        match &event.kind {
            EventKind::OrchestratorStarted => {
                self.episodes += 1;
                self.last_turn = self.last_turn.max(Some(event.timestamp));
            }
            EventKind::ExecutionStarted(started) => {
                self.started = Some(Arc::new(Started {
                    event: (**started).clone(),
                    timestamp: event.timestamp,
                    decision_id: stored.decision_id.clone(),
                }));
            }
            EventKind::ExecutionCompleted { status, .. } => {
                self.completed = Some(*status);
            }
            EventKind::ExecutionSuspended { .. } => self.suspended = true,
            EventKind::ExecutionResumed { .. } => self.suspended = false,
            _ => self.open_task(event, stored.decision_id.clone()),
        }
    }

    /// A rewind of .NET leaves decisions behind the first one that it takes back, which may be made again or never: their ids say nothing.
    fn take_back(&mut self, id: i32) {
        *self.taken_back.entry(id).or_default() += 1;
        if let Some(first) = self.taken_back.keys().next() {
            self.known.split_off(first);
        }
    }

    fn open_task(&mut self, event: &HistoryEvent, decision_id: Option<String>) {
        let kind = match &event.kind {
            EventKind::TaskScheduled { .. } => TaskKind::Activity,
            EventKind::SubOrchestrationCreated { instance_id, .. } => {
                self.children += 1;
                TaskKind::SubOrchestration { instance_id: instance_id.clone() }
            }
            EventKind::TimerCreated { fire_at } => TaskKind::Timer { fire_at: *fire_at },
            _ => return,
        };
        self.open.insert(event.event_id, OpenTask { kind, decision_id });
    }

    /// The status that the instance row should show, `None` before the start.
    pub(crate) fn status(&self) -> Option<RuntimeStatus> {
        self.started.as_ref()?;
        Some(match &self.completed {
            Some(status) => *status,
            None if self.suspended => RuntimeStatus::Suspended,
            None => RuntimeStatus::Running,
        })
    }

    /// The task that waits for a completion with this id.
    pub(crate) fn open_task_of(&self, task_id: i32) -> Option<&OpenTask> {
        self.open.get(&task_id)
    }

    /// The sub-orchestrations whose completion has not come: task id, instance, and the decision if it was ours.
    pub(crate) fn open_children(&self) -> impl Iterator<Item = (i32, &str, Option<&str>)> {
        self.open.iter().filter_map(|(task_id, task)| match &task.kind {
            TaskKind::SubOrchestration { instance_id } => Some((*task_id, &**instance_id, task.decision_id.as_deref())),
            TaskKind::Activity | TaskKind::Timer { .. } => None,
        })
    }

    /// Whether a decision with this id was ever made, answered or not.
    pub(crate) fn has_decision(&self, task_id: i32) -> bool {
        self.known.contains(&task_id)
    }

    /// How often the decision with this id was taken back.
    pub(crate) fn times_taken_back(&self, id: i32) -> u32 {
        self.taken_back.get(&id).copied().unwrap_or(0)
    }

    /// How many decisions and answers were taken back by all rewinds.
    pub(crate) fn taken_back_in_all(&self) -> u32 {
        let answers = u32::try_from(self.answers_taken_back.len()).unwrap_or(u32::MAX);
        self.taken_back.values().fold(answers, |all, times| all.saturating_add(*times))
    }

    /// Whether a rewind has taken back an answer to this task that was made at this time.
    pub(crate) fn has_taken_back(&self, task_id: i32, time: Timestamp) -> bool {
        self.answers_taken_back.contains(&(task_id, time))
    }

    /// The time below which no later turn goes: that of the last one, and of a rewound history that of every event, so that nothing new has
    /// the time of what was taken back.
    pub(crate) fn not_before(&self) -> Timestamp {
        let rewound = self.latest.filter(|_| !self.taken_back.is_empty()).map(|latest| latest.plus_ticks(1));
        self.last_turn.max(rewound).unwrap_or(Timestamp::MIN)
    }

    /// Whether the message of an external event has been applied to this execution.
    pub(crate) fn has_applied(&self, message_id: &Uuid) -> bool {
        self.applied.contains(message_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(event_id: i32, kind: EventKind) -> StoredEvent {
        HistoryEvent { event_id, is_played: false, timestamp: Timestamp::MIN, kind }.into()
    }

    #[test]
    fn a_task_is_open_from_its_decision_to_its_completion_and_stays_known() {
        let scheduled = EventKind::TaskScheduled { name: "a".into(), version: None, input: None, trace: None, tags: None };
        let mut state = State::fold(&[stored(0, scheduled)]);
        assert!(state.open_task_of(0).is_some() && state.has_decision(0));
        assert!(!state.has_decision(1));
        state.apply(&stored(-1, EventKind::TaskCompleted { task_id: 0, result: None }));
        assert!(state.open_task_of(0).is_none() && state.has_decision(0));
    }

    #[test]
    fn a_double_completion_as_dotnet_writes_it_is_accepted() {
        let timer = EventKind::TimerCreated { fire_at: Timestamp::MIN };
        let fired = EventKind::TimerFired { timer_id: 0, fire_at: Timestamp::MIN };
        let state = State::fold(&[stored(0, timer), stored(-1, fired.clone()), stored(-1, fired)]);
        assert!(state.open_task_of(0).is_none());
    }

    #[test]
    fn what_a_rewind_has_taken_back_is_not_known_and_what_was_left_behind_it_says_nothing() {
        let scheduled = || EventKind::TaskScheduled { name: "a".into(), version: None, input: None, trace: None, tags: None };
        let (gone, timer) = (EventKind::Generic { data: None, was: None }, EventKind::TimerCreated { fire_at: Timestamp::MIN });
        let fired = EventKind::TimerFired { timer_id: 2, fire_at: Timestamp::MIN };
        let history = [stored(0, scheduled()), stored(1, gone.clone()), stored(2, timer), stored(-1, fired), stored(3, gone)];
        let mut state = State::fold(&history);
        assert_eq!([0, 1, 2, 3].map(|id| state.has_decision(id)), [true, false, false, false]);
        assert_eq!([0, 1, 3].map(|id| state.times_taken_back(id)), [0, 1, 1]);
        state.apply(&stored(1, scheduled()));
        assert!(state.has_decision(1) && state.open_task_of(1).is_some());
    }

    #[test]
    fn the_status_follows_suspension_and_completion() {
        let start = stored(-1, EventKind::ExecutionStarted(Box::default()));
        let mut state = State::fold(&[]);
        assert_eq!(state.status(), None);
        state.apply(&start);
        assert_eq!(state.status(), Some(RuntimeStatus::Running));
        state.apply(&stored(-1, EventKind::ExecutionSuspended { reason: None }));
        assert_eq!(state.status(), Some(RuntimeStatus::Suspended));
        let status = RuntimeStatus::Terminated;
        state.apply(&stored(0, EventKind::ExecutionCompleted { status, result: None, failure: None }));
        assert_eq!(state.status(), Some(RuntimeStatus::Terminated));
    }
}
