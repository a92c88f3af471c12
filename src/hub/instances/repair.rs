//! Repairing the row of an instance whose last checkpoint was interrupted after its history.

use super::Instances;
use super::projection::Projection;
use super::row::StoredRow;
use super::write::{RowVersion, RowWrite, RowWritten};
use crate::error::Result;
use crate::hub::histories::History;
use crate::model::{RuntimeStatus, Timestamp};

/// The row of an instance whose last checkpoint was interrupted after its history.
#[derive(Debug)]
pub(crate) struct LaggingRow {
    known: RowVersion,
    is_new: bool,
    /// What is known of the custom status without running the code: what the row shows, or with what the execution began if the row
    /// shows an earlier one.
    pub(crate) custom_status: Option<String>,
}

impl LaggingRow {
    /// Whether a row, as it was read after the history, lags behind it. `None` if it does not, or is not this execution's to write.
    pub(crate) fn of(stored: Option<StoredRow>, history: &History, created: Timestamp, status: RuntimeStatus) -> Option<Self> {
        let Some(StoredRow { row, etag }) = stored else {
            let custom_status = history.sentinel.custom_status.clone();
            return Some(Self { known: RowVersion::Absent, is_new: true, custom_status });
        };
        let execution_id = row.execution_id.as_deref().unwrap_or_default();
        let is_same = execution_id == history.execution_id.as_deref().unwrap_or_default();
        let is_new = if is_same {
            row.created != Some(created)
        } else if history.sentinel.superseded.iter().any(|id| id == execution_id) {
            // The row of another execution is older if history has replaced that execution, and else a new start's.
            true
        } else {
            return None;
        };
        // What a row with the mark shows is not its own.
        let is_right = !is_new && !history.sentinel.has_parked && row.status == Some(status);
        let has_ended = history.sentinel.has_ended && status.is_terminal();
        let custom_status = if is_same && !has_ended { row.custom_status } else { history.sentinel.custom_status.clone() };
        (!is_right).then_some(Self { known: RowVersion::Is(etag), is_new, custom_status })
    }
}

impl Instances {
    /// Repairs a row that lags behind its history.
    pub(crate) async fn repair(
        &self,
        instance_id: &str,
        lagging: LaggingRow,
        history: &History,
        custom_status: Option<&str>,
    ) -> Result<RowWritten> {
        let execution_id = history.execution_id.as_deref().unwrap_or_default();
        let events: Vec<_> = history.events.iter().map(|stored| &stored.event).collect();
        let urls = history.columns_in_blobs().map(|(column, blob)| (column, self.payloads.url(blob))).collect();
        let projection = Projection { hub: &self.hub, instance_id, execution_id, custom_status, events: &events, urls: &urls };
        let write = RowWrite {
            instance_id,
            change: projection.repaired(lagging.is_new),
            may_bear_mark: history.sentinel.has_parked,
            committed: history.etag.as_ref(),
            superseded: &history.sentinel.superseded,
        };
        self.write(write, Some(lagging.known)).await
    }
}
