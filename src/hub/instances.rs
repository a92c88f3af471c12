//! The instances table: one row per instance, what clients see.

use std::time::Duration;

use super::instance_row::{self, InstanceRow};
use super::payloads::is_large_column;
use super::{Hub, keys};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Timestamp;
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Etag, Match, Page, Query, TableOp, Value};

/// A row and its version.
#[derive(Clone, Debug)]
pub(crate) struct StoredRow {
    pub(crate) row: InstanceRow,
    pub(crate) etag: Etag,
}

/// Columns of a row without the large ones.
const WITHOUT_PAYLOADS: [&str; 12] = [
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
];

impl Hub {
    /// Reads an instance row; input and output only on demand, as stored (text or blob URL).
    pub(crate) async fn read_instance(&self, instance_id: &str, with_payloads: bool) -> Result<Option<StoredRow>> {
        let key = keys::escape(instance_id);
        let select: &[&str] = if with_payloads { &[] } else { &WITHOUT_PAYLOADS };
        let row = self.storage.tables.get(&self.names.instances, &key, "", select).await.or_none()?;
        row.map(|row| self.instance_from(&row)).transpose()
    }

    fn instance_from(&self, row: &storage::table::Row) -> Result<StoredRow> {
        let row_of = &row.entity.partition_key;
        let parsed = instance_row::from_entity(&row.entity)
            .map_err(|e| Error::new(ErrorKind::Corrupt, format!("row of instance \"{}\": {e}", keys::unescape(row_of))))?;
        Ok(StoredRow { row: parsed, etag: row.etag.clone() })
    }

    /// Writes the row of a new start. `false` if another start won the race.
    pub(crate) async fn write_pending(&self, entity: Entity, replaced: Option<&Etag>) -> Result<bool> {
        let op = match replaced {
            Some(etag) => TableOp::Replace(entity, Match::Etag(etag.clone())),
            None => TableOp::Insert(entity),
        };
        self.write_instance(&op).await
    }

    /// Merges columns into the row, creating it if need be; large ones go to blobs of their own.
    pub(crate) async fn merge_instance(&self, mut entity: Entity) -> Result<()> {
        for column in ["Input", "Output"] {
            self.offload_row_column(&mut entity, column).await?;
        }
        self.storage.tables.write(&self.names.instances, &TableOp::UpsertMerge(entity)).await?;
        Ok(())
    }

    /// Merges columns into this version of the row. `false` if it has changed or gone.
    pub(crate) async fn merge_instance_version(&self, entity: Entity, etag: &Etag) -> Result<bool> {
        self.write_instance(&TableOp::Merge(entity, Match::Etag(etag.clone()))).await
    }

    /// Replaces this version of the row. `false` if it has changed or gone.
    pub(crate) async fn replace_instance_version(&self, entity: Entity, etag: &Etag) -> Result<bool> {
        self.write_instance(&TableOp::Replace(entity, Match::Etag(etag.clone()))).await
    }

