//! What goes into a turn and what comes out of it.

use std::time::Duration;

use super::inputs::Difference;
use crate::ids::{DecisionId, DecisionKind};
use crate::model::{EventKind, ExecutionStarted, FailureDetails, HistoryEvent, StoredEvent, Tags, Timestamp};

/// What a turn runs on. All of it is borrowed: a history is not copied to be replayed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn<'a> {
    /// The execution that the events belong to: decisions that history has under an identity are compared with it.
    pub(crate) execution_id: &'a str,
    /// How many events of the execution are left out in front of these, because its code has gone through them.
    pub(crate) before: usize,
    /// The committed history of this execution.
    pub(crate) past: &'a [StoredEvent],
    /// The events of this turn: `OrchestratorStarted` first, then what arrived, in order.
    pub(crate) new: &'a [StoredEvent],
    /// How many of the new events the code has been run on already in this turn, which went on with the answers of local activities.
    pub(crate) seen: usize,
    /// The JSON text of the custom status before `past`; kept unless code sets another.
    pub(crate) custom_status: Option<&'a str>,
    /// Whether the turn has run already, so that all of it is replay.
    pub(crate) is_repeat: bool,
}

impl<'a> Turn<'a> {
    /// The events of `past` and `new`, in order.
    pub(super) fn events(&self) -> impl Iterator<Item = &'a HistoryEvent> + Clone + use<'a> {
        self.past.iter().chain(self.new).map(|stored| &stored.event)
    }

    /// The reason of a termination that comes with the start: the code does not run at all.
    pub(super) fn terminated_at_birth(&self) -> Option<Option<String>> {
        self.new.iter().find(|stored| matches!(stored.event.kind, EventKind::ExecutionStarted(_)))?;
        self.new.iter().find_map(|stored| match &stored.event.kind {
            EventKind::ExecutionTerminated { reason } => Some(reason.clone()),
            _ => None,
        })
    }

    /// How the execution was started, if it was.
    pub(crate) fn started(&self) -> Option<&'a ExecutionStarted> {
        self.events().find_map(|event| match &event.kind {
            EventKind::ExecutionStarted(started) => Some(&**started),
            _ => None,
        })
    }

    /// The name of the orchestrator; empty if the execution was not started.
    pub(crate) fn orchestrator(&self) -> &'a str {
        self.started().map_or("", |started| &started.name)
    }

    /// The first id that history has not used, apart from what was taken back.
    pub(crate) fn next_id(&self) -> i32 {
        let used = self.events().filter(|event| !event.kind.is_taken_back(event.event_id)).map(|event| event.event_id);
        used.max().map_or(0, |id| id.saturating_add(1))
    }

    /// The place behind the last event that was taken back; zero without any.
    pub(super) fn rewound_to(&self) -> usize {
        let places = self.events().enumerate().filter(|(_, event)| event.kind.is_taken_back(event.event_id));
        places.last().map_or(0, |(place, _)| place + 1)
    }

    /// The turn without its first events, in all so many of the execution.
    pub(crate) fn behind(self, gone_through: usize) -> Self {
        let gone = gone_through.saturating_sub(self.before);
        let of_past = gone.min(self.past.len());
        let of_new = (gone - of_past).min(self.new.len());
        let (past, new) = (&self.past[of_past..], &self.new[of_new..]);
        Self { before: self.before + of_past + of_new, past, new, seen: self.seen.saturating_sub(of_new), ..self }
    }

    pub(crate) fn to_owned(self) -> OwnedTurn {
        let Self { execution_id, before, past, new, seen, custom_status, is_repeat } = self;
        let (execution_id, custom_status) = (execution_id.to_owned(), custom_status.map(str::to_owned));
        OwnedTurn { execution_id, before, past: past.to_vec(), new: new.to_vec(), seen, custom_status, is_repeat }
    }

    /// The places behind the events that the code has been run on before, and behind those of earlier turns.
    pub(super) fn seen_before(&self) -> (usize, usize) {
        let behind = self.before + self.past.len() + self.seen;
        if self.seen > 0 {
            return (behind, behind);
        }
        // Rows with which a generation begins may be there before its code has run on them.
        let is_behind = |stored: &StoredEvent| stored.event.is_played || stored.event.event_id >= 0;
        (behind, self.before + self.past.iter().rposition(is_behind).map_or(0, |last| last + 1))
    }

    /// What comes of it if the execution ends so, whatever its code would do.
    pub(crate) fn ended_without_code(&self, completion: Completion) -> Outcome {
        let custom_status = self.custom_status.map(str::to_owned);
        Outcome { completion: Some(completion), custom_status, next_id: self.next_id(), ..Outcome::default() }
    }
}

