//! What the row of an instance shows of its start, of a turn, of a whole history, and of a termination before its start
//! (docs/storage-layout.md, Who writes an instance row).

use std::collections::BTreeMap;

use super::row::PARENT;
use crate::hub::keys;
use crate::model::{EventKind, ExecutionStarted, FailureDetails, HistoryEvent, JsonColumn as _, RuntimeStatus, Tags, Timestamp};
use crate::storage::table::{Entity, Value};

/// Where large columns of a checkpoint's events went: index of the event and column, to the blob's URL.
pub(crate) type BlobUrls = BTreeMap<(usize, &'static str), String>;

/// What a checkpoint does to the row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowChange {
    /// The columns to merge.
    pub(crate) entity: Entity,
    /// The new output is null, which a merge cannot store: an `Output` in the row must be removed by a replace.
    pub(crate) clears_output: bool,
}

/// The row of an instance that a client starts. `input`: the text of the column, inline or a URL.
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

/// What the row of an instance shows of its history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Projection<'a> {
    /// The name of the hub.
    pub(crate) hub: &'a str,
    pub(crate) instance_id: &'a str,
    pub(crate) execution_id: &'a str,
    pub(crate) custom_status: Option<&'a str>,
    pub(crate) events: &'a [&'a HistoryEvent],
    pub(crate) urls: &'a BlobUrls,
}

impl Projection<'_> {
    /// The columns that a checkpoint merges; it completes the instance at this time, if it does.
    pub(crate) fn after_turn(&self, completed: Timestamp) -> RowChange {
        let mut entity = Entity::new(keys::escape(self.instance_id), "");
        set_base(&mut entity, self.hub, Some(self.execution_id));
        set_custom_status(&mut entity, self.custom_status);
        if let Some(last) = self.events.last() {
            entity.set("LastUpdatedTime", Value::time(last.timestamp));
        }
        let mut output = None;
        for (index, event) in self.events.iter().enumerate() {
            let text_of = |column: &'static str, text: Option<&String>| self.urls.get(&(index, column)).or(text).cloned();
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
                entity.set("CompletedTime", Value::time(completed));
            }
            output = new_output.or(output);
        }
        let clears_output = output == Some(None);
        set_text(&mut entity, "Output", output.flatten().as_deref());
        RowChange { entity, clears_output }
    }

    /// The columns that repair a row after its final write was lost: those of the whole history, completed when it was.
    /// `with_input`: only if the row is missing altogether.
    pub(crate) fn repaired(&self, with_input: bool) -> RowChange {
        let completed = self.events.iter().rev().find(|e| matches!(e.kind, EventKind::ExecutionCompleted { .. }));
        let completed = completed.or(self.events.last()).map_or(Timestamp::UNIX_EPOCH, |e| e.timestamp);
        let mut change = self.after_turn(completed);
        change.entity.properties.remove("Generation");
        if !with_input {
            change.entity.properties.remove("Input");
        }
        change
    }
}

/// The columns to merge into an existing row when an instance without a history is terminated.
pub(crate) fn terminated_pending(instance_id: &str, output: Option<&str>, requested: Timestamp, now: Timestamp) -> RowChange {
    let mut entity = Entity::new(keys::escape(instance_id), "")
        .with("RuntimeStatus", Value::string(RuntimeStatus::Terminated.name()))
        .with("LastUpdatedTime", Value::time(requested))
        .with("CompletedTime", Value::time(now));
    set_text(&mut entity, "Output", output);
    RowChange { entity, clears_output: output.is_none() }
}

/// The columns to merge into an existing row when an instance is rewound.
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

/// Sets what every row must have: the columns of the start except its input, and the status.
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

fn set_text(entity: &mut Entity, column: &'static str, text: Option<&str>) {
    if let Some(text) = text {
        entity.set(column, Value::string(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::instances::row::from_entity;
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

    fn projection<'a>(custom_status: Option<&'a str>, events: &'a [&'a HistoryEvent], urls: &'a BlobUrls) -> Projection<'a> {
        Projection { hub: "Hub", instance_id: "a/b", execution_id: "e", custom_status, events, urls }
    }

    fn change(events: &[HistoryEvent], urls: &BlobUrls) -> RowChange {
        projection(Some("1"), &Vec::from_iter(events), urls).after_turn(NOW.plus_ticks(99))
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
        let RowChange { entity, .. } = projection(None, &Vec::from_iter(&events), &BlobUrls::new()).repaired(false);
        assert_eq!(
            (entity.time("CompletedTime"), entity.time("LastUpdatedTime")),
            (Some(NOW.plus_ticks(3)), Some(NOW.plus_ticks(4)))
        );
        assert_eq!((entity.text("RuntimeStatus"), entity.text("Input")), (Some("Terminated"), None));
        assert_eq!((entity.text("Output"), entity.text("CustomStatus")), (Some("why"), Some("null")));
    }
}
