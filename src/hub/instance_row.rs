//! Instance rows: what clients see, read from and built as entities (wire-format 6).

use std::collections::BTreeMap;

use super::keys;
use super::rows::RowReader;
use crate::model::members::MemberReader as _;
use crate::model::{
    DecodeError, EventKind, ExecutionStarted, FailureDetails, HistoryEvent, JsonColumn as _, RuntimeStatus, Tags, Timestamp,
};
use crate::storage::table::{Entity, Value};

/// A row as stored; every column may be absent. Input and output are the texts of their columns: inline, or a blob's URL.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InstanceRow {
    pub(crate) instance_id: String,
    pub(crate) execution_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) output: Option<String>,
    /// JSON; `None` also for the text `null`, which .NET stores when it was never set.
    pub(crate) custom_status: Option<String>,
    /// `None` also for a status that this version does not know.
    pub(crate) status: Option<RuntimeStatus>,
    pub(crate) tags: Option<Tags>,
    /// The blob of tags that are too large for their column, which is empty then.
    pub(crate) tags_blob: Option<String>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) last_updated: Option<Timestamp>,
    pub(crate) completed: Option<Timestamp>,
    pub(crate) scheduled_start: Option<Timestamp>,
    pub(crate) generation: Option<i32>,
    pub(crate) task_hub_name: Option<String>,
    /// The instance that started this one; `None` also where the writer of the row did not tell.
    pub(crate) parent: Option<String>,
}

/// The column of the parent's id, as .NET writes it from 2.11 on.
pub(crate) const PARENT: &str = "ParentInstanceId";

/// Reads a row.
pub(crate) fn from_entity(entity: &Entity) -> Result<InstanceRow, DecodeError> {
    let instance_id = keys::unescape(&entity.partition_key);
    read(entity, &instance_id).map_err(|e| e.within(&format!("instance \"{instance_id}\"")))
}

/// What can be read of a row that is damaged: the columns without which the rest can be read.
pub(crate) fn readable_part(entity: &Entity) -> InstanceRow {
    let mut sound = Entity::new(entity.partition_key.clone(), entity.row_key.clone());
    for (name, value) in &entity.properties {
        sound.set(name, value.clone());
        if from_entity(&sound).is_err() {
            sound.properties.remove(name);
        }
    }
    from_entity(&sound).unwrap_or_default()
}

fn read(entity: &Entity, instance_id: &str) -> Result<InstanceRow, DecodeError> {
    let row = RowReader(entity);
    Ok(InstanceRow {
        instance_id: instance_id.to_owned(),
        execution_id: row.text("ExecutionId")?,
        name: row.text("Name")?,
        version: row.text("Version")?,
        input: row.text("Input")?,
        output: row.text("Output")?,
        custom_status: row.text("CustomStatus")?.filter(|text| text != "null"),
        status: row.text("RuntimeStatus")?.and_then(|_| row.status("RuntimeStatus").ok().flatten()),
        tags: row.tags("Tags")?,
        // An older start may have left the name beside tags that fit.
        tags_blob: if row.text("Tags")?.as_deref() == Some("") { row.text(TAGS_BLOB)? } else { None },
        created: row.time("CreatedTime")?,
        last_updated: row.time("LastUpdatedTime")?,
        completed: row.time("CompletedTime")?,
        scheduled_start: row.time("ScheduledStartTime")?,
        generation: row.int("Generation")?,
        task_hub_name: row.text("TaskHubName")?,
        parent: row.text(PARENT)?.filter(|id| !id.is_empty()),
    })
}

/// The column that names the blob of large tags.
pub(crate) const TAGS_BLOB: &str = "TagsBlobName";

/// Where large columns of a checkpoint's events went: index of the event and column, to the blob's URL.
pub(crate) type BlobUrls = BTreeMap<(usize, &'static str), String>;

/// What a checkpoint does to the row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowChange {
    /// The columns to merge.
    pub(crate) entity: Entity,
    /// The new output is null, which a merge cannot store: an `Output` that stands in the row must be removed by a replace.
    pub(crate) clears_output: bool,
}

