//! The row of an instance after a turn.

use super::Instances;
use super::projection::{self, BlobUrls, Projection, RowChange};
use super::write::{RowVersion, RowWrite, RowWritten, is_conflict};
use crate::error::Result;
use crate::hub::histories::History;
use crate::hub::keys;
use crate::model::{EventKind, State, StoredEvent, Timestamp};
use crate::storage::columns::Columns;
use crate::storage::table::{Entity, Etag, Match, TableOp, Value};

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
        change.clears_output = change.clears_output && self.may_have_output();
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

/// The columns of a row that a worker has written and that say something else than when the row was updated.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shown(Columns);

impl Shown {
    /// What is not shown again by later turns, or may be large.
    const LEFT_OUT: [&str; 4] = ["Input", "Output", "LastUpdatedTime", "CompletedTime"];

    fn of(change: &RowChange) -> Self {
        Self(change.entity.properties.only(|name| !Self::LEFT_OUT.contains(&name)))
    }

    /// The time of the last update, if that is all that a change changes.
    fn only_later(&self, change: &RowChange) -> Option<Timestamp> {
        let says_this = |(name, value): (&str, &Value)| name == "LastUpdatedTime" || self.0.get(name) == Some(value);
        let is_all = !change.clears_output && change.entity.properties.iter().all(says_this);
        change.entity.time("LastUpdatedTime").filter(|_| is_all)
    }
}

/// What a turn has made of the row of its instance.
#[derive(Debug)]
pub(crate) enum TurnShown {
    /// The row was written, or was found not to be that of the turn.
    Written(RowWritten, Shown),
    /// Readers would see nothing new but this time of the last update: the row is left as it is.
    OnlyLater(Timestamp),
}

impl Instances {
    /// Shows a turn whose history is committed. `before`: what the row is known to show; nothing is written if the turn changes nothing of that.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub(crate) async fn show_turn(
        &self,
        turn: &CommittedTurn<'_>,
        known: Option<RowVersion>,
        before: Option<&Shown>,
    ) -> Result<TurnShown> {
        let change = turn.project(&self.hub, self.clock.now());
        let may_bear_mark = turn.history.sentinel.has_parked;
        if let Some(time) = before.filter(|_| !may_bear_mark).and_then(|before| before.only_later(&change)) {
            return Ok(TurnShown::OnlyLater(time));
        }
        let shown = Shown::of(&change);
        let (instance_id, committed, superseded) = (turn.instance_id, turn.version, turn.superseded);
        let written = self.write(RowWrite { instance_id, change, may_bear_mark, committed, superseded }, known).await?;
        Ok(TurnShown::Written(written, shown))
    }

    /// Shows that an instance was updated at this time, in this version of its row. The new version; `None` if the row has changed or gone.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub(crate) async fn show_update(&self, instance_id: &str, time: Timestamp, version: Etag) -> Result<Option<Etag>> {
        let entity = Entity::new(keys::escape(instance_id), "").with("LastUpdatedTime", Value::time(time));
        match self.put(&TableOp::Merge(entity, Match::Etag(version))).await {
            Ok(version) => Ok(version),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
