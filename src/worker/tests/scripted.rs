//! A .NET worker by hand: it plays back what a recorded one wrote to the partition table, and when, against whoever is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::hub::golden::ownership::{Act, Recorded, Step};
use crate::model::Timestamp;
use crate::storage::layer::tapped::{Effect, Seen};
use crate::storage::table::{Entity, Match, Row, TableOp, Value};
use crate::storage::{ErrorKind, Storage};

/// The loop of a .NET worker that waits for a partition.
const TICK: Duration = Duration::from_secs(1);
/// What .NET leases for unless told otherwise; the recorded workers were told 15 seconds, too few for a shared hub.
const LEASE: Duration = Duration::from_secs(30);
const TABLE: &str = "TestPartitions";

/// What a write of a partition row does in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Move {
    Create,
    Want,
    Claim,
    Renew,
    Drain,
    Release,
    /// Of ours alone: who leaves does not wait any more.
    Withdraw,
}

/// A move, the columns that it changed, and the columns with their types that the row has after it.
pub(super) type Shape = (Move, BTreeSet<String>, BTreeMap<String, &'static str>);

/// The shape of a write over what was there.
pub(super) fn shape(before: Option<&Entity>, after: &Entity) -> Shape {
    let stored = |row: &Entity| -> BTreeMap<String, Value> {
        row.properties.iter().filter(|(_, v)| **v != Value::Null).map(|(k, v)| (k.to_owned(), v.clone())).collect()
    };
    let (old, new) = (before.map(stored).unwrap_or_default(), stored(after));
    let changed: BTreeSet<String> =
        old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).cloned().collect();
    let has = |name: &str| changed.contains(name);
    let kind = match (before, after.text("CurrentOwner")) {
        (None, _) => Move::Create,
        (_, Some(_)) if has("CurrentOwner") => Move::Claim,
        (_, None) if has("CurrentOwner") => Move::Release,
        _ if has("NextOwner") && after.text("NextOwner").is_none() => Move::Withdraw,
        _ if has("NextOwner") => Move::Want,
        _ if has("IsDraining") => Move::Drain,
        _ => Move::Renew,
    };
    let types = new.into_iter().map(|(name, value)| (name, type_of(&value))).collect();
    (kind, changed, types)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Bool(_) => "flag",
        Value::DateTime(_) => "time",
        _ => "other",
    }
}

/// The writes to each row, in order, with who the row was before: of a recording, or of a tap.
pub(super) fn shapes<'a>(rows: impl Iterator<Item = &'a Entity>) -> BTreeMap<String, Vec<(Shape, &'a Entity)>> {
    let mut last: BTreeMap<String, &Entity> = BTreeMap::new();
    let mut shapes: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for row in rows {
        // Queues of two hubs differ in front of their number.
        let number = row.row_key.rsplit('-').next().unwrap_or_default().to_owned();
        let before = last.insert(number.clone(), row);
        shapes.entry(number).or_default().push((shape(before, row), row));
    }
    shapes
}

/// The rows of the partition table that were written, in order.
pub(super) fn written(seen: &[Seen]) -> Vec<(Timestamp, Entity)> {
    let mut rows = Vec::new();
    for seen in seen.iter().filter(|seen| seen.done) {
        let Effect::Rows { table, ops, .. } = &seen.effect else { continue };
        for op in ops.iter().filter(|_| table == TABLE) {
            if let TableOp::Insert(row) | TableOp::Replace(row, _) = op {
                rows.push((seen.at, row.clone()));
            }
        }
    }
    rows
}

