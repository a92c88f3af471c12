//! Rewinding one instance that has failed: its history forgets why, and its row shows it as pending; resumable, and fenced against a
//! worker that commits and whoever starts the id again.

mod taken_back;

use std::collections::BTreeSet;

use taken_back::{CHILD, END, GENERIC, TakenBack, answered, id, kind};

use super::histories::{estimate, rows};
use super::instances::InstanceRow;
use super::purge::unless_changed;
use super::{Hub, keys};
use crate::error::Result;
use crate::model::{EventKind, ExecutionStarted, RuntimeStatus};
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Etag, Match, Row, TRANSACTION_OPERATIONS_MAX, TableOp, Value};

/// A transaction may hold 4 MiB.
const TRANSACTION_BYTES_MAX: usize = 3 * 1024 * 1024;

/// An instance, as far as a rewind is concerned.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) instance_id: String,
    pub(crate) execution_id: String,
    pub(crate) stand: Stand,
    /// Its row, and what can be read of it.
    shown: Row,
    row: InstanceRow,
    sentinel: Etag,
    /// The rows of the current execution.
    rows: Vec<Row>,
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It has failed; the place of its end.
    Failed(usize),
    /// It was rewound and has not ended since; whether it has had a turn.
    Rewound { has_gone_on: bool },
    /// It has ended in another way.
    Ended(RuntimeStatus),
    /// It has not ended; whether that is hidden by the mark of a parked message.
    Open(RuntimeStatus, bool),
}

/// The call of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    place: usize,
    pub(crate) task_id: i32,
    pub(crate) instance_id: String,
}

impl Hub {
    /// Looks at an instance; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if its rows cannot be read; `Storage` if storage fails.
    pub(crate) async fn standing(&self, instance_id: &str) -> Result<Option<Standing>> {
        let key = keys::escape(instance_id);
        let Some(shown) = self.instances.table.get(&key, "", &[]).await.or_none_in_it()? else { return Ok(None) };
        let row = self.instances.instance_from(&shown)?.row;
        // Without a history nothing is written.
        let nothing = || (String::new(), Etag(String::new()), Vec::new());
        let (execution_id, sentinel, rows) = self.histories.rows_of_execution(instance_id).await?.unwrap_or_else(nothing);
        let stand = stand(&row, &execution_id, &rows);
        Ok(Some(Standing { instance_id: instance_id.to_owned(), execution_id, stand, shown, row, sentinel, rows }))
    }

    /// Takes back why the instance has failed, but for these children, whose calls stay. `None` if somebody else has written.
    ///
    /// | step | if it is cut off behind it | who comes between |
    /// | --- | --- | --- |
    /// | 1. read the row, then the history | nothing has happened | who starts the id again, or purges it, changes the row or the sentinel: a later step fails, and the next look tells |
    /// | 2. one transaction: rows are taken back, the end of the execution with them, and the sentinel gets a new version; several, if there are more rows than one takes, of which the last has the end | the row shows the failure, the history is open: the next rewind goes on with step 3. Of several, the history shows the failure as before, and the next rewind takes back the rest | a worker that has loaded the old history cannot commit |
    /// | 3. the row shows the instance as pending, without output | the instance waits: the next rewind wakes it | a turn of the reopened history writes the row, which shows it as running already |
    pub(crate) async fn take_back(&self, standing: &Standing, from_first: bool, stays: &[Called]) -> Result<Option<()>> {
        let Stand::Failed(end) = standing.stand else { return Ok(Some(())) };
        let stays: BTreeSet<_> = stays.iter().map(|child| child.place).collect();
        let changes = TakenBack::of(&standing.rows, end, from_first).changes(&stays);
        let ops = changes.iter().map(|change| {
            let row = &standing.rows[change.place];
            (estimate(&row.entity), TableOp::Replace(taken_back(&row.entity, change.stays), Match::Etag(row.etag.clone())))
        });
        let mut sentinel = standing.sentinel.clone();
        for mut part in parts(ops.collect()) {
            let key = standing.shown.entity.partition_key.as_str();
            part.push(TableOp::Merge(Entity::new(key, rows::SENTINEL), Match::Etag(sentinel)));
            let Some(etags) = unless_changed(self.histories.table.transact(&part).await)? else { return Ok(None) };
            match etags.into_iter().next_back().flatten() {
                Some(etag) => sentinel = etag,
                None => return Ok(None),
            }
        }
        self.show_rewound(standing).await
    }

    /// Shows a history that was reopened as pending, unless its row shows that already. `None` if somebody else has written.
    pub(crate) async fn show_rewound(&self, standing: &Standing) -> Result<Option<()>> {
        if standing.row.own_status() != Some(RuntimeStatus::Failed) {
            return Ok(Some(()));
        }
        let mut row = standing.shown.entity.clone();
        self.instances.set_rewound(&mut row);
        Ok(self.instances.replace_version(row, &standing.shown.etag).await?.then_some(()))
    }
}

