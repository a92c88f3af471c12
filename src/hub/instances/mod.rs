//! The table of instances: one row for each instance, which is what clients see.

mod children;
mod create;
mod mark;
mod pages;
mod projection;
mod repair;
mod row;
mod turn;
mod watchers;
mod write;

use std::time::Duration;

pub(crate) use mark::{Culprit, MARKED_AT, STATUS_BEHIND};
pub(crate) use pages::RowPages;
#[cfg(test)]
pub(crate) use projection::BlobUrls;
#[cfg(test)]
pub(crate) use projection::{Projection, pending, rewound, set_parent, terminated_pending};
pub(crate) use repair::LaggingRow;
pub(crate) use row::from_entity;
pub(crate) use row::{InstanceRow, PARENT, StoredRow};
pub(crate) use turn::{CommittedTurn, Shown, TurnShown};
pub(crate) use write::{RowVersion, RowWritten};

pub(crate) use watchers::Until;
pub(super) use watchers::Watchers;
use watchers::Watching;

use super::histories::Histories;
use super::histories::rows::RowReader;
use super::payloads::Payloads;
use super::table::Table;
use super::{blob_names, keys};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::model::members::MemberReader as _;
use crate::model::{EventKind, JsonColumn as _, Message, Tags};
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::table::{Etag, Page, Query, Row, TableOp};

/// Columns of a row without the large ones, but for the output in front.
const WITHOUT_INPUT: [&str; 15] = [
    "Output",
    "PartitionKey",
    "RowKey",
    "ExecutionId",
    "Name",
    "Version",
    "CustomStatus",
    "CreatedTime",
    "LastUpdatedTime",
    "CompletedTime",
    "RuntimeStatus",
    "ScheduledStartTime",
    "Generation",
    MARKED_AT,
    STATUS_BEHIND,
];

/// The table of instances.
#[derive(Clone, Debug)]
pub(crate) struct Instances {
    pub(super) table: Table,
    pub(super) payloads: Payloads,
    /// A write of a row checks that the sentinel has not moved.
    pub(super) histories: Histories,
    /// The name of the hub, for the log.
    pub(super) hub: String,
    pub(super) clock: Clock,
    /// Who waits for changes in this process.
    pub(super) watchers: Watchers,
}

impl Instances {
    /// One write of a row, of which those are told who wait for it here.
    pub(super) async fn put(&self, op: &TableOp) -> storage::error::Result<Option<Etag>> {
        let written = self.table.write(op).await;
        if written.is_ok() {
            let status = op.entity().and_then(|entity| RowReader(entity).status("RuntimeStatus").ok().flatten());
            self.watchers.tell(op.keys().0, status.is_some_and(|status| !status.is_terminal()));
        }
        written
    }

    /// Begins to wait for changes of the row of an instance that this process makes.
    pub(crate) fn watch(&self, instance_id: &str, until: Until) -> Watching {
        self.watchers.watch(keys::escape(instance_id), until)
    }

    /// Reads an instance row; input and output only on demand, as stored (text or blob URL). Without its table no instance is merely unknown: that is an error.
    pub(crate) async fn read(&self, instance_id: &str, with_payloads: bool) -> Result<Option<StoredRow>> {
        self.read_columns(instance_id, if with_payloads { &[] } else { &WITHOUT_INPUT[1..] }).await
    }

    /// The same with the output, which has no more than a reason until the instance has ended.
    pub(crate) async fn read_with_output(&self, instance_id: &str) -> Result<Option<StoredRow>> {
        self.read_columns(instance_id, &WITHOUT_INPUT).await
    }

    async fn read_columns(&self, instance_id: &str, select: &[&str]) -> Result<Option<StoredRow>> {
        let row = self.table.get(&keys::escape(instance_id), "", select).await.or_none_in_it()?;
        row.map(|row| self.instance_from(&row)).transpose()
    }

    pub(super) fn instance_from(&self, row: &Row) -> Result<StoredRow> {
        let row_of = &row.entity.partition_key;
        let parsed = row::from_entity(&row.entity)
            .map_err(|e| Error::new(ErrorKind::Corrupt, format!("row of instance \"{}\": {e}", keys::unescape(row_of))))?;
        Ok(StoredRow { row: parsed, etag: row.etag.clone() })
    }

    /// One page of rows. A damaged row must not hide the others: whatever can be read of it is returned.
    pub(crate) async fn query(&self, query: &Query) -> Result<(Vec<StoredRow>, Page)> {
        let mut page = self.table.page(query).await?;
        let read = |row: &Row| match self.instance_from(row) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(hub = self.hub, %error, "a damaged instance row is listed without what cannot be read");
                StoredRow { row: row::readable_part(&row.entity), etag: row.etag.clone() }
            }
        };
        let rows = std::mem::take(&mut page.rows).iter().map(read).collect();
        Ok((rows, page))
    }

    /// The text of an Input or Output column: inline, or behind a URL of our container.
    pub(crate) async fn resolve_payload(&self, column: Option<String>) -> Result<Option<String>> {
        let Some(text) = column else { return Ok(None) };
        let Some(blob) = self.payloads.blob_of(&text) else { return Ok(Some(text)) };
        let body = self.payloads.get(&blob).await?;
        // A start message too large for the queue: its blob is the whole message.
        if blob_names::is_start_message(&blob) {
            return Ok(start_input(&body));
        }
        Ok(Some(body))
    }

    /// Waits briefly for the row that a client writes right after its start message.
    pub(crate) async fn await_row_of_start(&self, instance_id: &str) -> Result<Option<StoredRow>> {
        for wait_ms in [0, 20, 50, 150] {
            if wait_ms > 0 {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
            let row = self.read(instance_id, false).await?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// The tags of a row, read from their blob if they are in one.
    pub(crate) async fn resolve_tags(&self, row: &InstanceRow) -> Result<Tags> {
        let Some(blob) = &row.tags_blob else { return Ok(row.tags.clone().unwrap_or_default()) };
        let tags = Tags::from_column(&self.payloads.get(blob).await?);
        Ok(tags.map_err(|e| Error::new(ErrorKind::Corrupt, format!("blob \"{blob}\": {e}")))?.unwrap_or_default())
    }

    /// The blobs to which the row refers.
    pub(crate) async fn blobs(&self, instance_id: &str) -> Result<Vec<String>> {
        let Some(stored) = self.read(instance_id, true).await? else { return Ok(Vec::new()) };
        let columns = [stored.row.input, stored.row.output].into_iter().flatten();
        Ok(columns.filter_map(|column| self.payloads.blob_of(&column)).collect())
    }
}

fn start_input(message_json: &str) -> Option<String> {
    let message = Message::from_json(message_json).ok()?;
    match message.event.kind {
        EventKind::ExecutionStarted(started) => started.input,
        _ => None,
    }
}
