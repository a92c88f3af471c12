//! What a decision is called, for matching code with history and for the report when they differ.

use std::fmt;

use super::turn::ActionKind;
use crate::model::{EventKind, FailureDetails};

/// The kind and name of a decision: what must be equal when code runs again.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    sort: Sort,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Activity,
    SubOrchestration,
    Timer,
    Event,
}

impl Label {
    /// Of what code asks for.
    pub(crate) fn of_action(kind: &ActionKind) -> Self {
        let (sort, name) = match kind {
            ActionKind::Activity { name, .. } => (Sort::Activity, name.as_str()),
            ActionKind::SubOrchestration { name, .. } => (Sort::SubOrchestration, name.as_str()),
            ActionKind::Timer { .. } => (Sort::Timer, ""),
            ActionKind::SendEvent { name, .. } => (Sort::Event, name.as_str()),
        };
        Self { sort, name: name.to_owned() }
    }

    /// Of what history has, if the event is a decision.
    pub(super) fn of_event(kind: &EventKind) -> Option<Self> {
        let (sort, name) = match kind {
            EventKind::TaskScheduled { name, .. } => (Sort::Activity, name.as_str()),
            EventKind::SubOrchestrationCreated { name, .. } => (Sort::SubOrchestration, name.as_str()),
            EventKind::TimerCreated { .. } => (Sort::Timer, ""),
            EventKind::EventSent { name, .. } => (Sort::Event, name.as_str()),
            _ => return None,
        };
        Some(Self { sort, name: name.to_owned() })
    }

    /// Names differ in case only by accident, as in .NET.
    pub(super) fn fits(&self, other: &Self) -> bool {
        self.sort == other.sort && (self.name == other.name || self.name.to_lowercase() == other.name.to_lowercase())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_sub_orchestration(&self) -> bool {
        self.sort == Sort::SubOrchestration
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sort {
            Sort::Activity => write!(f, "the activity \"{}\"", self.name),
            Sort::SubOrchestration => write!(f, "the sub-orchestration \"{}\"", self.name),
            Sort::Timer => f.write_str("a timer"),
            Sort::Event => write!(f, "the sending of the event \"{}\"", self.name),
        }
    }
}

/// Code and history disagree about one decision.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) id: i32,
    pub(super) history: Label,
    /// What the code asked for under that id, if anything.
    pub(super) code: Option<Label>,
}

impl Mismatch {
    /// The failure of the execution. `position`: the place of the event in history, from zero.
    pub(super) fn failure(&self, orchestrator: &str, position: usize) -> FailureDetails {
        let code = match &self.code {
            Some(label) => format!("but the code now asks for {label} at that number"),
            None => "but the code has not asked for anything at that number".to_owned(),
        };
        let (history, id) = (&self.history, self.id);
        let what = format!("event {position} of its history says that an earlier run decided {history} as number {id}, {code}");
        not_deterministic(orchestrator, &what)
    }
}

/// The failure of an execution whose code does not do again what it did.
pub(crate) fn not_deterministic(orchestrator: &str, what: &str) -> FailureDetails {
    let error_message = format!(
        "The orchestrator \"{orchestrator}\" is not deterministic: {what}. Likely causes: the code changed after this instance was \
         started, or it depends on something that differs from run to run, such as the clock, a random number, an environment \
         variable or the order of a hash map."
    );
    FailureDetails { error_type: "NonDeterministicOrchestration".to_owned(), error_message, ..FailureDetails::default() }
}
