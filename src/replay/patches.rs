//! Changes of an orchestrator's code that only executions see which have not come past them: which ones this execution runs with.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::StoredEvent;

/// The changes that an execution has asked about.
///
/// One that it runs with is an event in its history, of a kind that replay passes over, here and in .NET: code from before the change, and
/// code that asks no more, replay the same history.
#[derive(Debug, Default)]
pub(super) struct Patches {
    /// What history says.
    recorded: BTreeSet<String>,
    /// What was answered. The first answer holds for the whole execution, or a loop would change its way while it is replayed.
    answers: BTreeMap<String, bool>,
    /// What history is yet to say.
    new: Vec<String>,
}

impl Patches {
    /// What a history says, or more of it.
    pub(super) fn learn<'a>(&mut self, history: impl Iterator<Item = &'a StoredEvent>) {
        self.recorded.extend(history.filter_map(|stored| stored.change().map(str::to_owned)));
    }

    /// Whether the execution runs with this change: always, unless it came past this place before there was the change.
    pub(super) fn has(&mut self, change: &str, is_past: bool) -> bool {
        if let Some(answer) = self.answers.get(change) {
            return *answer;
        }
        let is_recorded = self.recorded.contains(change);
        let answer = is_recorded || !is_past;
        if answer && !is_recorded {
            self.new.push(change.to_owned());
        }
        self.answers.insert(change.to_owned(), answer);
        answer
    }

    /// What history is yet to say, in the order in which it was asked for.
    pub(super) fn take_new(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new)
    }
}