    async fn write_instance(&self, op: &TableOp) -> Result<bool> {
        use storage::ErrorKind::{AlreadyExists, NotFound, Precondition, Unknown};
        match self.storage.tables.write(&self.names.instances, op).await {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind, AlreadyExists | Precondition | NotFound) => Ok(false),
            Err(e) if e.kind == Unknown => self.is_written(op, e).await,
            Err(e) => Err(e.into()),
        }
    }

    /// After a lost reply: whether the row now says what we wrote.
    async fn is_written(&self, op: &TableOp, lost: storage::Error) -> Result<bool> {
        let (TableOp::Insert(entity) | TableOp::Replace(entity, _) | TableOp::Merge(entity, _)) = op else {
            return Err(lost.into());
        };
        let row = self.storage.tables.get(&self.names.instances, &entity.partition_key, &entity.row_key, &[]).await.or_none()?;
        let written = row.is_some_and(|row| {
            let same = |(name, value): (&String, &storage::table::Value)| {
                *value == storage::table::Value::Null || row.entity.properties.get(name) == Some(value)
            };
            entity.properties.iter().all(same)
        });
        if written { Ok(true) } else { Err(lost.into()) }
    }

    /// One page of rows. One damaged row must not hide the others: of it is read what can be.
    pub(crate) async fn query_instances(&self, query: &Query) -> Result<(Vec<InstanceRow>, Page)> {
        let mut page = self.storage.tables.query(&self.names.instances, query).await?;
        let read = |row: &storage::table::Row| match self.instance_from(row) {
            Ok(stored) => stored.row,
            Err(error) => {
                tracing::warn!(hub = self.names_hub(), %error, "a damaged instance row is listed without what cannot be read");
                instance_row::readable_part(&row.entity)
            }
        };
        let rows = std::mem::take(&mut page.rows).iter().map(read).collect();
        Ok((rows, page))
    }

    /// The text of an Input or Output column: inline, or behind a URL of our container.
    pub(crate) async fn resolve_payload(&self, column: Option<String>) -> Result<Option<String>> {
        let Some(text) = column else { return Ok(None) };
        let container = self.storage.blobs.container_url(&self.names.large_messages);
        let Some(blob) = super::blob_names::from_url(&container, &text) else { return Ok(Some(text)) };
        let body = self.get_payload(&blob).await?;
        // A start message too large for the queue: its blob is the whole message.
        if super::blob_names::is_start_message(&blob) {
            return Ok(start_input(&body));
        }
        Ok(Some(body))
    }

    /// Waits a little for a row that a client writes right after its start message.
    pub(crate) async fn await_row_of_start(&self, instance_id: &str) -> Result<Option<StoredRow>> {
        for wait_ms in [0, 20, 50, 150] {
            if wait_ms > 0 {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
            let row = self.read_instance(instance_id, false).await?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// Ends an instance that has not started (wire-format 6.5). `false` if its row has changed meanwhile.
    pub(crate) async fn terminate_pending(
        &self,
        instance_id: &str,
        stored: &StoredRow,
        reason: Option<&str>,
        at: Timestamp,
    ) -> Result<bool> {
        let mut row = instance_row::terminated_pending(instance_id, reason, at, self.now()).entity;
        self.offload_row_column(&mut row, "Output").await?;
        self.merge_instance_version(row, &stored.etag).await
    }

    /// Writes a row whose Output must become null, which a merge cannot do: the row is replaced with all else that it has.
    /// `false` if there is no row, or no Output to clear.
    pub(crate) async fn clear_output(&self, changes: &Entity) -> Result<bool> {
        let (table, key) = (&self.names.instances, &changes.partition_key);
        loop {
            let Some(stored) = self.storage.tables.get(table, key, "", &[]).await.or_none()? else { return Ok(false) };
            let mut row = stored.entity;
            if row.properties.remove("Output").is_none() {
                return Ok(false);
            }
            let changed = changes.properties.iter().filter(|(_, value)| **value != Value::Null);
            row.properties.extend(changed.map(|(name, value)| (name.clone(), value.clone())));
            row.properties.remove("Output");
            if self.replace_instance_version(row, &stored.etag).await? {
                return Ok(true);
            }
        }
    }

    /// Moves a large column of an instance row to a blob and leaves its URL.
    pub(crate) async fn offload_row_column(&self, row: &mut Entity, column: &str) -> Result<()> {
        let Some(text) = row.text(column).filter(|text| is_large_column(text)) else { return Ok(()) };
        let name = super::blob_names::instance_blob(&row.partition_key, self.random_suffix(), column);
        self.put_payload(&name, text).await?;
        row.set(column, Value::String(self.payload_url(&name)));
        Ok(())
    }

    /// The URL by which an instance row refers to a blob (wire-format 4).
    pub(crate) fn payload_url(&self, blob: &str) -> String {
        super::blob_names::to_url(&self.storage.blobs.container_url(&self.names.large_messages), blob)
    }

    /// The time that the row of a new checkpoint shows; never before what it showed.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn start_input(message_json: &str) -> Option<String> {
    let message = crate::model::Message::from_json(message_json).ok()?;
    match message.event.kind {
        crate::model::EventKind::ExecutionStarted(started) => started.input,
        _ => None,
    }
}
