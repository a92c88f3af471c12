//! An instance as it can be taken to another hub: its row and its history, with the texts that lie in blobs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::histories::{estimate, rows};
use super::purge::unless_changed;
use super::{Hub, blob_names, instances, keys, payloads};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{EventKind, JsonColumn as _, RuntimeStatus, Tags, Timestamp};
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Filter, Query, TRANSACTION_OPERATIONS_MAX, TableOp, Value};

/// The version of the form.
const FORM: u32 = 1;
/// Texts of a row that may lie in blobs.
const PAYLOADS: [&str; 2] = ["Input", "Output"];
/// Where the name of the blob of large tags stands.
const TAGS_BLOB: &str = "TagsBlobName";
/// Digits of the key of a history row.
const ROW_KEY_CHARS: usize = 16;
/// How often an export begins again because the instance has changed.
const EXPORT_TRIES: usize = 10;
/// Bytes of texts that one transaction takes, well below what the service takes.
const TRANSACTION_BYTES: usize = 1024 * 1024;

/// An instance as [`Client::export`](crate::Client::export) gives it and [`Client::import`](crate::Client::import) takes it. Its JSON has one form from
/// version to version: `form`, `instanceId`, `row` and `history`, columns by their names in the tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportedInstance {
    form: u32,
    instance_id: String,
    row: Columns,
    history: Vec<ExportedRow>,
}

/// A row of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExportedRow {
    row_key: String,
    columns: Columns,
}

type Columns = BTreeMap<String, Column>;

/// A value: texts, flags and small numbers are plain JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Column {
    Flag(bool),
    Number(i32),
    Text(String),
    Other(Other),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Other {
    Int64(String),
    Double(f64),
    Time(Timestamp),
}

impl ExportedInstance {
    /// The id of the instance.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }
}

impl ExportedInstance {
    /// Why it is no instance that has ended, and whose row and history can be read.
    fn check(&self, row: &Entity) -> std::result::Result<(), String> {
        let unread = |what: &str, error: &dyn std::fmt::Display| format!("its {what} cannot be read: {error}");
        let shown = instances::from_entity(row).map_err(|error| unread("row", &error))?;
        if !shown.own_status().is_some_and(RuntimeStatus::is_terminal) {
            return Err("it has not ended, and without its messages it would never go on".to_owned());
        }
        let (mut keys, mut ends) = (BTreeSet::new(), self.history.is_empty());
        for row in &self.history {
            if !keys.insert(&row.row_key) {
                return Err(format!("its history row {} is there twice", row.row_key));
            }
            ends |= row.check(&self.instance_id)?;
        }
        if ends { Ok(()) } else { Err("its history has no end".to_owned()) }
    }
}

impl ExportedRow {
    /// Whether it is the end of an execution; or why it cannot be read.
    fn check(&self, instance_id: &str) -> std::result::Result<bool, String> {
        let unread = |error: &dyn std::fmt::Display| format!("its history row {} cannot be read: {error}", self.row_key);
        let entity = self.entity(&keys::escape(instance_id));
        if self.row_key == rows::SENTINEL {
            return rows::sentinel_from_entity(&entity).map(|_| false).map_err(|error| unread(&error));
        }
        if self.row_key.len() != ROW_KEY_CHARS || !self.row_key.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(unread(&format!("its key has not {ROW_KEY_CHARS} hexadecimal digits")));
        }
        let event = rows::event_from_entity(&entity).map_err(|error| unread(&error))?;
        Ok(matches!(event.event.kind, EventKind::ExecutionCompleted { .. }))
    }

    fn entity(&self, key: &str) -> Entity {
        Entity { partition_key: key.to_owned(), row_key: self.row_key.clone(), properties: values(&self.columns) }
    }
}

impl Hub {
    /// An instance with all that storage has of it but messages that are under way. `None` if there is none.
    pub(crate) async fn export(&self, instance_id: &str) -> Result<Option<ExportedInstance>> {
        let key = keys::escape(instance_id);
        for _ in 0..EXPORT_TRIES {
            let Some(row) = self.instances.table.get(&key, "", &[]).await.or_none()? else { return Ok(None) };
            let exported = self.export_row(instance_id, row.entity).await;
            let now = self.instances.table.get(&key, "", &["PartitionKey"]).await.or_none()?;
            // Row and history of one moment, or of a moment between which nothing has changed.
            if now.is_some_and(|now| now.etag == row.etag) {
                return exported.map(Some);
            }
        }
        let message =
            format!("instance \"{instance_id}\" changed during each of {EXPORT_TRIES} tries to export it; try again later");
        Err(Error::new(ErrorKind::Storage, message))
    }

