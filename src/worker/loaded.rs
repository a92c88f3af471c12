//! The history over which a step works: kept since the last commit, assumed to be empty for a new instance, or read.

use super::fate::{Fate, Sorted};
use super::recorder::{Record, keep_last};
use super::step::{Step, start_of};
use super::turn_threads::Kept;
use crate::error::Result;
use crate::hub::Held;
use crate::hub::histories::{Committed, History};
use crate::hub::rows::Sentinel;
use crate::ids;
use crate::limits;
use crate::model::{State, StoredEvent};
use crate::sabotage::{self, Sabotage};

/// A history, with what it amounts to.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) history: History,
    /// What its events, and those that come late, amount to.
    pub(crate) state: State,
    /// About what the events take up in memory.
    pub(crate) bytes: usize,
    /// The execution itself, gone on to where the last commit has left it.
    pub(crate) kept: Option<Kept>,
    /// Whether it was not read, but taken to be that of a new instance.
    pub(crate) is_assumed: bool,
}

impl Loaded {
    fn of(history: History) -> Self {
        let state = State::fold(history.events.iter().chain(&history.late));
        let bytes = history.events.iter().map(StoredEvent::weight).sum();
        Self { history, state, bytes, kept: None, is_assumed: false }
    }

    /// About what it takes up in memory.
    pub(crate) fn size(&self) -> usize {
        self.bytes + self.kept.as_ref().map_or(0, |kept| kept.bytes)
    }

    /// What a commit has left of a history, whose events took up so many bytes. `None` if its version is not known, or if the execution has
    /// ended: others may change such a history, because clients rewind and purge it.
    pub(super) fn after(
        history: History,
        bytes: usize,
        record: Record,
        committed: Committed,
        execution: Option<Kept>,
    ) -> Option<Self> {
        if record.status.is_some_and(|status| status.is_terminal()) {
            return None;
        }
        let kept_events = record.kept_events(&history);
        let new: usize = record.events.iter().map(StoredEvent::weight).sum();
        let bytes = if kept_events == 0 { new } else { bytes + new };
        let history = history.after(kept_events, record.events, committed)?;
        Some(Self { history, state: record.state, bytes, kept: execution, is_assumed: false })
    }
}

impl Step<'_> {
    /// What is known of the history without reading it.
    pub(super) async fn known_history(&self, sorted: &Sorted<'_>) -> Option<Loaded> {
        if let Some(kept) = self.partition.take_history(self.instance_id) {
            #[cfg(test)]
            check::as_stored(self, &kept).await;
            return Some(kept);
        }
        (self.fast_path.assumes_new && self.is_of_new_instance(sorted)).then(|| Loaded { is_assumed: true, ..Loaded::default() })
    }

    pub(super) async fn load(&self) -> Result<Loaded> {
        self.hub.histories.load(self.instance_id).await.map(Loaded::of)
    }

    /// Whether these messages are most likely the first for an instance. If they are not, the commit finds a sentinel. Then its messages have
    /// been sent twice, which does no harm but costs something: where a history is to be expected, it is read.
    fn is_of_new_instance(&self, sorted: &Sorted<'_>) -> bool {
        let messages = sorted.with(Fate::Open);
        let mut starts = messages.iter().filter_map(|(_, delivery)| start_of(delivery));
        let (Some(start), None) = (starts.next(), starts.next()) else { return false };
        let has_free_id = match &start.parent {
            None => start.generation == Some(0),
            Some(parent) => {
                let derived_from = parent.instance.execution_id.as_deref().unwrap_or_default();
                ids::is_derived(self.instance_id, derived_from) || sabotage::is(Sabotage::OwnIdsTakenForFree)
            }
        };
        has_free_id
            && messages.iter().all(|(_, delivery)| delivery.dequeue_count == 1)
            && self.hosting.missing_orchestrator(start).is_none()
            && self.executor.throttles().orchestrator(&start.name).is_none()
    }
}

/// What an execution remembers of those that it has replaced, so that nothing meant for them is applied to it.
pub(super) struct Memory {
    pub(super) applied: Vec<uuid::Uuid>,
    pub(super) superseded: Vec<String>,
}

impl Memory {
    /// `start`: the one that replaces the execution of this history, if there is one.
    pub(super) fn of(history: &History, start: Option<&Held>) -> Self {
        let Sentinel { mut applied, mut superseded, .. } = history.sentinel.clone();
        let replaced = history.execution_id.clone();
        if let (Some(replaced), Some(start)) = (replaced, start)
            && start.message.target.execution_id.as_ref() != Some(&replaced)
        {
            superseded.push(replaced);
            applied.extend(history.events.iter().filter_map(|stored| stored.message_id));
        }
        keep_last(&mut superseded, limits::REMEMBERED_EXECUTIONS_MAX);
        keep_last(&mut applied, limits::REMEMBERED_MESSAGES_MAX);
        Self { applied, superseded }
    }
}

/// What is kept is what would be read: asked by tests, beside the work.
#[cfg(test)]
pub(crate) mod check {
    use std::cell::Cell;

    use super::{Loaded, Step};

    thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    /// From now on every history that is kept is compared with what is stored, by a read more for each turn.
    pub(crate) fn set(on: bool) {
        ON.set(on);
    }

    /// Whether they are.
    pub(crate) fn is_on() -> bool {
        ON.get()
    }

    pub(super) async fn as_stored(step: &Step<'_>, kept: &Loaded) {
        if !ON.get() {
            return;
        }
        let Ok(stored) = step.load().await else { return };
        if stored.history.etag != kept.history.etag {
            return; // Somebody has written since: the commit will find out.
        }
        let text = |loaded: &Loaded| {
            let (mut history, state) = (loaded.history.clone(), &loaded.state);
            history.blobs.sort();
            history.events.iter_mut().for_each(|stored| stored.blobs.sort());
            format!("{history:#?}\n{state:#?}")
        };
        let (kept, stored) = (text(kept), text(&stored));
        let first = kept.lines().zip(stored.lines()).find(|(kept, stored)| kept != stored);
        assert!(kept == stored, "what is kept of \"{}\" is not what is stored: {first:?}", step.instance_id);
    }
}
