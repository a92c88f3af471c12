//! A history as it was loaded: the events of complete checkpoints, and the remains of an interrupted one.

use uuid::Uuid;

use super::append::Committed;
use super::rows::Sentinel;
use crate::model::{EventKind, HistoryEvent, StoredEvent};
use crate::sabotage::{self, Sabotage};
use crate::storage::table::Etag;

/// One execution as storage has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) execution_id: Option<String>,
    /// The events of complete checkpoints, in order.
    pub(crate) events: Vec<StoredEvent>,
    /// Version of the sentinel: the fence of every commit. `None` if the instance never committed.
    pub(crate) etag: Option<Etag>,
    /// Rows that are stored under this execution id; more than `complete_rows` after an interrupted checkpoint.
    pub(crate) stored_rows: u64,
    /// How many of the events have rows: the others are carried over, and an interrupted checkpoint has left them beside the rows.
    pub(crate) complete_rows: usize,
    /// What a first turn received whose checkpoint was interrupted: not history yet, but all that is left of the turn.
    pub(crate) unclosed: Vec<StoredEvent>,
    /// Events that an interrupted checkpoint left in blobs and that a .NET worker went on without: they arrive now.
    pub(crate) late: Vec<StoredEvent>,
    /// Blobs that rows refer to, with the ordinals of the rows: garbage once the row is replaced.
    pub(crate) blobs: Vec<(u64, String)>,
    pub(crate) sentinel: Sentinel,
}

impl History {
    /// Whether the last checkpoint was interrupted between two transactions.
    pub(crate) fn is_torn(&self) -> bool {
        self.etag.is_some() && !self.sentinel.is_complete
    }

    /// Turns what the first turn received into a turn of its own, which the next commit closes.
    pub(crate) fn close_first_turn(&mut self) {
        self.events = std::mem::take(&mut self.unclosed);
        self.complete_rows = self.events.len();
        let end =
            self.events.last().map(|stored| HistoryEvent::arriving(stored.event.timestamp, EventKind::OrchestratorCompleted));
        self.events.extend(end.map(StoredEvent::from));
    }

    /// Whether this is the history of an execution; of none in particular it always is.
    pub(crate) fn has_execution(&self, execution_id: Option<&str>) -> bool {
        let id = execution_id.unwrap_or_default();
        id.is_empty() || self.execution_id.as_deref() == Some(id)
    }

    /// Columns of events whose texts are in blobs: the ordinal of the event and the column, and the blob.
    pub(crate) fn columns_in_blobs(&self) -> impl Iterator<Item = ((usize, &'static str), &String)> {
        self.events
            .iter()
            .enumerate()
            .flat_map(|(ordinal, stored)| stored.blobs.iter().map(move |(column, blob)| ((ordinal, *column), blob)))
    }

    /// The history once a commit has been stored, as it would be loaded: the first `kept` events, and behind them these. `None` if its version
    /// is not known.
    pub(crate) fn after(mut self, kept: usize, new: Vec<StoredEvent>, committed: Committed) -> Option<Self> {
        let Committed { first, blobs, put_off, sentinel, version, .. } = committed;
        let mut events = std::mem::take(&mut self.events);
        events.truncate(kept);
        if !sabotage::is(Sabotage::HistoriesKeptAsTheyWere) {
            events.extend(new);
        }
        self.blobs.retain(|(ordinal, _)| *ordinal < first as u64);
        events[first.min(kept)..].iter_mut().for_each(|stored| stored.blobs.clear());
        for ((index, column), blob) in blobs {
            let ordinal = first + index;
            events.get_mut(ordinal)?.blobs.push((column, blob.clone()));
            self.blobs.push((ordinal as u64, blob));
        }
        events.iter_mut().take(put_off).for_each(|stored| stored.event.is_played = false);
        if let Some(last) = events.last_mut().filter(|_| put_off > 0) {
            last.event.is_played = true;
        }
        let has_parked = self.etag.is_some() && self.sentinel.has_parked;
        Some(Self {
            execution_id: Some(sentinel.execution_id.clone()),
            etag: Some(version?),
            stored_rows: events.len() as u64,
            complete_rows: events.len(),
            events,
            unclosed: Vec::new(),
            late: Vec::new(),
            blobs: self.blobs,
            sentinel: Sentinel { has_parked, ..sentinel },
        })
    }

    /// Whether one of the events was brought by this message.
    pub(crate) fn has_message(&self, id: Uuid) -> bool {
        self.events.iter().any(|stored| stored.message_id == Some(id))
    }

    /// Events that are carried over and have no rows. They follow the rows, unless somebody who does not know of them has gone on.
    pub(super) fn take_up(&mut self, from: u64, carried: Vec<StoredEvent>) {
        if !self.is_torn() || from != self.complete_rows as u64 {
            let is_turn = |stored: &StoredEvent| {
                matches!(stored.event.kind, EventKind::OrchestratorStarted | EventKind::OrchestratorCompleted)
            };
            self.late = carried.into_iter().filter(|stored| !is_turn(stored)).collect();
            return;
        }
        let blobs = (from..).zip(&carried).flat_map(|(at, stored)| stored.blobs.iter().map(move |(_, blob)| (at, blob.clone())));
        self.blobs.extend(blobs);
        self.events.extend(carried);
    }
}

/// A checkpoint ends with `OrchestratorCompleted`; what an interrupted one left behind the last of them is not history:
/// its messages are decided again, under the same decision ids, when its inputs reappear. What a first turn received is answered.
pub(super) fn drop_torn_rows(events: &mut Vec<StoredEvent>) -> Vec<StoredEvent> {
    if let Some(last) = events.iter().rposition(|e| matches!(e.event.kind, EventKind::OrchestratorCompleted)) {
        events.truncate(last + 1);
        return Vec::new();
    }
    let has_start = events.iter().any(|stored| matches!(stored.event.kind, EventKind::ExecutionStarted(_)));
    let received = std::mem::take(events).into_iter().take_while(|stored| stored.event.event_id < 0);
    received.filter(|_| has_start).collect()
}