/// The row of an instance that a client starts (6.1). `input`: the text of the column, inline or a URL.
pub(crate) fn pending(hub: &str, started: &ExecutionStarted, input: Option<&str>, created: Timestamp, now: Timestamp) -> Entity {
    let mut entity = Entity::new(keys::escape(&started.instance.instance_id), "")
        .with("CreatedTime", Value::time(created))
        .with("RuntimeStatus", Value::string(RuntimeStatus::Pending.name()))
        .with("LastUpdatedTime", Value::time(now));
    set_base(&mut entity, hub, started.instance.execution_id.as_deref());
    set_started(&mut entity, started);
    set_parent(&mut entity, started);
    set_text(&mut entity, "Input", input);
    entity
}

/// The columns that a checkpoint merges (6.2). `now` is the time of completion, if it completes.
pub(crate) fn checkpoint(
    hub: &str,
    instance_id: &str,
    execution_id: &str,
    custom_status: Option<&str>,
    events: &[HistoryEvent],
    urls: &BlobUrls,
    now: Timestamp,
) -> RowChange {
    let mut entity = Entity::new(keys::escape(instance_id), "");
    set_base(&mut entity, hub, Some(execution_id));
    set_custom_status(&mut entity, custom_status);
    if let Some(last) = events.last() {
        entity.set("LastUpdatedTime", Value::time(last.timestamp));
    }
    let mut output = None;
    for (index, event) in events.iter().enumerate() {
        let text_of = |column: &'static str, text: Option<&String>| urls.get(&(index, column)).or(text).cloned();
        let (status, new_output) = match &event.kind {
            EventKind::ExecutionStarted(started) => {
                entity.set("CreatedTime", Value::time(event.timestamp));
                set_started(&mut entity, started);
                set_parent(&mut entity, started);
                set_text(&mut entity, "Input", text_of("Input", started.input.as_ref()).as_deref());
                (RuntimeStatus::Running, None)
            }
            EventKind::ExecutionCompleted { status, result, failure } => {
                let failed = failure.as_ref().map(FailureDetails::to_column);
                (*status, Some(failed.or_else(|| text_of("Result", result.as_ref()))))
            }
            EventKind::ExecutionTerminated { reason } => (RuntimeStatus::Terminated, Some(text_of("Input", reason.as_ref()))),
            EventKind::ExecutionSuspended { reason } => (RuntimeStatus::Suspended, Some(text_of("Reason", reason.as_ref()))),
            EventKind::ExecutionResumed { reason } => (RuntimeStatus::Running, Some(text_of("Reason", reason.as_ref()))),
            _ => continue,
        };
        entity.set("RuntimeStatus", Value::string(status.name()));
        if status.is_terminal() {
            entity.set("CompletedTime", Value::time(now));
        }
        output = new_output.or(output);
    }
    let clears_output = output == Some(None);
    set_text(&mut entity, "Output", output.flatten().as_deref());
    RowChange { entity, clears_output }
}

/// The columns that repair a row after its final write was lost (6.3): those of the whole history, completed when it was.
/// `with_input`: only if the row is missing altogether.
pub(crate) fn repair(
    hub: &str,
    instance_id: &str,
    execution_id: &str,
    custom_status: Option<&str>,
    events: &[HistoryEvent],
    urls: &BlobUrls,
    with_input: bool,
) -> RowChange {
    let completed = events.iter().rev().find(|e| matches!(e.kind, EventKind::ExecutionCompleted { .. }));
    let now = completed.or(events.last()).map_or(Timestamp::UNIX_EPOCH, |e| e.timestamp);
    let mut change = checkpoint(hub, instance_id, execution_id, custom_status, events, urls, now);
    change.entity.properties.remove("Generation");
    if !with_input {
        change.entity.properties.remove("Input");
    }
    change
}

