//! History rows: events and the sentinel as entities (docs/storage-layout.md, History rows).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::remainder::Remainder;
use crate::model::members::{self, MemberReader, MemberWriter};
use crate::model::{
    DecodeError, EventKind, FailureDetails, InstanceRef, JsonColumn, ParentInstance, RuntimeStatus, StoredEvent, Tags, Timestamp,
    TraceContext,
};
use crate::storage::table::{Entity, Value};

/// The row key of the row that fences a history and names its execution.
pub(crate) const SENTINEL: &str = "sentinel";
/// The columns whose large texts go to blobs, with `{column}BlobName` beside the emptied column.
pub(crate) const LARGE_COLUMNS: [&str; 9] =
    ["Name", "Input", "Result", "Output", "Reason", "Details", "Correlation", "FailureDetails", "Tags"];
/// Beside a large column: the name of the blob that has its text.
pub(crate) fn blob_column(column: &str) -> String {
    format!("{column}BlobName")
}

/// Ours: the message that brought an event, as a GUID.
const MESSAGE_ID: &str = "MessageId";
/// Ours: the decision behind an event.
const DECISION_ID: &str = "DecisionId";
/// Ours, on the sentinel: what a hub's workers remember of an instance, as JSON.
const BOOKKEEPING: &str = "Taskhub";
/// Ours, on the sentinel: a message of the instance was parked. A column of its own, which no checkpoint writes: merges keep it.
const HAS_PARKED: &str = "TaskhubParked";

/// How the reason of a row begins that a rewind has taken back, as .NET writes it; behind it stands what the event was.
pub(crate) const REWOUND: &str = "Rewound: ";

/// The row key of the event with this ordinal.
pub(crate) fn row_key(ordinal: u64) -> String {
    format!("{ordinal:016X}")
}

/// The row of an event, every column inline.
pub(crate) fn event_to_entity(key: &str, ordinal: u64, execution_id: &str, stored: &StoredEvent) -> Entity {
    let mut row = RowWriter(Entity::new(key, row_key(ordinal)));
    members::write_event(&stored.event, &mut row);
    let mut entity = row.0;
    entity.set("ExecutionId", Value::string(execution_id));
    if let Some(id) = stored.message_id {
        entity.set(MESSAGE_ID, Value::String(id.hyphenated().to_string()));
    }
    if let Some(id) = &stored.decision_id {
        entity.set(DECISION_ID, Value::string(id));
    }
    entity
}

/// The event of a row whose blobs have been put back into their columns.
pub(crate) fn event_from_entity(entity: &Entity) -> Result<StoredEvent, DecodeError> {
    let row = RowReader(entity);
    let event_type = row.text("EventType")?.ok_or_else(|| DecodeError::missing().within("EventType"))?;
    // .NET writes names and reads numbers too.
    let numbered = event_type.parse().ok().and_then(members::type_name_of);
    let mut event = members::read_event(numbered.unwrap_or(&event_type), &row)?;
    if let EventKind::Generic { was, .. } = &mut event.kind {
        *was = kind_before_rewind(&row).map(Box::new);
    }
    let message_id = match row.text(MESSAGE_ID)? {
        None => None,
        Some(text) => Some(Uuid::try_parse(&text).map_err(|_| DecodeError::not_a(&text, "a GUID").within(MESSAGE_ID))?),
    };
    let blobs = LARGE_COLUMNS.into_iter().filter_map(|column| Some((column, entity.text(&blob_column(column))?.to_owned())));
    // A rewind leaves the columns of what the event was.
    let is_taken_back = matches!(event.kind, EventKind::Generic { .. });
    let taken_back = row.int("TaskScheduledId").ok().flatten().filter(|_| is_taken_back);
    Ok(StoredEvent { event, message_id, decision_id: row.text(DECISION_ID)?, taken_back, blobs: blobs.collect() })
}

/// What an event was that a rewind has taken back: its row has all the other columns still. Nothing depends on it but what is shown.
fn kind_before_rewind(row: &RowReader<'_>) -> Option<EventKind> {
    let reason = row.text("Reason").ok()??;
    let before = members::read_event(reason.strip_prefix(REWOUND)?, row).ok()?;
    let mut kind = before.kind;
    // The mark stands in its place.
    if let EventKind::TaskFailed { reason, .. } | EventKind::SubOrchestrationFailed { reason, .. } = &mut kind {
        *reason = None;
    }
    (!matches!(kind, EventKind::Generic { .. })).then_some(kind)
}

/// What tells of the parent of an execution.
pub(crate) const OF_PARENT: [&str; 4] = ["PartitionKey", "RowKey", "ExecutionId", "ParentInstance"];

/// The parent in the row of a start.
pub(crate) fn parent(entity: &Entity) -> Result<Option<ParentInstance>, DecodeError> {
    RowReader(entity).parent("ParentInstance")
}