impl Standing {
    /// The children whose failures are taken back with that of their parent, or were; those that have not answered since.
    pub(crate) fn failed_children(&self, from_first: bool) -> Vec<Called> {
        let places = match self.stand {
            Stand::Failed(end) => TakenBack::of(&self.rows, end, from_first).children(),
            _ => self.rewound_children(),
        };
        let called = |place: usize| {
            let row = &self.rows[place];
            let instance_id = row.entity.text("InstanceId").unwrap_or_default().to_owned();
            Called { place, task_id: id(row), instance_id }
        };
        places.into_iter().map(called).collect()
    }

    fn rewound_children(&self) -> Vec<usize> {
        let answers: BTreeSet<_> = self.rows.iter().filter_map(answered).collect();
        let is_open = |row: &Row| {
            let is_marked = row.entity.text("Reason").is_some_and(|reason| reason.starts_with(rows::REWOUND));
            kind(row) == CHILD && is_marked && !answers.contains(&id(row))
        };
        (0..self.rows.len()).filter(|place| is_open(&self.rows[*place])).collect()
    }

    /// How its execution began, and the decision of the parent behind it.
    pub(crate) fn started(&self) -> Option<(ExecutionStarted, Option<String>)> {
        let row = self.rows.iter().find(|row| kind(row) == "ExecutionStarted")?;
        let stored = rows::event_from_entity(&row.entity).ok()?;
        match stored.event.kind {
            EventKind::ExecutionStarted(start) => Some((*start, stored.decision_id)),
            _ => None,
        }
    }

    /// Whether it was started by this call of that parent.
    pub(crate) fn is_child_of(&self, parent: &Self, called: &Called) -> bool {
        self.started().and_then(|(start, _)| start.parent).is_some_and(|known| {
            let execution = known.instance.execution_id.unwrap_or_default();
            let is_same = execution.is_empty() || execution == parent.execution_id;
            is_same && known.instance.instance_id == parent.instance_id && known.task_id == called.task_id
        })
    }

    /// The result of an execution that has completed.
    pub(crate) async fn result(&self, hub: &Hub) -> Result<Option<String>> {
        let Some(end) = self.rows.iter().rev().find(|row| kind(row) == END) else { return Ok(None) };
        let mut end = end.entity.clone();
        hub.payloads.inline_blobs(&mut end).await?;
        Ok(end.text("Result").map(str::to_owned))
    }
}

fn stand(row: &InstanceRow, execution_id: &str, rows: &[Row]) -> Stand {
    let shown = row.own_status().unwrap_or(RuntimeStatus::Running);
    let is_shown = row.execution_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(execution_id));
    let last = |is: &dyn Fn(&Row) -> bool| rows.iter().rposition(is).filter(|_| is_shown);
    let end = last(&|row| kind(row) == END);
    let is_failure = |end: usize| rows[end].entity.text("OrchestrationStatus") == Some(RuntimeStatus::Failed.name());
    let rewound = last(&|row| kind(row) == GENERIC && row.entity.text("OrchestrationStatus").is_some());
    match (end, rewound, shown) {
        (Some(end), _, RuntimeStatus::Failed) if is_failure(end) => Stand::Failed(end),
        (None, Some(at), shown) if shown == RuntimeStatus::Failed || !shown.is_terminal() => {
            Stand::Rewound { has_gone_on: rows[at..].iter().any(|row| kind(row) == "OrchestratorStarted") }
        }
        (_, _, shown) if shown.is_terminal() => Stand::Ended(shown),
        _ => Stand::Open(shown, row.behind_mark.is_some()),
    }
}

/// A row as .NET takes it back: an event without a meaning, with all that it had.
fn taken_back(row: &Entity, stays: bool) -> Entity {
    let mut entity = row.clone();
    let was = row.text("EventType").unwrap_or_default();
    entity.set("Reason", Value::String(format!("{}{was}", rows::REWOUND)));
    // Its text would be read in the place of the reason.
    entity.properties.remove(&rows::blob_column("Reason"));
    if !stays {
        entity.set("EventType", Value::string(GENERIC));
    }
    entity
}

/// As many at once as a transaction takes, beside the sentinel.
fn parts(ops: Vec<(usize, TableOp)>) -> Vec<Vec<TableOp>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for (size, op) in ops {
        let full = parts.last().map_or(0, Vec::len) == TRANSACTION_OPERATIONS_MAX - 1 || bytes + size > TRANSACTION_BYTES_MAX;
        if full {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        parts.last_mut().expect("never empty").push(op);
    }
    parts
}
