//! How two runs of one turn differ, of which both should do the same.

use super::label::{Label, not_deterministic};
use super::turn::{ActionKind, Completion, Outcome, Turn};
use crate::model::FailureDetails;

/// How two runs of one turn differ.
pub(crate) fn disagreement(turn: &Turn<'_>, first: &Outcome, again: &Outcome) -> Option<FailureDetails> {
    let runs = |first: String, again: String| Some(format!("a run of one turn {first}, and another run of it {again}"));
    let decided = |outcome: &Outcome, index: usize| match outcome.actions.get(index) {
        Some(action) => format!("decided {} as number {}", shown(&action.kind), action.id),
        None => "decided nothing there".to_owned(),
    };
    let count = first.actions.len().max(again.actions.len());
    let differing = (0..count).find(|index| first.actions.get(*index) != again.actions.get(*index));
    let what = match differing {
        Some(index) => runs(decided(first, index), decided(again, index)),
        None if first.differences != again.differences => {
            let difference = again.differences.first().or(first.differences.first())?;
            return Some(difference.failure(turn.orchestrator(), true));
        }
        None if first.completion != again.completion => runs(end(first.completion.as_ref()), end(again.completion.as_ref())),
        None if first.custom_status != again.custom_status => {
            let status =
                |outcome: &Outcome| format!("set the custom status {}", outcome.custom_status.as_deref().unwrap_or("null"));
            runs(status(first), status(again))
        }
        None => None,
    };
    Some(not_deterministic(turn.orchestrator(), &what?))
}

/// What a decision gives to others.
pub(crate) fn input_of(kind: &ActionKind) -> Option<&String> {
    match kind {
        ActionKind::Activity { input, .. } | ActionKind::SubOrchestration { input, .. } | ActionKind::SendEvent { input, .. } => {
            input.as_ref()
        }
        ActionKind::Timer { .. } => None,
    }
}

fn shown(kind: &ActionKind) -> String {
    let label = Label::of_action(kind);
    let with = input_of(kind).map(|input| format!(" with {input}")).unwrap_or_default();
    match kind {
        ActionKind::Timer { fire_at } => format!("{label} until {fire_at}"),
        ActionKind::SendEvent { instance_id, .. } => format!("{label} to \"{instance_id}\"{with}"),
        ActionKind::SubOrchestration { instance_id: Some(child), .. } => format!("{label}{with} under the id \"{child}\""),
        ActionKind::SubOrchestration { .. } | ActionKind::Activity { .. } => format!("{label}{with}"),
    }
}

fn end(completion: Option<&Completion>) -> String {
    let text = |json: &Option<String>| json.clone().unwrap_or_else(|| "null".to_owned());
    match completion {
        None => "did not end the instance".to_owned(),
        Some(Completion::Completed { output }) => format!("ended with {}", text(output)),
        Some(Completion::Failed { failure }) => format!("failed with {failure}"),
        Some(Completion::Terminated { .. }) => "was terminated".to_owned(),
        Some(Completion::ContinuedAsNew { input, .. }) => format!("continued as new with {}", text(input)),
    }
}