/// The columns to merge into an existing row when an instance without a history is terminated (6.5).
pub(crate) fn terminated_pending(instance_id: &str, output: Option<&str>, requested: Timestamp, now: Timestamp) -> RowChange {
    let mut entity = Entity::new(keys::escape(instance_id), "")
        .with("RuntimeStatus", Value::string(RuntimeStatus::Terminated.name()))
        .with("LastUpdatedTime", Value::time(requested))
        .with("CompletedTime", Value::time(now));
    set_text(&mut entity, "Output", output);
    RowChange { entity, clears_output: output.is_none() }
}

/// The columns to merge into an existing row when an instance is rewound (6.4).
#[cfg(test)]
pub(crate) fn rewound(instance_id: &str, now: Timestamp) -> Entity {
    Entity::new(keys::escape(instance_id), "")
        .with("RuntimeStatus", Value::string(RuntimeStatus::Pending.name()))
        .with("LastUpdatedTime", Value::time(now))
}

/// Who started the instance, in every write of a turn. Empty if nobody did: a merge without the column would keep the parent of an
/// earlier run.
pub(crate) fn set_parent(entity: &mut Entity, started: &ExecutionStarted) {
    let parent = started.parent.as_ref().map_or("", |parent| parent.instance.instance_id.as_str());
    entity.set(PARENT, Value::string(parent));
}

/// What every row has: the columns of the start, but its input, and the status.
pub(crate) fn set_base_if_absent(entity: &mut Entity, started: &ExecutionStarted, created: Timestamp, status: RuntimeStatus) {
    set_parent(entity, started);
    if !entity.properties.contains_key("Name") {
        set_started(entity, started);
        entity.set("CreatedTime", Value::time(created));
    }
    if !entity.properties.contains_key("RuntimeStatus") {
        entity.set("RuntimeStatus", Value::string(status.name()));
    }
}

fn set_base(entity: &mut Entity, hub: &str, execution_id: Option<&str>) {
    entity.set("TaskHubName", Value::string(hub));
    set_text(entity, "ExecutionId", execution_id);
}

fn set_custom_status(entity: &mut Entity, custom_status: Option<&str>) {
    entity.set("CustomStatus", Value::string(custom_status.unwrap_or("null")));
}

fn set_started(entity: &mut Entity, started: &ExecutionStarted) {
    entity.set("Name", Value::string(&started.name));
    set_text(entity, "Version", started.version.as_deref());
    entity.set("Tags", Value::String(Tags::to_column(started.tags.as_ref())));
    if let Some(generation) = started.generation {
        entity.set("Generation", Value::I32(generation));
    }
    if let Some(time) = started.scheduled_start {
        entity.set("ScheduledStartTime", Value::time(time));
    }
}