/// A worker of the recording.
pub(super) struct Scripted {
    pub(super) storage: Storage,
    /// Its id here, and in the recording.
    pub(super) id: &'static str,
    pub(super) role: &'static str,
    pub(super) now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Scripted {
    /// Plays the part of its role between two times of the recording; later steps shift if an earlier one had to wait.
    pub(super) async fn play(&self, recorded: &Recorded, from: Duration, until: Duration) {
        let moves = moves_of(recorded);
        let mut began = Instant::now();
        for (step, (kind, ..)) in recorded.0.iter().filter(|s| matches!(s.act, Act::Row(_))).zip(moves) {
            if step.role != self.role || step.at < from || step.at >= until {
                continue;
            }
            let due = began + (step.at - from);
            tokio::time::sleep_until(due).await;
            self.step(step, kind).await;
            began += Instant::now() - due;
        }
    }

    /// One write, in .NET's way: over the version that was read, again at once if that has changed.
    async fn step(&self, step: &Step, kind: Move) {
        let Act::Row(recorded) = &step.act else { return };
        let queue = format!("test-control-{}", recorded.row_key.rsplit('-').next().unwrap());
        loop {
            let row = self.row(&queue).await;
            let (owner, next) = (row.entity.text("CurrentOwner"), row.entity.text("NextOwner"));
            match kind {
                Move::Claim if owner.is_some() || next.is_some_and(|next| next != self.id) => {
                    tokio::time::sleep(TICK).await;
                    continue;
                }
                Move::Want => assert!(owner.is_some_and(|owner| owner != self.id) && next.is_none(), "{queue}: {row:?}"),
                Move::Renew | Move::Drain | Move::Release => assert_eq!(owner, Some(self.id), "{queue} is taken from its owner"),
                _ => {}
            }
            if self.replace(&row, self.translated(recorded, &row.entity, kind)).await {
                return;
            }
        }
    }

    /// The recorded row with the ids and times of here. Who waits is as the row has it, unless the move is about that.
    fn translated(&self, recorded: &Entity, before: &Entity, kind: Move) -> Entity {
        let now = (self.now)();
        let mut row = Entity::new("", before.row_key.clone());
        row.properties.clone_from(&recorded.properties);
        let old = |name: &str| before.properties.get(name).cloned().unwrap_or(Value::Null);
        row.set(
            "CurrentOwner",
            match kind {
                Move::Release => Value::Null,
                Move::Want => old("CurrentOwner"),
                _ => Value::string(self.id),
            },
        );
        row.set(
            "NextOwner",
            match kind {
                Move::Want => Value::string(self.id),
                Move::Claim => Value::Null,
                _ => old("NextOwner"),
            },
        );
        let renews = matches!(kind, Move::Claim | Move::Renew | Move::Drain);
        for (name, at) in [("OwnedSince", now), ("LastRenewal", now), ("ExpiresAt", now.plus(LEASE))] {
            let is_new = renews && (name != "OwnedSince" || kind == Move::Claim);
            row.set(name, if is_new { Value::DateTime(at) } else { old(name) });
        }
        row
    }

    pub(super) async fn row(&self, queue: &str) -> Row {
        self.storage.tables.get(TABLE, "", queue, &[]).await.unwrap()
    }

    /// Replaces the version that was read; `false` if it has changed.
    pub(super) async fn replace(&self, read: &Row, row: Entity) -> bool {
        match self.storage.tables.write(TABLE, &TableOp::Replace(row, Match::Etag(read.etag.clone()))).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
                false
            }
        }
    }

    /// A move that is in no recording: columns of the row as it is now, changed.
    pub(super) async fn change(&self, queue: &str, columns: &[(&'static str, Value)]) {
        let read = self.row(queue).await;
        let mut row = read.entity.clone();
        for (name, value) in columns {
            row.set(*name, value.clone());
        }
        assert!(self.replace(&read, row).await, "{queue} has changed meanwhile");
    }
}

/// The shape of every recorded row, in the order of the recording.
pub(super) fn moves_of(recorded: &Recorded) -> Vec<Shape> {
    let mut last: BTreeMap<&str, &Entity> = BTreeMap::new();
    recorded.rows().map(|(_, row)| shape(last.insert(&row.row_key, row), row)).collect()
}
