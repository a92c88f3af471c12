//! Checks that the rows of a history are complete and in order. Anything else is damage, and no turn may build on it.

use super::corrupt;
use super::rows::{self, SENTINEL, Sentinel};
use crate::error::Error;
use crate::model::{DecodeError, EventKind, StoredEvent};
use crate::storage::table::Entity;

/// What is wrong, and at which row.
#[derive(Debug)]
pub(super) struct Flaw {
    row: String,
    what: String,
}

impl Flaw {
    fn new(row: impl Into<String>, what: impl Into<String>) -> Self {
        Self { row: row.into(), what: what.into() }
    }

    pub(super) fn within(self, instance_id: &str) -> Error {
        corrupt(instance_id, &self.row, &self.what)
    }
}

/// How many of the rows are of the execution that the sentinel names. They are the first ones, and each has the key of its ordinal:
/// rows of an older, longer execution lie behind them and are never trimmed.
pub(super) fn rows_of_execution<'a>(all: impl IntoIterator<Item = &'a Entity>, sentinel: &Sentinel) -> Result<usize, Flaw> {
    let execution_id = Some(sentinel.execution_id.as_str());
    let events: Vec<_> = all.into_iter().filter(|row| row.row_key != SENTINEL).collect();
    let is_ours = |row: &&&Entity| row.text("ExecutionId") == execution_id;
    let count = events.iter().take_while(is_ours).count();
    // What is left of a purge that was cut off has rows of the execution that it removes.
    if sentinel.is_fence && !events.iter().any(|row| is_ours(&row)) {
        return Ok(0);
    }
    if sentinel.execution_id.is_empty() {
        return Err(Flaw::new(SENTINEL, "it names no execution"));
    }
    if count == 0 {
        return Err(Flaw::new(SENTINEL, format!("there is no first row of its execution \"{}\"", sentinel.execution_id)));
    }
    if let Some((ordinal, row)) = (0..).zip(&events[..count]).find(|(ordinal, row)| row.row_key != rows::row_key(*ordinal)) {
        return Err(Flaw::new(rows::row_key(ordinal), format!("it is missing: row {} stands in its place", row.row_key)));
    }
    match events[count..].iter().find(|row| row.text("ExecutionId") == execution_id) {
        Some(row) => Err(Flaw::new(
            rows::row_key(count as u64),
            format!("it is missing or of another execution, but row {} goes on", row.row_key),
        )),
        None => Ok(count),
    }
}

/// Why these rows, in the order of their keys and with all their texts, are not the whole history of an execution that has ended.
pub(in crate::hub) fn why_not_ended(all: &[Entity]) -> Option<String> {
    match check_ended(all) {
        Ok(true) => None,
        Ok(false) => Some("it has no end".to_owned()),
        Err(Flaw { row, what }) => Some(format!("row {row}: {what}")),
    }
}

/// Whether the execution has ended; one that never began has.
fn check_ended(all: &[Entity]) -> Result<bool, Flaw> {
    if all.is_empty() {
        return Ok(true);
    }
    let unread = |row: &Entity, error: &DecodeError| Flaw::new(&row.row_key, error.to_string());
    let row = all.iter().find(|row| row.row_key == SENTINEL).ok_or_else(|| Flaw::new(SENTINEL, "it is missing"))?;
    let sentinel = rows::sentinel_from_entity(row).map_err(|error| unread(row, &error))?;
    if sentinel.remainder.is_some() {
        return Err(Flaw::new(SENTINEL, "events of it are in a blob"));
    }
    let count = rows_of_execution(all, &sentinel)?;
    let read = |row| rows::event_from_entity(row).map_err(|error| unread(row, &error));
    let events = all[..count].iter().map(read).collect::<Result<Vec<_>, _>>()?;
    check_events(&events, &sentinel)?;
    Ok(events.is_empty() || events.iter().any(|stored| matches!(stored.event.kind, EventKind::ExecutionCompleted { .. })))
}

/// The events of such rows: the first turn has the start, and a checkpoint that is complete ends with `OrchestratorCompleted`.
pub(super) fn check_events(events: &[StoredEvent], sentinel: &Sentinel) -> Result<(), Flaw> {
    let is_end = |stored: &StoredEvent| matches!(stored.event.kind, EventKind::OrchestratorCompleted);
    let is_start = |stored: &StoredEvent| matches!(stored.event.kind, EventKind::ExecutionStarted(_));
    let Some(last) = events.last() else { return Ok(()) };
    // Nothing of an interrupted first checkpoint counts.
    let has_begun = sentinel.is_complete || events.iter().any(is_end);
    if has_begun && !events.iter().take_while(|stored| !is_end(stored)).any(is_start) {
        return Err(Flaw::new(rows::row_key(0), "the first turn of the history has no start"));
    }
    if sentinel.is_complete && !is_end(last) {
        return Err(Flaw::new(
            rows::row_key(events.len() as u64),
            "it is missing: the last checkpoint is complete and has no end",
        ));
    }
    Ok(())
}
