//! The row of an instance after a turn.

use super::Instances;
use super::projection::{self, BlobUrls, Projection, RowChange};
use super::write::{RowVersion, RowWrite, RowWritten};
use crate::error::Result;
use crate::hub::histories::History;
use crate::model::{EventKind, State, StoredEvent, Timestamp};
use crate::storage::table::Etag;

/// A turn whose history is committed, for the row of its instance.
#[derive(Debug)]
pub(crate) struct CommittedTurn<'a> {
    pub(crate) instance_id: &'a str,
    pub(crate) execution_id: &'a str,
    pub(crate) custom_status: Option<&'a str>,
    /// What was loaded before the turn.
    pub(crate) history: &'a History,
    /// How many of the events that were loaded are of this execution: none, if it has replaced another.
    pub(crate) kept: usize,
    /// The events of the turn.
    pub(crate) new: &'a [StoredEvent],
    /// What the kept events and those of the turn amount to.
    pub(crate) state: &'a State,
    /// Where large columns of the events went, by the ordinal of the event.
    pub(crate) urls: &'a BlobUrls,
    /// Whether an earlier checkpoint may have been interrupted before it wrote the row. Everything that the execution has done is shown then.
    pub(crate) makes_up: bool,
    /// The version of the sentinel that the commit left.
    pub(crate) version: Option<&'a Etag>,
    /// Executions that this one has replaced.
    pub(crate) superseded: &'a [String],
}

impl CommittedTurn<'_> {
    fn project(&self, hub: &str, now: Timestamp) -> RowChange {
        let all = self.history.events[..self.kept].iter().chain(self.new);
        let first = if self.makes_up { 0 } else { self.kept };
        let shown = |((ordinal, column), url): (&(usize, &'static str), &String)| {
            Some(((ordinal.checked_sub(first)?, *column), url.clone()))
        };
        let urls = self.urls.iter().filter_map(shown).collect();
        let events: Vec<_> = all.skip(first).map(|stored| &stored.event).collect();
        let Self { instance_id, execution_id, custom_status, .. } = *self;
        let projection = Projection { hub, instance_id, execution_id, custom_status, events: &events, urls: &urls };
        let mut change = projection.after_turn(now);
        // Whatever happened to the rows of earlier turns, every row has a name and a status.
        if let (Some(started), Some(status)) = (&self.state.started, self.state.status()) {
            projection::set_base_if_absent(&mut change.entity, &started.event, started.timestamp, status);
        }
        change.clears_output &= self.may_have_output();
        change
    }

    /// A merge cannot clear a column: an output of null would leave the reason of a suspension, or the output of an earlier run or of a
    /// failure that was rewound.
    fn may_have_output(&self) -> bool {
        let gives_output = |stored: &StoredEvent| {
            matches!(
                stored.event.kind,
                EventKind::ExecutionSuspended { reason: Some(_) }
                    | EventKind::ExecutionResumed { reason: Some(_) }
                    | EventKind::Generic { .. }
            )
        };
        !self.superseded.is_empty() || self.history.events.iter().chain(self.new).any(gives_output)
    }
}

impl Instances {
    /// Shows a turn whose history is committed.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub(crate) async fn show_turn(&self, turn: &CommittedTurn<'_>, known: Option<RowVersion>) -> Result<RowWritten> {
        let write = RowWrite {
            instance_id: turn.instance_id,
            change: turn.project(&self.hub, self.clock.now()),
            may_bear_mark: turn.history.sentinel.has_parked,
            committed: turn.version,
            superseded: turn.superseded,
        };
        self.write(write, known).await
    }
}
