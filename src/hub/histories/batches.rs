//! The transactions of one append: rows in their order, whole turns together, as many as a transaction can hold.

use super::append::ColumnBlobs;
use super::remainder::Remainder;
use super::{Append, Histories, rows};
use crate::error::Result;
use crate::hub::keys;
use crate::model::{EventKind, StoredEvent};
use crate::storage::table::{Entity, Match, TableOp, Value, json_bytes};

/// Event rows in one transaction; the sentinel is the hundredth operation (docs/storage-layout.md, Transactions).
pub(crate) const BATCH_ROWS_MAX: usize = 99;
/// A transaction may hold 4 MiB; .NET flushes at an estimate of 3.
const BATCH_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The column that says that code has run on an event.
const PLAYED: &str = "IsPlayed";

/// What an append writes.
pub(super) struct Prepared {
    /// Without their sentinels.
    pub(super) batches: Vec<Vec<TableOp>>,
    pub(super) blobs: ColumnBlobs,
    /// The blobs that were put for it.
    pub(super) put: Vec<String>,
    /// For how many of its rows the last one says that code has run on them.
    pub(super) put_off: usize,
    /// What is carried over behind the first transaction.
    pub(super) remainder: Option<Remainder>,
}

impl Histories {
    /// The transactions of an append; large columns, and what must not be lost between two of them, are moved to blobs here.
    pub(super) async fn prepare(&self, append: &Append<'_>) -> Result<Prepared> {
        let key = keys::escape(append.instance_id);
        let (mut batches, mut part, mut blobs, mut put) = (Batches::default(), Vec::new(), ColumnBlobs::new(), Vec::new());
        let mut unit = Unit::default();
        for (index, stored) in append.events.iter().enumerate() {
            let ordinal = append.first + index as u64;
            let mut entity = rows::event_to_entity(&key, ordinal, append.execution_id, stored);
            for (column, blob) in self.payloads.offload_columns(&mut entity, stored.event.kind.type_name(), &stored.blobs).await?
            {
                if stored.blobs.iter().all(|(_, known)| *known != blob) {
                    put.push(blob.clone());
                }
                blobs.insert((index, column), blob);
            }
            let size = estimate(&entity);
            unit.push(TableOp::UpsertReplace(entity), size);
            if !is_answered_by(stored, append.events.get(index + 1)) {
                part.push(std::mem::take(&mut unit));
            }
            if matches!(stored.event.kind, EventKind::OrchestratorCompleted) {
                batches.add(std::mem::take(&mut part));
            }
        }
        batches.add(part);
        // Rows are deleted from the end, so that an interruption leaves no gap.
        for ordinal in append.surplus.clone().rev() {
            let row_key = rows::row_key(ordinal);
            let deletion = TableOp::Delete { partition_key: key.clone(), row_key, condition: Match::Any };
            batches.add(vec![Unit { ops: vec![deletion], bytes: 512 }]);
        }
        let put_off = put_off_played(append, &mut batches.all);
        let remainder = self.remainder_of(append, &batches.all).await?;
        if append.remainder.is_none_or(|known| Some(&known.blobs) != remainder.as_ref().map(|new| &new.blobs)) {
            put.extend(remainder.iter().flat_map(|new| new.blobs.clone()));
        }
        Ok(Prepared { batches: batches.all, blobs, put, put_off, remainder })
    }

    /// What is carried over and has no rows after the first transaction; blobs that have it already are not put again.
    async fn remainder_of(&self, append: &Append<'_>, batches: &[Vec<TableOp>]) -> Result<Option<Remainder>> {
        let first = append.first + batches.first().map_or(0, |ops| count_rows(ops));
        if first >= append.carried_to {
            return Ok(None);
        }
        if let Some(known) = append.remainder.filter(|known| known.from == append.first && append.first > 0) {
            return Ok(known.after(first));
        }
        let behind = batches[1..].iter().flatten().filter_map(|op| match op {
            TableOp::UpsertReplace(entity) => Some(entity),
            _ => None,
        });
        let count = usize::try_from(append.carried_to - first).unwrap_or(usize::MAX);
        let rows: Vec<_> = behind.take(count).collect();
        self.put_remainder(first, &rows).await.map(Some)
    }
}

/// Rows that a generation begins with say that its code has run on them. Where they are stored before what the code has decided, the last row of all
/// says it for them: what is left of an interrupted checkpoint has not run. For how many rows it does.
fn put_off_played(append: &Append<'_>, batches: &mut [Vec<TableOp>]) -> usize {
    if append.first > 0 || batches.len() < 2 {
        return 0;
    }
    let carried = usize::try_from(append.carried_to).unwrap_or(usize::MAX);
    let rows = batches.iter_mut().flatten().filter_map(|op| match op {
        TableOp::UpsertReplace(entity) => Some(entity),
        _ => None,
    });
    let (mut was_played, mut last) = (false, None);
    for (ordinal, row) in rows.enumerate() {
        if ordinal < carried {
            was_played |= row.properties.get(PLAYED) == Some(&Value::Bool(true));
            row.set(PLAYED, Value::Bool(false));
        }
        last = Some(row);
    }
    let Some(last) = last.filter(|_| was_played) else { return 0 };
    last.set(PLAYED, Value::Bool(true));
    carried
}

/// How many rows of events these write.
pub(super) fn count_rows(ops: &[TableOp]) -> u64 {
    ops.iter().filter(|op| matches!(op, TableOp::UpsertReplace(_))).count() as u64
}

/// Whether these are the call and the answer of a local activity.
fn is_answered_by(stored: &StoredEvent, next: Option<&StoredEvent>) -> bool {
    matches!(stored.event.kind, EventKind::TaskScheduled { .. })
        && next.is_some_and(|next| next.event.kind.answers_task() == Some(stored.event.event_id))
}

/// Rows that no transaction separates: one, or the call of a local activity and its answer.
#[derive(Default)]
struct Unit {
    ops: Vec<TableOp>,
    bytes: usize,
}

impl Unit {
    fn push(&mut self, op: TableOp, bytes: usize) {
        self.ops.push(op);
        self.bytes += bytes;
    }
}

/// The transactions of an append while they are filled.
struct Batches {
    all: Vec<Vec<TableOp>>,
    bytes: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self { all: vec![Vec::new()], bytes: 0 }
    }
}

impl Batches {
    /// Adds rows up to the end of a turn. They stay together if one transaction can hold them: what an interrupted checkpoint has
    /// stored of a turn does not count.
    fn add(&mut self, part: Vec<Unit>) {
        let (rows, bytes) = part.iter().fold((0, 0), |(rows, bytes), unit| (rows + unit.ops.len(), bytes + unit.bytes));
        if rows <= BATCH_ROWS_MAX && bytes <= BATCH_BYTES_MAX {
            self.make_room(rows, bytes);
        }
        for Unit { ops, bytes } in part {
            self.make_room(ops.len(), bytes);
            self.bytes += bytes;
            self.all.last_mut().expect("never empty").extend(ops);
        }
    }

    fn make_room(&mut self, rows: usize, bytes: usize) {
        let current = self.all.last().map_or(0, Vec::len);
        if current > 0 && (current + rows > BATCH_ROWS_MAX || self.bytes + bytes > BATCH_BYTES_MAX) {
            self.all.push(Vec::new());
            self.bytes = 0;
        }
    }
}

/// About how many bytes a row takes in a transaction.
pub(in crate::hub) fn estimate(entity: &Entity) -> usize {
    let text = |value: &Value| if let Value::String(text) = value { json_bytes(text) } else { 0 };
    1024 + entity.properties.values().map(text).sum::<usize>()
}
