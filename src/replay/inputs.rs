//! Whether a decision that the code makes again is given what history says it was given.

use serde_json::value::RawValue;

use super::label::{Label, not_deterministic};
use super::turn::ActionKind;
use crate::ids::{DecisionId, DecisionKind};
use crate::model::{EventKind, FailureDetails, canonical};

/// A decision as history has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded<'a> {
    pub(super) execution_id: &'a str,
    pub(super) id: i32,
    pub(super) kind: &'a EventKind,
    /// Its identity, if this crate has made it.
    pub(super) decision_id: Option<&'a str>,
    /// How often it was taken back before.
    pub(super) times: u32,
}

/// A decision of the kind and name that history has, but with something else in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) id: i32,
    /// The name of what is called.
    pub(crate) name: String,
    /// The call, as it reads in a sentence.
    pub(crate) call: String,
    /// What differs.
    pub(crate) part: &'static str,
    /// What the code gives now.
    pub(crate) code: Option<String>,
    /// What history has, if that is known.
    pub(crate) history: Option<String>,
}

const INPUT: &str = "input";
const INSTANCE_ID: &str = "instance id";

impl Recorded<'_> {
    /// How a decision of the code with the same id, kind and name differs from this one. `None` if it does not, or if nobody
    /// can tell: .NET stores no identities, and not all inputs.
    pub(super) fn difference(&self, code: &ActionKind) -> Option<Difference> {
        let (part, now, before) = match (code, self.kind) {
            (ActionKind::Activity { input, .. }, EventKind::TaskScheduled { name, input: known, .. }) => {
                let is_same = self.is_same((DecisionKind::Activity, name), input.as_deref(), known.as_deref());
                (!is_same).then_some((INPUT, input, known.clone()))?
            }
            (
                ActionKind::SubOrchestration { instance_id, input, .. },
                EventKind::SubOrchestrationCreated { name, instance_id: known_id, input: known, .. },
            ) => {
                let is_same_child = instance_id.as_ref().is_none_or(|child| child == known_id);
                let is_same = self.is_same((DecisionKind::SubOrchestration, name), input.as_deref(), known.as_deref());
                match (is_same_child, is_same) {
                    (false, _) => (INSTANCE_ID, instance_id, Some(known_id.clone())),
                    (true, false) => (INPUT, input, known.clone()),
                    (true, true) => return None,
                }
            }
            (ActionKind::SendEvent { instance_id, .. }, EventKind::EventSent { instance_id: known_id, .. })
                if instance_id != known_id =>
            {
                (INSTANCE_ID, &Some(instance_id.clone()), Some(known_id.clone()))
            }
            (ActionKind::SendEvent { input, .. }, EventKind::EventSent { instance_id: to, name, input: known }) => {
                let name = format!("{to}/{name}");
                let is_same = self.is_same((DecisionKind::Event, &name), input.as_deref(), known.as_deref());
                (!is_same).then_some((INPUT, input, known.clone()))?
            }
            _ => return None,
        };
        let label = Label::of_action(code);
        let (name, call) = (label.name().to_owned(), label.to_string());
        Some(Difference { id: self.id, name, call, part, code: now.clone(), history: before })
    }

    /// Whether this input is the one of history, by its meaning. The name is that of history: names may differ in case.
    fn is_same(&self, (kind, name): (DecisionKind, &str), now: Option<&str>, before: Option<&str>) -> bool {
        if let Some(recorded) = self.decision_id {
            return DecisionId::new(self.execution_id, self.id, kind, name, now).again(self.times).text() == recorded;
        }
        let Some(before) = before else { return true };
        let now = now.unwrap_or("null");
        let is_equal = |a: &str, b: &str| canonical(a) == canonical(b);
        // The only argument of an activity may stand for the array of the arguments.
        let bare = |json| Some(json).filter(|_| kind == DecisionKind::Activity).and_then(only_argument);
        is_equal(now, before)
            || bare(now).is_some_and(|now| is_equal(now, before))
            || bare(before).is_some_and(|before| is_equal(now, before))
    }
}

impl Difference {
    /// The failure of the execution. Values are shown in tests only.
    pub(crate) fn failure(&self, orchestrator: &str, shows_values: bool) -> FailureDetails {
        let Self { id, call, part, code, history, .. } = self;
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        let values = match (shows_values, history) {
            (false, _) => String::new(),
            (true, None) => format!(": the code now gives {}", shown(code)),
            (true, history) => format!(": history has {}, and the code now gives {}", shown(history), shown(code)),
        };
        not_deterministic(
            orchestrator,
            &format!("an earlier run decided {call} as number {id}, with another {part} than the code gives it now{values}"),
        )
    }
}

/// The element of an array that has one: the argument of an activity, as its input is stored.
pub(crate) fn only_argument(json: &str) -> Option<&str> {
    serde_json::from_str::<(&RawValue,)>(json).ok().map(|(argument,)| argument.get())
}
