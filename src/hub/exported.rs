//! An instance as it can be taken to another hub: its row and its history, with the texts that lie in blobs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::histories::{estimate, rows, why_not_ended};
use super::purge::unless_changed;
use super::{Hub, blob_names, instances, keys, payloads};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{JsonColumn as _, RuntimeStatus, Tags, Timestamp};
use crate::storage::columns::Columns as Properties;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Filter, Query, TRANSACTION_OPERATIONS_MAX, TableOp, Value};

/// The version of the form.
const FORM: u32 = 1;
/// Texts of a row that may lie in blobs.
const PAYLOADS: [&str; 2] = ["Input", "Output"];
/// Where the name of the blob of large tags stands.
const TAGS_BLOB: &str = "TagsBlobName";
/// Which execution a row shows.
const EXECUTION: &str = "ExecutionId";
/// What is no column of an export: the keys are told apart from the columns, and the service sets the time.
const KEYS: [&str; 3] = ["PartitionKey", "RowKey", "Timestamp"];
/// Characters that the service takes in the name of a column.
const COLUMN_NAME_MAX: usize = 255;
/// Columns beside those that the service has itself.
const COLUMNS_MAX: usize = 252;
/// UTF-16 units that the service takes in one text, and those of a whole row that leave room for all else: its limit is 1 MiB.
const STORED_UNITS_MAX: usize = 32 * 1024;
const ROW_UNITS_MAX: usize = 450 * 1024;
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
        check_columns(&self.row).map_err(|why| unread("row", &why))?;
        let mut keys = BTreeSet::new();
        for row in &self.history {
            if !keys.insert(&row.row_key) {
                return Err(format!("its history row {} is there twice", row.row_key));
            }
            row.check().map_err(|why| unread(&format!("history row {}", row.row_key), &why))?;
        }
        let key = keys::escape(&self.instance_id);
        let rows: Vec<_> = self.in_order().into_iter().map(|row| row.entity(&key)).collect();
        why_not_ended(&rows).map_or(Ok(()), |why| Err(format!("its history is not whole: {why}")))
    }

    /// The rows in the order in which they are written: the sentinel, which sorts behind the others, is last and tells that all are there.
    fn in_order(&self) -> Vec<&ExportedRow> {
        let mut rows: Vec<_> = self.history.iter().collect();
        rows.sort_by_key(|row| &row.row_key);
        rows
    }
}

fn is_digit_of_key(c: char) -> bool {
    matches!(c, '0'..='9' | 'A'..='F')
}

