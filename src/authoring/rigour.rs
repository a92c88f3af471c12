//! What becomes of a turn whose code makes a call with something else in it than history has.

use std::collections::BTreeSet;
#[cfg(feature = "testing")]
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "testing")]
use super::rehearsal::Rehearsal;
use crate::replay::{Completion, Outcome, Turn};

/// How many calls are remembered; beyond that they are told of again.
const TOLD_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) enum Rigour {
    /// It goes on, and whoever runs it is told, once for each call.
    Tells(Told),
    /// It fails the instance.
    Fails,
    /// The same, and each turn runs several times.
    #[cfg(feature = "testing")]
    Rehearses(Arc<Rehearsal>),
}

/// Calls that were told of: their executions and ids.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeSet<(String, i32)>>);

impl Default for Rigour {
    fn default() -> Self {
        Self::Tells(Told::default())
    }
}

impl Rigour {
    /// Whether this is for a test host.
    pub(super) fn is_rehearsal(&self) -> bool {
        match self {
            Self::Tells(_) | Self::Fails => false,
            #[cfg(feature = "testing")]
            Self::Rehearses(_) => true,
        }
    }

    /// Whether an execution may stay in memory between turns: what its code makes again is then compared in a part of them only.
    pub(super) fn takes_live(&self) -> bool {
        matches!(self, Self::Tells(_))
    }

    /// The outcome that counts. `run` runs the turn again.
    #[cfg_attr(not(feature = "testing"), allow(unused_variables, reason = "only rehearsals run a turn again"))]
    pub(super) fn judge(&self, turn: &Turn<'_>, outcome: Outcome, run: impl Fn(&Turn<'_>) -> Outcome) -> Outcome {
        match self {
            Self::Tells(told) => told.only_new(turn.execution_id, outcome),
            Self::Fails => fail_if_different(turn, outcome),
            #[cfg(feature = "testing")]
            Self::Rehearses(rehearsal) => rehearsal.judge(turn, outcome, run),
        }
    }
}

impl Told {
    /// The outcome, with the differences that nobody was told of.
    fn only_new(&self, execution_id: &str, mut outcome: Outcome) -> Outcome {
        if outcome.differences.is_empty() {
            return outcome;
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > TOLD_MAX {
            told.clear();
        }
        outcome.differences.retain(|difference| told.insert((execution_id.to_owned(), difference.id)));
        outcome
    }
}

fn fail_if_different(turn: &Turn<'_>, mut outcome: Outcome) -> Outcome {
    let differences = std::mem::take(&mut outcome.differences);
    match (differences.first(), &outcome.completion) {
        (None, _) | (_, Some(Completion::Terminated { .. })) => outcome,
        (Some(difference), _) => {
            // This is not the code that history is of.
            outcome.patches.clear();
            outcome.broken_off(difference.failure(turn.orchestrator(), false))
        }
    }
}
