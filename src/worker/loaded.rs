//! The history over which a step works: kept since the last commit, assumed to be empty for a new instance, or read.

use super::fate::{Fate, Sorted};
use super::recorder::{Record, keep_last};
use super::step::{Step, start_of};
use super::turn_threads::Kept;
use crate::error::Result;
use crate::hub::histories::{Committed, History};
use crate::hub::rows::Sentinel;
use crate::hub::{Held, InstanceRow};
use crate::ids;
use crate::limits;
use crate::model::{ExecutionStarted, ParentInstance, State, StoredEvent};

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
    /// The instance row, if it was read before the history.
    pub(crate) row: Option<InstanceRow>,
}

/// What there is of an instance without its history being read.
pub(super) enum Unread {
    /// The history.
    History(Box<Loaded>),
    /// At most the instance row.
    Row(Option<InstanceRow>),
}

impl Loaded {
    fn of(history: History) -> Self {
        let state = State::fold(history.events.iter().chain(&history.late));
        let bytes = history.events.iter().map(StoredEvent::weight).sum();
        Self { history, state, bytes, ..Self::default() }
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
        Some(Self { history, state: record.state, bytes, kept: execution, ..Self::default() })
    }
}

impl Step<'_> {
    /// What is known of the history without reading it. For a child with an id of its own the instance row is read, which must be read anyway:
    /// an id without a row most likely has no history.
    pub(super) async fn known_history(&self, sorted: &Sorted<'_>) -> Result<Unread> {
        if let Some(kept) = self.partition.take_history(self.instance_id) {
            #[cfg(test)]
            check::as_stored(self, &kept).await;
            return Ok(Unread::History(Box::new(kept)));
        }
        let Some(start) = self.first_start(sorted).filter(|_| self.fast_path.assumes_new) else { return Ok(Unread::Row(None)) };
        let is_new = match &start.parent {
            None => start.generation == Some(0),
            Some(parent) if is_derived(self.instance_id, parent) => true,
            Some(_) => match self.hub.instances.read(self.instance_id, false).await? {
                None => true,
                Some(stored) => return Ok(Unread::Row(Some(stored.row))),
            },
        };
        let assumed = || Unread::History(Box::new(Loaded { is_assumed: true, ..Loaded::default() }));
        Ok(if is_new { assumed() } else { Unread::Row(None) })
    }

    /// `row`: the instance row, if it is known.
    pub(super) async fn load(&self, row: Option<InstanceRow>) -> Result<Loaded> {
        let history = self.hub.histories.load(self.instance_id).await?;
        Ok(Loaded { row, ..Loaded::of(history) })
    }

    /// The start among these messages, if they may well be the first for an instance. If they are not, the commit finds a sentinel. Then its messages
    /// have been sent twice, which does no harm but costs something: where a history is to be expected, it is read.
    fn first_start<'s>(&self, sorted: &'s Sorted<'_>) -> Option<&'s ExecutionStarted> {
        let messages = sorted.with(Fate::Open);
        let mut starts = messages.iter().filter_map(|(_, delivery)| start_of(delivery));
        let (Some(start), None) = (starts.next(), starts.next()) else { return None };
        let may_begin = messages.iter().all(|(_, delivery)| delivery.dequeue_count == 1)
            && self.hosting.missing_orchestrator(start).is_none()
            && self.executor.throttles().orchestrator(&start.name).is_none();
        may_begin.then_some(start)
    }
}

/// Whether the id of a child is made from that of its parent's execution, so that nobody else has it.
pub(super) fn is_derived(child_id: &str, parent: &ParentInstance) -> bool {
    ids::is_derived(child_id, parent.instance.execution_id.as_deref().unwrap_or_default())
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
        let Ok(stored) = step.load(None).await else { return };
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