/// The row that fences a history. Its version is the version of the history.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sentinel {
    pub(crate) execution_id: String,
    /// Whether the last checkpoint is stored to its end.
    pub(crate) is_complete: bool,
    /// When it was; a merge without it keeps the older time.
    pub(crate) completed_at: Option<Timestamp>,
    /// Messages that have been applied and are remembered across executions.
    pub(crate) applied: Vec<Uuid>,
    /// Executions that must not run any more.
    pub(crate) superseded: Vec<String>,
    /// The custom status with which the execution began: replay cannot find what continue-as-new carried over. Once it has ended, that
    /// which it left: a worker without the code may have to write the row.
    pub(crate) custom_status: Option<String>,
    /// Whether the execution has ended, and the custom status is the last.
    pub(crate) has_ended: bool,
    /// What continue-as-new carried over and has no rows yet.
    pub(crate) remainder: Option<Remainder>,
    /// Tells our own transaction from a rival's when a reply is lost.
    pub(crate) commit: Option<String>,
    /// Whether the instance row may be marked as failed because a message was parked. Read only: see [`sentinel_parked`].
    pub(crate) has_parked: bool,
    /// Whether only a fence stands here, of an instance that never committed. Read only: commits leave an id.
    pub(crate) is_fence: bool,
}

/// The JSON of the column `Taskhub`. Unknown members are for later versions.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Bookkeeping {
    #[serde(default)]
    applied: Vec<String>,
    #[serde(default)]
    superseded: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_status: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remainder: Option<Remainder>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
}

/// The entity of a sentinel, for an insert or a merge.
pub(crate) fn sentinel_to_entity(key: &str, sentinel: &Sentinel) -> Entity {
    let mut entity = Entity::new(key, SENTINEL)
        .with("ExecutionId", Value::string(&sentinel.execution_id))
        .with("IsCheckpointComplete", Value::Bool(sentinel.is_complete));
    if let Some(time) = sentinel.completed_at {
        entity.set("CheckpointCompletedTimestamp", Value::time(time));
    }
    let bookkeeping = Bookkeeping {
        applied: sentinel.applied.iter().map(|id| id.simple().to_string()).collect(),
        superseded: sentinel.superseded.clone(),
        custom_status: sentinel.custom_status.clone(),
        ended: sentinel.has_ended,
        remainder: sentinel.remainder.clone(),
        commit: sentinel.commit.clone(),
    };
    // Written even when empty: a merge without the column would keep an older one.
    let json = serde_json::to_string(&bookkeeping).expect("lists of texts are always JSON");
    entity.set(BOOKKEEPING, Value::String(json));
    entity
}

/// What a sentinel is merged with when a message of its instance is parked.
pub(crate) fn sentinel_parked(key: &str) -> Entity {
    Entity::new(key, SENTINEL).with(HAS_PARKED, Value::Bool(true))
}

/// Reads a sentinel, also one that .NET wrote.
pub(crate) fn sentinel_from_entity(entity: &Entity) -> Result<Sentinel, DecodeError> {
    let row = RowReader(entity);
    let bookkeeping = row.text(BOOKKEEPING)?;
    let is_ours = bookkeeping.is_some();
    let bookkeeping: Bookkeeping = match bookkeeping {
        None => Bookkeeping::default(),
        Some(text) => serde_json::from_str(&text).map_err(|e| DecodeError::not_json(&e).within(BOOKKEEPING))?,
    };
    let applied = bookkeeping
        .applied
        .iter()
        .map(|id| Uuid::try_parse(id).map_err(|_| DecodeError::not_a(id, "a GUID").within(BOOKKEEPING)));
    Ok(Sentinel {
        execution_id: row.text("ExecutionId")?.ok_or_else(|| DecodeError::missing().within("ExecutionId"))?,
        is_complete: row.flag("IsCheckpointComplete")?,
        completed_at: row.time("CheckpointCompletedTimestamp")?,
        applied: applied.collect::<Result<_, _>>()?,
        superseded: bookkeeping.superseded,
        custom_status: bookkeeping.custom_status,
        has_ended: bookkeeping.ended,
        remainder: bookkeeping.remainder,
        is_fence: is_ours && bookkeeping.commit.is_none(),
        commit: bookkeeping.commit,
        has_parked: row.flag(HAS_PARKED)?,
    })
}