/// A turn to run on another thread.
#[derive(Debug)]
pub(crate) struct OwnedTurn {
    execution_id: String,
    before: usize,
    past: Vec<StoredEvent>,
    new: Vec<StoredEvent>,
    seen: usize,
    custom_status: Option<String>,
    is_repeat: bool,
}

impl OwnedTurn {
    pub(crate) fn as_turn(&self) -> Turn<'_> {
        let Self { execution_id, before, past, new, seen, custom_status, is_repeat } = self;
        let custom_status = custom_status.as_deref();
        Turn { execution_id, before: *before, past, new, seen: *seen, custom_status, is_repeat: *is_repeat }
    }
}

/// What a turn decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Decisions that are not yet in history, by ascending id.
    pub(crate) actions: Vec<Action>,
    /// Changes of the code with which the execution runs, and of which history does not say so yet.
    pub(crate) patches: Vec<String>,
    /// How the execution ended in this turn.
    pub(crate) completion: Option<Completion>,
    /// The custom status after the turn.
    pub(crate) custom_status: Option<String>,
    /// The first id that is not used yet: the event id of the completion.
    pub(crate) next_id: i32,
    /// Failed tasks that the code tries again because of what arrived in this turn.
    pub(crate) retries: Vec<Retrying>,
    /// Decisions that the code has made again with something else in them.
    pub(crate) differences: Vec<Difference>,
}

impl Outcome {
    /// Nothing but a failure in the place of what the code decided, which cannot be trusted. With which changes of the code it ran is known all the same.
    pub(crate) fn broken_off(self, failure: FailureDetails) -> Self {
        Self { actions: Vec::new(), completion: Some(Completion::Failed { failure }), ..self }
    }
}

/// A failed task that is tried again, for those who watch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retrying {
    /// The id of the attempt that failed.
    pub(crate) id: i32,
    pub(crate) name: String,
    /// The number of the attempt to come; the first call was 1.
    pub(crate) attempt: u32,
    pub(crate) pause: Duration,
}

/// A decision of the code.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Action {
    pub(crate) id: i32,
    pub(crate) kind: ActionKind,
    /// Which attempt of its retry policy a call is, from 1.
    pub(crate) attempt: u32,
}

/// What the code decided to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ActionKind {
    Activity {
        name: String,
        version: Option<String>,
        /// The wire text: an array of the arguments.
        input: Option<String>,
        tags: Option<Tags>,
        /// Whether it is to run inside the turn. That is no part of what is decided: history has it as any other activity.
        is_local: bool,
    },
    SubOrchestration {
        name: String,
        version: Option<String>,
        /// `None`: the engine derives one.
        instance_id: Option<String>,
        input: Option<String>,
        tags: Option<Tags>,
    },
    Timer {
        fire_at: Timestamp,
    },
    SendEvent {
        instance_id: String,
        name: String,
        input: Option<String>,
    },
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Completion {
    Completed {
        output: Option<String>,
    },
    Failed {
        failure: FailureDetails,
    },
    Terminated {
        reason: Option<String>,
    },
    ContinuedAsNew {
        input: Option<String>,
        /// `None`: the version stays.
        version: Option<String>,
        /// The suspension that the next generation starts under, and the raised events that nobody consumed, in order: their
        /// places in the history of this execution, that of this turn included.
        carry: Vec<usize>,
    },
}

impl Action {
    /// The identity of this decision of the execution.
    pub(crate) fn decision(&self, execution_id: &str) -> DecisionId {
        let of = |kind, name: &str, input: &Option<String>| DecisionId::new(execution_id, self.id, kind, name, input.as_deref());
        match &self.kind {
            ActionKind::Activity { name, input, .. } => of(DecisionKind::Activity, name, input),
            ActionKind::SubOrchestration { name, input, .. } => of(DecisionKind::SubOrchestration, name, input),
            ActionKind::Timer { fire_at } => DecisionId::timer(execution_id, self.id, *fire_at),
            // The same event to another instance is another decision.
            ActionKind::SendEvent { instance_id, name, input } => {
                of(DecisionKind::Event, &format!("{instance_id}/{name}"), input)
            }
        }
    }
}
