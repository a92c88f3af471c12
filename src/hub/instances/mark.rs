//! Instances with parked messages: until the message is put back or the instance ends by itself, its row is marked and shows Failed
//! with the reason. The history is not touched.

use super::{Instances, StoredRow, projection};
use crate::error::Result;
use crate::hub::keys;
use crate::model::RuntimeStatus;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Value};

/// Columns that only taskhub writes: the status that the row would show, and the time of the mark, which `CompletedTime` shows too.
pub(crate) const STATUS_BEHIND: &str = "ParkedStatus";
pub(crate) const MARKED_AT: &str = "ParkedAt";
/// What the mark sets and a merge cannot remove.
const COLUMNS: [&str; 4] = ["Output", "CompletedTime", STATUS_BEHIND, MARKED_AT];

/// Which instance is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Culprit<'a> {
    /// Whatever the row shows.
    Any(&'a str),
    /// Whatever execution has begun. One that is pending is left alone: workers would drop its start.
    Begun(&'a str),
    /// Only this execution.
    Execution(&'a str, &'a str),
    /// Only a pending one whose start message lies in this blob.
    StartIn(&'a str, &'a str),
}

impl Culprit<'_> {
    fn instance_id(&self) -> &str {
        match self {
            Self::Any(id) | Self::Begun(id) | Self::Execution(id, _) | Self::StartIn(id, _) => id,
        }
    }
}

impl Instances {
    /// Marks an instance as failed if its row exists and is not final.
    ///
    /// A taskhub turn that committed before the sentinel changed does not write the row any more. A .NET turn may still overwrite the
    /// mark; what is left of it is enough for the next taskhub turn to restore it.
    pub(crate) async fn show_as_failed(&self, culprit: Culprit<'_>, output: &str) -> Result<()> {
        let instance_id = culprit.instance_id();
        let mut is_noted = false;
        loop {
            let Some(stored) = self.read(instance_id, true).await? else { return Ok(()) };
            let status = stored.row.status.unwrap_or(RuntimeStatus::Running);
            if status.is_terminal() || !self.is_meant(culprit, &stored) {
                return Ok(());
            }
            if !is_noted {
                self.histories.note_parked(instance_id).await?;
                is_noted = true;
            }
            let now = Value::time(self.clock.now());
            let changes = Entity::new(keys::escape(instance_id), "")
                .with("RuntimeStatus", Value::string(RuntimeStatus::Failed.name()))
                .with("Output", Value::string(output))
                .with("LastUpdatedTime", now.clone())
                .with("CompletedTime", now.clone())
                .with(STATUS_BEHIND, Value::string(status.name()))
                .with(MARKED_AT, now);
            if self.merge_version(changes, &stored.etag).await? {
                return Ok(());
            }
        }
    }

    fn is_meant(&self, culprit: Culprit<'_>, stored: &StoredRow) -> bool {
        let row = &stored.row;
        let is_pending = row.status == Some(RuntimeStatus::Pending);
        match culprit {
            Culprit::Any(_) => true,
            Culprit::Begun(_) => !is_pending,
            Culprit::Execution(_, execution_id) => row.execution_id.as_deref().is_none_or(|id| id == execution_id),
            Culprit::StartIn(_, blob) => {
                let input = row.input.as_deref().and_then(|url| self.payloads.blob_of(url));
                is_pending && input.as_deref() == Some(blob)
            }
        }
    }

    /// The status of an instance itself, also behind the mark; `None` if there is no such instance. What this version does not know
    /// counts as running.
    pub(crate) async fn own_status(&self, instance_id: &str) -> Result<Option<RuntimeStatus>> {
        let columns = ["RuntimeStatus", "CompletedTime", STATUS_BEHIND, MARKED_AT];
        let row = self.table.get(&keys::escape(instance_id), "", &columns).await.or_none_in_it()?;
        Ok(row.map(|row| {
            let shown = || row.entity.text("RuntimeStatus").and_then(|name| name.parse().ok());
            status_behind(&row.entity).or_else(shown).unwrap_or(RuntimeStatus::Running)
        }))
    }

    /// Removes the mark: the row shows the status of the instance again.
    pub(crate) async fn show_as_it_is(&self, instance_id: &str) -> Result<()> {
        let now = self.clock.now();
        let unmark = |row: &mut Entity| {
            let behind = row.text(STATUS_BEHIND).unwrap_or(RuntimeStatus::Running.name()).to_owned();
            COLUMNS.into_iter().for_each(|column| drop(row.properties.remove(column)));
            row.set("RuntimeStatus", Value::String(behind));
            row.set("LastUpdatedTime", Value::time(now));
        };
        self.change_marked(&keys::escape(instance_id), unmark).await.map(drop)
    }

    /// Whether the row bears the mark over a start that has not been taken: workers drop what comes for such an instance.
    pub(crate) async fn is_marked_before_its_start(&self, instance_id: &str) -> Result<bool> {
        let row = self.table.get(&keys::escape(instance_id), "", &[]).await.or_none_in_it()?;
        Ok(row.is_some_and(|row| status_behind(&row.entity) == Some(RuntimeStatus::Pending)))
    }

    /// Makes a row that of an instance that was rewound: pending, without the output and the time of its failure.
    pub(in crate::hub) fn set_rewound(&self, row: &mut Entity) {
        COLUMNS.into_iter().for_each(|column| drop(row.properties.remove(column)));
        let instance_id = keys::unescape(&row.partition_key);
        row.properties.extend(projection::rewound(&instance_id, self.clock.now()).properties);
    }

    async fn change_marked(&self, key: &str, change: impl Fn(&mut Entity)) -> Result<bool> {
        loop {
            let stored = self.table.get(key, "", &[]).await.or_none_in_it()?;
            let Some(stored) = stored.filter(|stored| bears_mark(&stored.entity)) else { return Ok(false) };
            let mut row = stored.entity;
            change(&mut row);
            if self.replace_version(row, &stored.etag).await? {
                return Ok(true);
            }
        }
    }
}

/// Applies the changes of a turn to a row that bears the mark: an end of the instance removes the mark, everything else stays behind it.
/// `false` if there is no mark.
pub(super) fn change_behind_mark(row: &mut Entity, changes: &Entity) -> bool {
    if !bears_mark(row) {
        return false;
    }
    let mut changes = changes.clone();
    match changes.text("RuntimeStatus").and_then(|name| name.parse::<RuntimeStatus>().ok()) {
        Some(status) if status.is_terminal() => COLUMNS.into_iter().for_each(|column| drop(row.properties.remove(column))),
        Some(status) => {
            changes.properties.remove("Output");
            changes.set("RuntimeStatus", Value::string(RuntimeStatus::Failed.name()));
            changes.set(STATUS_BEHIND, Value::string(status.name()));
        }
        None => {}
    }
    row.properties.extend(changes.properties);
    true
}

/// The status behind the mark; `None` if there is no mark.
pub(super) fn status_behind(row: &Entity) -> Option<RuntimeStatus> {
    let behind = || row.text(STATUS_BEHIND).and_then(|name| name.parse().ok()).unwrap_or(RuntimeStatus::Running);
    bears_mark(row).then(behind)
}

/// An instance that ended by itself has another completion time, and one that was started again has none. The status cannot tell,
/// because .NET writes it with every turn.
fn bears_mark(row: &Entity) -> bool {
    row.time(MARKED_AT).is_some_and(|at| row.time("CompletedTime") == Some(at))
}