/// The column of a member: the table service owns the name `Timestamp`.
fn column(member: &'static str) -> &'static str {
    if member == "Timestamp" { "_Timestamp" } else { member }
}

/// Writes members as columns. What is null is left out: the service stores no nulls.
struct RowWriter(Entity);

impl RowWriter {
    fn part<P: JsonColumn>(&mut self, name: &'static str, part: Option<&P>) {
        self.0.set(column(name), Value::String(P::to_column(part)));
    }
}

impl MemberWriter for RowWriter {
    fn event_type(&mut self, name: &'static str) {
        self.0.set("EventType", Value::string(name));
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(text) = value {
            self.0.set(column(name), Value::string(text));
        }
    }

    fn int(&mut self, name: &'static str, value: Option<i32>) {
        if let Some(number) = value {
            self.0.set(column(name), Value::I32(number));
        }
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        self.0.set(column(name), Value::Bool(value));
    }

    fn time(&mut self, name: &'static str, value: Option<Timestamp>) {
        if let Some(time) = value {
            self.0.set(column(name), Value::time(time));
        }
    }

    fn status(&mut self, name: &'static str, value: RuntimeStatus) {
        self.0.set(column(name), Value::string(value.name()));
    }

    fn instance(&mut self, name: &'static str, value: &InstanceRef) {
        self.part(name, Some(value));
    }

    fn parent(&mut self, name: &'static str, value: Option<&ParentInstance>) {
        self.part(name, value);
    }

    fn trace(&mut self, name: &'static str, value: Option<&TraceContext>) {
        self.part(name, value);
    }

    fn failure(&mut self, name: &'static str, value: Option<&FailureDetails>) {
        self.part(name, value);
    }

    fn tags(&mut self, name: &'static str, value: Option<&Tags>) {
        self.part(name, value);
    }

    fn json(&mut self, name: &'static str, value: Option<&str>) {
        self.0.set(column(name), Value::string(value.unwrap_or("null")));
    }
}

/// Reads columns as members, as strict about their types as .NET.
pub(crate) struct RowReader<'a>(pub(crate) &'a Entity);

impl RowReader<'_> {
    fn get(&self, name: &'static str) -> Option<&Value> {
        self.0.properties.get(column(name)).filter(|v| **v != Value::Null)
    }

    fn part<P: JsonColumn>(&self, name: &'static str) -> Result<Option<P>, DecodeError> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => P::from_column(&text).map_err(|e| e.within(column(name))),
        }
    }
}

impl MemberReader for RowReader<'_> {
    fn text(&self, name: &'static str) -> Result<Option<String>, DecodeError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong_type("a text", other, name)),
        }
    }

    fn nullable_int(&self, name: &'static str) -> Result<Option<i32>, DecodeError> {
        self.int(name)
    }

    fn int(&self, name: &'static str) -> Result<Option<i32>, DecodeError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::I32(number)) => Ok(Some(*number)),
            Some(other) => Err(wrong_type("an Edm.Int32", other, name)),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, DecodeError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong_type("an Edm.Boolean", other, name)),
        }
    }

    fn time(&self, name: &'static str) -> Result<Option<Timestamp>, DecodeError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::DateTime(time)) => Ok(Some(*time)),
            Some(other) => Err(wrong_type("an Edm.DateTime", other, name)),
        }
    }

    fn status(&self, name: &'static str) -> Result<Option<RuntimeStatus>, DecodeError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        // .NET is strict about case here, and reads numbers.
        let status = match text.parse() {
            Ok(number) => RuntimeStatus::from_number(number),
            Err(_) => RuntimeStatus::ALL.into_iter().find(|s| s.name() == text),
        };
        status.map(Some).ok_or_else(|| DecodeError::not_a(&text, "a status").within(name))
    }

    fn instance(&self, name: &'static str) -> Result<Option<InstanceRef>, DecodeError> {
        self.part(name)
    }

    fn parent(&self, name: &'static str) -> Result<Option<ParentInstance>, DecodeError> {
        self.part(name)
    }

    fn trace(&self, name: &'static str) -> Result<Option<TraceContext>, DecodeError> {
        self.part(name)
    }

    fn failure(&self, name: &'static str) -> Result<Option<FailureDetails>, DecodeError> {
        self.part(name)
    }

    fn tags(&self, name: &'static str) -> Result<Option<Tags>, DecodeError> {
        self.part(name)
    }

    fn json(&self, name: &'static str) -> Result<Option<String>, DecodeError> {
        Ok(self.text(name)?.filter(|text| text != "null" && !text.trim().is_empty()))
    }

    fn absent_event_id(&self, _type_name: &str) -> i32 {
        0
    }
}

fn wrong_type(expected: &'static str, found: &Value, name: &'static str) -> DecodeError {
    let found = match found {
        Value::Null => "null",
        Value::String(_) => "an Edm.String",
        Value::Bool(_) => "an Edm.Boolean",
        Value::I32(_) => "an Edm.Int32",
        Value::I64(_) => "an Edm.Int64",
        Value::F64(_) => "an Edm.Double",
        Value::DateTime(_) => "an Edm.DateTime",
    };
    DecodeError::wrong_type(expected, found).within(column(name))
}

#[cfg(test)]
mod tests;