fn set_text(entity: &mut Entity, column: &str, text: Option<&str>) {
    if let Some(text) = text {
        entity.set(column, Value::string(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstanceRef;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(ticks: i64, kind: EventKind) -> HistoryEvent {
        HistoryEvent::arriving(NOW.plus_ticks(ticks), kind)
    }

    fn started(input: &str) -> EventKind {
        EventKind::ExecutionStarted(Box::new(ExecutionStarted {
            instance: InstanceRef::new("a/b", "e"),
            name: "Hello".to_owned(),
            input: Some(input.to_owned()),
            ..ExecutionStarted::default()
        }))
    }

    fn change(events: &[HistoryEvent], urls: &BlobUrls) -> RowChange {
        checkpoint("Hub", "a/b", "e", Some("1"), events, urls, NOW.plus_ticks(99))
    }

    #[test]
    fn a_pending_row_is_read_back() {
        let EventKind::ExecutionStarted(event) = started("1") else { unreachable!() };
        let row = from_entity(&pending("Hub", &event, Some("1"), NOW, NOW.plus_ticks(5))).unwrap();
        assert_eq!((row.instance_id.as_str(), row.status), ("a/b", Some(RuntimeStatus::Pending)));
        assert_eq!((row.execution_id.as_deref(), row.created, row.last_updated), (Some("e"), Some(NOW), Some(NOW.plus_ticks(5))));
        assert_eq!((row.tags, row.generation, row.custom_status), (None, None, None));
    }

    #[test]
    fn later_events_win_and_texts_in_blobs_are_urls() {
        let suspended = EventKind::ExecutionSuspended { reason: Some("wait".to_owned()) };
        let events = [at(1, started("1")), at(2, suspended), at(3, EventKind::OrchestratorCompleted)];
        let urls = BlobUrls::from([((0, "Input"), "http://blob".to_owned())]);
        let RowChange { entity, clears_output } = change(&events, &urls);
        assert_eq!(entity.partition_key, "a^0b");
        assert_eq!((entity.text("RuntimeStatus"), entity.text("Output")), (Some("Suspended"), Some("wait")));
        assert_eq!((entity.text("Input"), entity.text("CustomStatus"), clears_output), (Some("http://blob"), Some("1"), false));
        assert_eq!((entity.time("LastUpdatedTime"), entity.time("CompletedTime")), (Some(NOW.plus_ticks(3)), None));
    }

    #[test]
    fn a_null_result_asks_for_an_older_output_to_be_removed() {
        let completed = |result: Option<&str>| EventKind::ExecutionCompleted {
            status: RuntimeStatus::Completed,
            result: result.map(str::to_owned),
            failure: None,
        };
        let resumed = EventKind::ExecutionResumed { reason: Some("go".to_owned()) };
        let null = change(&[at(1, resumed), at(2, completed(None))], &BlobUrls::new());
        assert!(null.clears_output && !null.entity.properties.contains_key("Output"));
        assert_eq!(null.entity.time("CompletedTime"), Some(NOW.plus_ticks(99)));
        assert!(!change(&[at(2, completed(Some("1")))], &BlobUrls::new()).clears_output);
        assert!(!change(&[at(2, EventKind::OrchestratorCompleted)], &BlobUrls::new()).clears_output);
    }

    #[test]
    fn a_repair_completes_when_the_execution_did() {
        let completed = EventKind::ExecutionTerminated { reason: Some("why".to_owned()) };
        let last =
            EventKind::ExecutionCompleted { status: RuntimeStatus::Terminated, result: Some("why".to_owned()), failure: None };
        let events = [at(1, started("1")), at(2, completed), at(3, last), at(4, EventKind::OrchestratorCompleted)];
        let RowChange { entity, .. } = repair("Hub", "a/b", "e", None, &events, &BlobUrls::new(), false);
        assert_eq!(
            (entity.time("CompletedTime"), entity.time("LastUpdatedTime")),
            (Some(NOW.plus_ticks(3)), Some(NOW.plus_ticks(4)))
        );
        assert_eq!((entity.text("RuntimeStatus"), entity.text("Input")), (Some("Terminated"), None));
        assert_eq!((entity.text("Output"), entity.text("CustomStatus")), (Some("why"), Some("null")));
    }

    #[test]
    fn a_column_of_a_wrong_type_is_an_error_that_names_instance_and_column() {
        let row = Entity::new("a^0b", "").with("CreatedTime", Value::string("yesterday"));
        let error = from_entity(&row).unwrap_err().to_string();
        assert!(error.starts_with("instance \"a/b\".CreatedTime: an Edm.String"), "{error}");
        let damaged = row.with("Name", Value::string("n")).with("Tags", Value::string("{"));
        let part = readable_part(&damaged);
        assert_eq!((part.instance_id.as_str(), part.name.as_deref(), part.created, part.tags), ("a/b", Some("n"), None, None));
        let row = Entity::new("i", "").with("RuntimeStatus", Value::string("Dreaming"));
        assert_eq!(from_entity(&row).unwrap().status, None);
    }
}