    async fn export_row(&self, instance_id: &str, mut row: Entity) -> Result<ExportedInstance> {
        let key = keys::escape(instance_id);
        for column in PAYLOADS {
            let text = row.text(column).map(str::to_owned);
            if let Some(text) = self.instances.resolve_payload(text).await? {
                row.set(column, Value::String(text));
            }
        }
        if row.properties.remove(TAGS_BLOB).is_some()
            && let Some(stored) = self.instances.read(instance_id, false).await?
        {
            row.set("Tags", Value::String(Tags::to_column(Some(&self.instances.resolve_tags(&stored.row).await?))));
        }
        let filter = Some(Filter::eq("PartitionKey", key));
        let mut history = Vec::new();
        for mut stored in self.histories.table.rows(Query { filter, ..Query::default() }).await? {
            self.payloads.inline_blobs(&mut stored.entity).await?;
            rows::LARGE_COLUMNS.iter().for_each(|column| drop(stored.entity.properties.remove(&*rows::blob_column(column))));
            let Entity { row_key, properties, .. } = stored.entity;
            history.push(ExportedRow { row_key, columns: columns(properties) });
        }
        Ok(ExportedInstance { form: FORM, instance_id: instance_id.to_owned(), row: columns(row.properties), history })
    }

    /// Writes an instance that has ended and is not there. The row comes first, so that one that was cut off is there, can be purged, and
    /// imported again.
    pub(crate) async fn import(&self, exported: &ExportedInstance) -> Result<()> {
        let id = &exported.instance_id;
        if exported.form != FORM {
            let message = format!("instance \"{id}\" was exported in form {}, and this version reads form {FORM}", exported.form);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let key = keys::escape(id);
        let mut row = Entity { partition_key: key.clone(), row_key: String::new(), properties: values(&exported.row) };
        exported
            .check(&row)
            .map_err(|why| Error::new(ErrorKind::Invalid, format!("instance \"{id}\" is not imported: {why}")))?;
        let already = || Error::new(ErrorKind::AlreadyExists, format!("instance \"{id}\" is there already; purge it first"));
        let filter = Some(Filter::eq("PartitionKey", key.clone()));
        let left = self.histories.table.page(&Query { filter, top: Some(1), ..Query::default() }).await?;
        if !left.rows.is_empty() || self.instances.table.get(&key, "", &["PartitionKey"]).await.or_none()?.is_some() {
            return Err(already());
        }
        self.offload_row(&mut row).await?;
        row.set("TaskHubName", Value::string(self.name()));
        if unless_changed(self.instances.put(&TableOp::Insert(row)).await)?.is_none() {
            return Err(already());
        }
        self.import_history(&key, &exported.history).await
    }

    async fn offload_row(&self, row: &mut Entity) -> Result<()> {
        for column in PAYLOADS {
            let Some(text) = row.text(column).filter(|text| payloads::is_large_column(text)).map(str::to_owned) else { continue };
            let blob = blob_names::instance_blob(&row.partition_key, self.payloads.random_suffix(), column);
            self.payloads.put(&blob, &text).await?;
            row.set(column, Value::String(self.payloads.url(&blob)));
        }
        match row.text("Tags").filter(|tags| tags.len() > limits::COLUMN_UNITS_MAX) {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(ErrorKind::Invalid, "an instance with tags of more than a column cannot be imported".to_owned()))
            }
        }
    }

    /// The rows in their order; the sentinel, which sorts behind them, last.
    async fn import_history(&self, key: &str, history: &[ExportedRow]) -> Result<()> {
        let (mut ops, mut bytes) = (Vec::new(), 0);
        for row in history {
            let mut entity = row.entity(key);
            let event_type = entity.text("EventType").unwrap_or_default().to_owned();
            self.payloads.offload_columns(&mut entity, &event_type, &[]).await?;
            let size = estimate(&entity);
            if ops.len() == TRANSACTION_OPERATIONS_MAX || bytes + size > TRANSACTION_BYTES && !ops.is_empty() {
                self.histories.table.transact(&std::mem::take(&mut ops)).await?;
                bytes = 0;
            }
            bytes += size;
            ops.push(TableOp::UpsertReplace(entity));
        }
        if !ops.is_empty() {
            self.histories.table.transact(&ops).await?;
        }
        Ok(())
    }
}

fn columns(properties: BTreeMap<String, Value>) -> Columns {
    let column = |value| {
        Some(match value {
            Value::Null => return None,
            Value::String(text) => Column::Text(text),
            Value::Bool(flag) => Column::Flag(flag),
            Value::I32(number) => Column::Number(number),
            Value::I64(number) => Column::Other(Other::Int64(number.to_string())),
            Value::F64(number) => Column::Other(Other::Double(number)),
            Value::DateTime(time) => Column::Other(Other::Time(time)),
        })
    };
    properties.into_iter().filter_map(|(name, value)| Some((name, column(value)?))).collect()
}

fn values(columns: &Columns) -> BTreeMap<String, Value> {
    let value = |column: &Column| match column {
        Column::Flag(flag) => Value::Bool(*flag),
        Column::Number(number) => Value::I32(*number),
        Column::Text(text) => Value::String(text.clone()),
        Column::Other(Other::Int64(number)) => number.parse().map_or(Value::Null, Value::I64),
        Column::Other(Other::Double(number)) => Value::F64(*number),
        Column::Other(Other::Time(time)) => Value::DateTime(*time),
    };
    columns.iter().map(|(name, column)| (name.clone(), value(column))).collect()
}
