//! Instances whose messages were parked: their row shows Failed with the reason, and shows again what it did when a message is
//! put back. The history stays as it is.

use super::{Hub, StoredRow, blob_names, keys};
use crate::error::Result;
use crate::model::RuntimeStatus;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Value};

/// Ours, beside the columns of .NET: what the row showed before, and the time under which it was marked.
const STATUS_BEFORE: &str = "ParkedStatus";
const MARKED_AT: &str = "ParkedAt";

/// Which instance is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Culprit<'a> {
    /// Whatever execution the row shows: its turns fail.
    Instance(&'a str),
    /// Only this execution.
    Execution(&'a str, &'a str),
    /// Only a pending one whose start message lies in this blob.
    StartIn(&'a str, &'a str),
}

impl Culprit<'_> {
    fn instance_id(&self) -> &str {
        match self {
            Self::Instance(id) | Self::Execution(id, _) | Self::StartIn(id, _) => id,
        }
    }
}

impl Hub {
    /// Shows an instance as Failed if its row exists and is not final. Whoever changes the row meanwhile wins.
    pub(crate) async fn show_as_failed(&self, culprit: Culprit<'_>, output: &str) -> Result<()> {
        let Some(stored) = self.read_instance(culprit.instance_id(), true).await? else { return Ok(()) };
        let status = stored.row.status.unwrap_or(RuntimeStatus::Running);
        if status.is_terminal() || !self.is_meant(culprit, &stored) {
            return Ok(());
        }
        let now = Value::DateTime(self.now());
        let changes = Entity::new(keys::escape(culprit.instance_id()), "")
            .with("RuntimeStatus", Value::string(RuntimeStatus::Failed.name()))
            .with("Output", Value::string(output))
            .with("LastUpdatedTime", now.clone())
            .with("CompletedTime", now.clone())
            .with(STATUS_BEFORE, Value::string(status.name()))
            .with(MARKED_AT, now);
        self.merge_instance_version(changes, &stored.etag).await?;
        Ok(())
    }

    fn is_meant(&self, culprit: Culprit<'_>, stored: &StoredRow) -> bool {
        let row = &stored.row;
        match culprit {
            Culprit::Instance(_) => true,
            Culprit::Execution(_, execution_id) => row.execution_id.as_deref().is_none_or(|id| id == execution_id),
            Culprit::StartIn(_, blob) => {
                let container = self.storage.blobs.container_url(&self.names.large_messages);
                let input = row.input.as_deref().and_then(|url| blob_names::from_url(&container, url));
                row.status == Some(RuntimeStatus::Pending) && input.as_deref() == Some(blob)
            }
        }
    }

    /// Takes the mark back, unless the instance has failed, or was started again, by itself since.
    pub(super) async fn show_as_before_failure(&self, instance_id: &str) -> Result<()> {
        let (table, key) = (&self.names.instances, keys::escape(instance_id));
        loop {
            let Some(stored) = self.storage.tables.get(table, &key, "", &[]).await.or_none()? else { return Ok(()) };
            let mut row = stored.entity;
            let still_marked = row.text("RuntimeStatus") == Some(RuntimeStatus::Failed.name())
                && row.time(MARKED_AT).is_some_and(|at| row.time("CompletedTime") == Some(at));
            let Some(before) = row.text(STATUS_BEFORE).filter(|_| still_marked).map(str::to_owned) else { return Ok(()) };
            // A merge cannot remove a column.
            for column in ["Output", "CompletedTime", STATUS_BEFORE, MARKED_AT] {
                row.properties.remove(column);
            }
            row.set("RuntimeStatus", Value::String(before));
            row.set("LastUpdatedTime", Value::DateTime(self.now()));
            if self.replace_instance_version(row, &stored.etag).await? {
                return Ok(());
            }
        }
    }
}
