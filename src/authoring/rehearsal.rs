//! Rehearsals: each turn runs several times, so that code which does not do the same each time shows at once, in a test.

use std::sync::{Mutex, PoisonError};

use crate::model::{FailureDetails, Timestamp};
use crate::replay::{Action, Completion, Outcome, Turn, disagreement, input_of};

/// How often a turn runs again: a set of two elements is in another order in one of them but for one time in 128.
const REPEATS: usize = 7;

/// What was decided in the turns of a worker. Shared by the test that looks at it.
#[derive(Debug, Default)]
pub(crate) struct Rehearsal(Mutex<Vec<Decided>>);

/// A decision, whose it is, and the time of its turn.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) instance_id: String,
    pub(crate) execution_id: String,
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
}

impl Rehearsal {
    /// Every decision so far, in order.
    pub(crate) fn decided(&self) -> Vec<Decided> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs the turn again and again; it fails where two runs differ, or a run differs from history.
    pub(super) fn judge(&self, turn: &Turn<'_>, outcome: Outcome, run: impl Fn(&Turn<'_>) -> Outcome) -> Outcome {
        if matches!(outcome.completion, Some(Completion::Terminated { .. })) {
            return outcome;
        }
        let repeat = Turn { is_repeat: true, ..*turn };
        let fault = self.departure(turn, &outcome);
        let fault = fault.or_else(|| (0..REPEATS).find_map(|_| disagreement(turn, &outcome, &run(&repeat))));
        match fault {
            Some(failure) => Outcome { differences: Vec::new(), ..outcome }.broken_off(failure),
            None => {
                self.note(turn, &outcome.actions);
                outcome
            }
        }
    }

    /// How the run departs from history.
    fn departure(&self, turn: &Turn<'_>, outcome: &Outcome) -> Option<FailureDetails> {
        let mut difference = outcome.differences.first()?.clone();
        let decided = self.decided();
        let before = decided.iter().find(|d| d.execution_id == turn.execution_id && d.action.id == difference.id);
        difference.history = difference.history.or_else(|| input_of(&before?.action.kind).cloned());
        Some(difference.failure(turn.orchestrator(), true))
    }

    fn note(&self, turn: &Turn<'_>, actions: &[Action]) {
        let Some(started) = turn.started() else { return };
        let (instance_id, execution_id) = (&started.instance.instance_id, turn.execution_id);
        let at = turn.new.first().map_or(Timestamp::MIN, |stored| stored.event.timestamp);
        let mut decided = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for action in actions {
            // A turn that could not be committed runs again.
            if !decided.iter().any(|d| d.execution_id == execution_id && d.action.id == action.id) {
                let (instance_id, execution_id) = (instance_id.clone(), execution_id.to_owned());
                decided.push(Decided { instance_id, execution_id, at, action: action.clone() });
            }
        }
    }
}
