//! What the orchestrators of a test host have called.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::TestHost;
use super::script::SCRIPT;
use crate::authoring::{Callable, Decided};
use crate::model::in_words;
use crate::replay::{ActionKind, only_argument};

/// Something that an orchestrator has asked for: the call of an activity or sub-orchestration, a timer, or an event to another
/// instance. It reads like `Charge("order 7")`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Called {
    /// The instance whose orchestrator called.
    pub instance_id: String,
    /// The virtual time of the call, since the host was started.
    pub at: Duration,
    /// What was called.
    pub what: What,
}

/// What an orchestrator has asked for. Inputs are JSON; null is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// An activity; each attempt of a retry policy is a call of its own.
    #[allow(missing_docs, reason = "the fields say what they are")]
    Activity { name: String, input: Option<String> },
    /// A sub-orchestration, waited for or not.
    #[allow(missing_docs, reason = "the fields say what they are")]
    SubOrchestration { name: String, input: Option<String> },
    /// A timer, of the code or between two attempts of a retry policy, and how long it takes.
    Timer(Duration),
    /// An event to another instance.
    #[allow(missing_docs, reason = "the fields say what they are")]
    Event { to: String, name: String, payload: Option<String> },
}

impl TestHost {
    /// The inputs of all calls of an activity or sub-orchestration, in the order in which they were made. Each attempt of a retry policy is
    /// a call.
    ///
    /// # Panics
    /// If an input does not fit the type of the handle, because something was called by name with another one.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "handles are given by value everywhere")]
    pub fn calls<C: Callable>(&self, callee: C) -> Vec<C::Input>
    where
        C::Input: DeserializeOwned,
    {
        let decided = self.rehearsal.decided();
        let inputs = decided.iter().filter_map(|decided| match &decided.action.kind {
            ActionKind::Activity { name, input, .. } if !callee.is_orchestrator() => Some((name, input)),
            ActionKind::SubOrchestration { name, input, .. } if callee.is_orchestrator() => Some((name, input)),
            _ => None,
        });
        let of_callee = inputs.filter(|(name, _)| name.to_lowercase() == callee.task_name().to_lowercase());
        of_callee.map(|(_, input)| callee.read(input.as_deref()).unwrap_or_else(|failure| panic!("{failure}"))).collect()
    }

    /// Everything that orchestrators have asked for, in the order in which they did.
    #[must_use]
    pub fn all_calls(&self) -> Vec<Called> {
        self.rehearsal.decided().into_iter().filter_map(|decided| self.called(decided)).collect()
    }

    fn called(&self, decided: Decided) -> Option<Called> {
        let Decided { instance_id, at, action, .. } = decided;
        let bare = |input: String| only_argument(&input).unwrap_or(&input).to_owned();
        let what = match action.kind {
            ActionKind::Activity { name, .. } if name.ends_with(SCRIPT) => return None,
            ActionKind::Activity { name, input, .. } => What::Activity { name, input: input.map(bare) },
            ActionKind::SubOrchestration { name, input, .. } => What::SubOrchestration { name, input },
            ActionKind::Timer { fire_at } => What::Timer(fire_at.since(at)),
            ActionKind::SendEvent { instance_id, name, input } => What::Event { to: instance_id, name, payload: input },
        };
        Some(Called { instance_id, at: at.since(self.beginning), what })
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown(json: &Option<String>) -> &str {
            json.as_deref().filter(|json| *json != "null").unwrap_or_default()
        }
        match &self.what {
            What::Activity { name, input } | What::SubOrchestration { name, input } => write!(f, "{name}({})", shown(input)),
            What::Timer(duration) => write!(f, "timer of {}", in_words(*duration)),
            What::Event { to, name, payload } => write!(f, "{name}({}) to {to}", shown(payload)),
        }
    }
}