/// Why a row cannot have these columns. None refers to a blob: an export has the texts, and blobs that others name are not its own.
fn check_columns(columns: &Columns) -> std::result::Result<(), String> {
    let is_name = |name: &str| {
        !KEYS.contains(&name)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.len() <= COLUMN_NAME_MAX
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let is_reference = |name: &str| rows::LARGE_COLUMNS.iter().any(|column| rows::blob_column(column) == name);
    if columns.len() > COLUMNS_MAX {
        return Err(format!("it has {} columns, and a row has {COLUMNS_MAX} at most", columns.len()));
    }
    let mut units = 0;
    for (name, column) in columns {
        if !is_name(name) {
            return Err(format!("\"{name}\" is no name of a column"));
        }
        if is_reference(name) {
            return Err(format!("its column {name} names a blob"));
        }
        let own = if let Column::Text(text) = column { text.encode_utf16().count() } else { 0 };
        // What is larger goes to a blob.
        let goes_to_blob = own > limits::COLUMN_UNITS_MAX && rows::LARGE_COLUMNS.contains(&name.as_str());
        if own > STORED_UNITS_MAX && !goes_to_blob {
            return Err(format!("its column {name} has {own} UTF-16 units, and a column takes {STORED_UNITS_MAX}"));
        }
        units += if goes_to_blob { 0 } else { own };
    }
    if units > ROW_UNITS_MAX {
        return Err(format!("its texts have {units} UTF-16 units, and a row takes {ROW_UNITS_MAX}"));
    }
    Ok(())
}

impl ExportedRow {
    fn is_sentinel(&self) -> bool {
        self.row_key == rows::SENTINEL
    }

    /// Why it is no row of a history.
    fn check(&self) -> std::result::Result<(), String> {
        if !self.is_sentinel() && (self.row_key.len() != ROW_KEY_CHARS || !self.row_key.chars().all(is_digit_of_key)) {
            return Err(format!("its key has not {ROW_KEY_CHARS} hexadecimal digits"));
        }
        check_columns(&self.columns)
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
            let Some(row) = self.instances.table.get(&key, "", &[]).await.or_none_in_it()? else { return Ok(None) };
            let exported = self.export_row(instance_id, row.entity).await;
            let now = self.instances.table.get(&key, "", &["PartitionKey"]).await.or_none_in_it()?;
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
            rows::LARGE_COLUMNS.iter().for_each(|column| drop(stored.entity.properties.remove(&rows::blob_column(column))));
            let Entity { row_key, properties, .. } = stored.entity;
            history.push(ExportedRow { row_key, columns: columns(properties) });
        }
        Ok(ExportedInstance { form: FORM, instance_id: instance_id.to_owned(), row: columns(row.properties), history })
    }

    /// Writes an instance that has ended and is not there. The row comes first and the sentinel last: one that was cut off can be purged, and
    /// another import of it goes on.
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
        if PAYLOADS.iter().any(|column| row.text(column).is_some_and(|text| self.payloads.blob_of(text).is_some())) {
            let message = format!("instance \"{id}\" is not imported: its row refers to a blob");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let already = || Error::new(ErrorKind::AlreadyExists, format!("instance \"{id}\" is there already; purge it first"));
        match self.instances.table.get(&key, "", &[]).await.or_none_in_it()? {
            Some(found) if self.is_cut_off(exported, &found.entity).await? => {}
            None if !self.has_history(&key).await? => {
                self.offload_row(&mut row).await?;
                row.set("TaskHubName", Value::string(self.name()));
                if unless_changed(self.instances.put(&TableOp::Insert(row)).await)?.is_none() {
                    return Err(already());
                }
            }
            _ => return Err(already()),
        }
        self.import_history(&key, &exported.in_order()).await
    }

    /// Whether this row is of an import of the same instance that was cut off: the last row of the history is missing.
    async fn is_cut_off(&self, exported: &ExportedInstance, found: &Entity) -> Result<bool> {
        let has_ended =
            || instances::from_entity(found).is_ok_and(|row| row.own_status().is_some_and(RuntimeStatus::is_terminal));
        let is_same = found.properties.get(EXECUTION) == values(&exported.row).get(EXECUTION);
        let ends_in_sentinel = exported.history.iter().any(ExportedRow::is_sentinel);
        if !is_same || !ends_in_sentinel || !has_ended() {
            return Ok(false);
        }
        Ok(self.histories.table.get(&found.partition_key, rows::SENTINEL, &["PartitionKey"]).await.or_none_in_it()?.is_none())
    }

    async fn has_history(&self, key: &str) -> Result<bool> {
        let filter = Some(Filter::eq("PartitionKey", key));
        let page = self.histories.table.page(&Query { filter, top: Some(1), ..Query::default() }).await?;
        Ok(!page.rows.is_empty())
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

    async fn import_history(&self, key: &str, history: &[&ExportedRow]) -> Result<()> {
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

fn columns(properties: Properties) -> Columns {
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
    properties.into_iter().filter_map(|(name, value)| Some((name.into_owned(), column(value)?))).collect()
}

fn values(columns: &Columns) -> Properties {
    let value = |column: &Column| match column {
        Column::Flag(flag) => Value::Bool(*flag),
        Column::Number(number) => Value::I32(*number),
        Column::Text(text) => Value::String(text.clone()),
        Column::Other(Other::Int64(number)) => number.parse().map_or(Value::Null, Value::I64),
        Column::Other(Other::Double(number)) => Value::F64(*number),
        Column::Other(Other::Time(time)) => Value::time(*time),
    };
    columns.iter().map(|(name, column)| (name.clone().into(), value(column))).collect()
}
