//! Every recorded write of an instance row is understood, and rebuilt from the message or the events behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::recording::{self, Scenario, Write};
use super::rows::blob_columns;
use crate::hub::codec::{self, Incoming};
use crate::hub::instances::{self, BlobUrls, Projection};
use crate::hub::{blob_names, keys, rows};
use crate::model::{EventKind, ExecutionStarted, HistoryEvent, Message, RuntimeStatus, Timestamp};
use crate::storage::table::{Entity, Value};

#[derive(Debug, Default)]
struct Counts {
    pending: usize,
    checkpoints: usize,
    merges: usize,
    cleared: usize,
    left_out: usize,
    start_unknown: usize,
    with_parent: usize,
}

#[test]
fn instance_rows_of_dotnet_are_read_and_rebuilt() {
    let mut counts = Counts::default();
    recording::scenarios().iter().for_each(|s| check(s, &mut counts));
    println!("{counts:?}");
    assert!(counts.pending + counts.checkpoints > 0);
    // Recordings of another folder may all be older.
    assert!(counts.with_parent > 20 || std::env::var_os("TASKHUB_GOLDEN").is_some());
}

#[test]
fn instance_rows_of_the_functions_extension_are_read_and_rebuilt() {
    let mut counts = Counts::default();
    recording::extension().iter().for_each(|s| check(s, &mut counts));
    println!("{counts:?}");
    assert!(counts.pending > 50 && counts.checkpoints > 100);
}

fn check(scenario: &Scenario, counts: &mut Counts) {
    let starts = starts(scenario);
    let mut events: BTreeMap<&str, Vec<Entity>> = BTreeMap::new();
    let mut started: BTreeMap<&str, ExecutionStarted> = BTreeMap::new();
    let mut incomplete = BTreeSet::new();
    for write in &scenario.writes {
        let Some(recorded) = &write.entity else {
            counts.left_out += 1;
            incomplete.insert(write.seq);
            continue;
        };
        let key = recorded.partition_key.as_str();
        if write.is_history {
            if recorded.row_key != rows::SENTINEL && write.if_match.is_none() {
                events.entry(key).or_default().push(recorded.clone());
            } else if incomplete.contains(&write.seq) {
                events.remove(key);
            }
            continue;
        }
        instances::from_entity(recorded).unwrap();
        let at = format!("{}: {recorded:?}", scenario.name);
        match (recorded.text("RuntimeStatus"), write.if_match.as_deref()) {
            (status, Some("*")) => {
                counts.merges += 1;
                check_merge(recorded, status, &at);
            }
            (Some("Pending"), _) => check_pending(scenario, recorded, &starts, counts, &at),
            _ => match events.remove(key) {
                Some(rows) if !rows.is_empty() => {
                    started.extend(rows.iter().filter_map(start_of).map(|start| (key, start)));
                    check_checkpoint(scenario, write, recorded, &rows, started.get(key), counts, &at);
                }
                _ => counts.left_out += 1,
            },
        }
    }
}

fn starts(scenario: &Scenario) -> BTreeMap<String, Message> {
    let texts = scenario.messages.iter().filter_map(|m| m.text.as_deref());
    let messages = texts.filter_map(|t| match codec::decode(t) {
        Ok(Incoming::Message(message)) => Some(*message),
        _ => None,
    });
    messages
        .filter(|m| matches!(m.event.kind, EventKind::ExecutionStarted(_)))
        .map(|m| (m.target.execution_id.clone().unwrap_or_default(), m))
        .collect()
}

fn check_merge(recorded: &Entity, status: Option<&str>, at: &str) {
    let id = keys::unescape(&recorded.partition_key);
    let updated = recorded.time("LastUpdatedTime").unwrap();
    let rebuilt = if status == Some(RuntimeStatus::Pending.name()) {
        instances::rewound(&id, updated)
    } else {
        let now = recorded.time("CompletedTime").unwrap();
        instances::terminated_pending(&id, recorded.text("Output"), updated, now).entity
    };
    assert_eq!(rebuilt, *recorded, "{at}");
}

fn check_pending(scenario: &Scenario, recorded: &Entity, starts: &BTreeMap<String, Message>, counts: &mut Counts, at: &str) {
    let Some(message) = starts.get(recorded.text("ExecutionId").unwrap()) else {
        // The start went through a blob, or was cut from the copy.
        counts.start_unknown += 1;
        return;
    };
    let EventKind::ExecutionStarted(started) = &message.event.kind else { unreachable!() };
    let now = recorded.time("LastUpdatedTime").unwrap();
    let hub = &scenario.names.hub;
    counts.pending += 1;
    let mut rebuilt = instances::pending(hub, started, started.input.as_deref(), message.event.timestamp, now);
    without_parent_before_2_11(recorded, &mut rebuilt, counts);
    assert_eq!(rebuilt, *recorded, "{at}");
}

fn start_of(row: &Entity) -> Option<ExecutionStarted> {
    match rows::event_from_entity(row).unwrap().event.kind {
        EventKind::ExecutionStarted(started) => Some(*started),
        _ => None,
    }
}

/// .NET tells parents from 2.11 on, and then in each of these writes.
fn without_parent_before_2_11(recorded: &Entity, rebuilt: &mut Entity, counts: &mut Counts) {
    if recorded.properties.contains_key(instances::PARENT) {
        counts.with_parent += 1;
    } else {
        rebuilt.properties.remove(instances::PARENT);
    }
}

fn check_checkpoint(
    scenario: &Scenario,
    write: &Write,
    recorded: &Entity,
    rows: &[Entity],
    started: Option<&ExecutionStarted>,
    counts: &mut Counts,
    at: &str,
) {
    counts.checkpoints += 1;
    let events: Vec<HistoryEvent> = rows.iter().map(|r| rows::event_from_entity(r).unwrap().event).collect();
    let container = format!("{}/{}", scenario.endpoint, scenario.names.large_messages);
    let mut urls = BlobUrls::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, blob) in blob_columns(row) {
            urls.insert((index, column), blob_names::to_url(&container, blob));
        }
    }
    let custom_status = recorded.text("CustomStatus").filter(|s| *s != "null");
    let now = recorded.time("CompletedTime").unwrap_or(Timestamp::MIN);
    let mut change = Projection {
        hub: &scenario.names.hub,
        instance_id: &keys::unescape(&recorded.partition_key),
        execution_id: recorded.text("ExecutionId").unwrap(),
        custom_status,
        events: &Vec::from_iter(&events),
        urls: &urls,
    }
    .after_turn(now);
    if let Some(started) = started {
        instances::set_parent(&mut change.entity, started);
    }
    without_parent_before_2_11(recorded, &mut change.entity, counts);
    assert_eq!(change.clears_output, write.null_output, "{at}");
    counts.cleared += usize::from(change.clears_output);
    let mut expected = recorded.clone();
    if let Some(Value::DateTime(_)) = expected.properties.get("CompletedTime") {
        assert!(change.entity.properties.contains_key("CompletedTime"), "{at}");
    }
    expected.properties.retain(|_, value| *value != Value::Null);
    assert_eq!(change.entity, expected, "{at}");
}
