//! Writing an instance row: under a version, and never over what another worker has committed since.

use super::Instances;
use super::mark::change_behind_mark;
use super::projection::{self, RowChange};
use super::row::{StoredRow, TAGS_BLOB};
use crate::error::{Error, ErrorKind, Result};
use crate::hub::fnv::fnv1a;
use crate::hub::payloads::is_large_column;
use crate::hub::{blob_names, keys};
use crate::model::{RuntimeStatus, Timestamp};
use crate::sabotage::{self, Sabotage};
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Etag, Match, Row, TableOp, Value};

/// What the writer of a row knows of it.
#[derive(Clone, Debug)]
pub(crate) enum RowVersion {
    Absent,
    Is(Etag),
}

impl RowVersion {
    fn merge(self, entity: Entity) -> TableOp {
        match self {
            _ if sabotage::is(Sabotage::RowVersionIgnored) => TableOp::UpsertMerge(entity),
            Self::Absent => TableOp::Insert(entity),
            Self::Is(etag) => TableOp::Merge(entity, Match::Etag(etag)),
        }
    }
}

/// What a checkpoint does to the row of its instance.
#[derive(Debug)]
pub(super) struct RowWrite<'a> {
    pub(super) instance_id: &'a str,
    pub(super) change: RowChange,
    /// A message of the instance was parked: as long as it is, the row shows that.
    pub(super) may_bear_mark: bool,
    /// The version of the sentinel that the checkpoint left or found.
    pub(super) committed: Option<&'a Etag>,
    /// Executions that this one has replaced: their rows may be written over.
    pub(super) superseded: &'a [String],
}

/// What became of the write of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowWritten {
    /// The row has this version now.
    Is(Etag),
    /// Nothing was written: the row is that of a start that is to replace this execution, and the start needs it.
    OfNewStart,
    /// Nothing was written: another worker has committed since, and writes the row.
    Lost,
}

impl RowWrite<'_> {
    /// Whether the row is that of a start that this execution does not know and that has not begun, or was terminated before it did.
    fn is_of_new_start(&self, row: &Entity) -> bool {
        let Some(theirs) = row.text("ExecutionId").filter(|id| !id.is_empty()) else { return false };
        let is_known = |id: &str| id.eq_ignore_ascii_case(theirs);
        let has_begun =
            |status: &str| ![RuntimeStatus::Pending, RuntimeStatus::Terminated].map(RuntimeStatus::name).contains(&status);
        !row.text("RuntimeStatus").is_none_or(has_begun)
            && self.change.entity.text("ExecutionId").is_some_and(|own| !is_known(own))
            && !self.superseded.iter().any(|id| is_known(id))
    }

    /// Whether the columns alone do not tell what to write.
    fn depends_on_row(&self) -> bool {
        self.may_bear_mark || self.change.clears_output
    }

    fn over(&self, row: Option<Row>) -> TableOp {
        let changes = &self.change.entity;
        let Some(Row { entity: mut row, etag, .. }) = row else { return RowVersion::Absent.merge(changes.clone()) };
        let is_replaced = self.may_bear_mark && change_behind_mark(&mut row, changes)
            || self.change.clears_output && change_without_output(&mut row, changes);
        if is_replaced { TableOp::Replace(row, Match::Etag(etag)) } else { RowVersion::Is(etag).merge(changes.clone()) }
    }
}

/// Applies the changes to a row whose `Output` must become null, which a merge cannot do. `false` if there is no output to clear.
fn change_without_output(row: &mut Entity, changes: &Entity) -> bool {
    if row.properties.remove("Output").is_none() {
        return false;
    }
    row.properties.merge(&changes.properties);
    row.properties.remove("Output");
    true
}

/// The most attempts to write a row while others write it, or replies are lost.
const ROW_TRIES_MAX: usize = 8;

/// What became of a conditional write.
#[derive(Debug, PartialEq)]
pub(crate) enum IfWritten {
    /// The row stands so, in this version.
    Is(Etag),
    /// It was written, in a version that is not known: an earlier try has done it, and somebody may have written over it since.
    Before,
    /// The condition did not hold.
    Lost,
}

impl Instances {
    /// Writes the row of a new start.
    pub(crate) async fn write_pending(&self, entity: Entity, replaced: Option<&Etag>) -> Result<IfWritten> {
        let (key, execution_id) = (entity.partition_key.clone(), entity.text("ExecutionId").map(str::to_owned));
        let op = match replaced {
            Some(etag) => TableOp::Replace(entity, Match::Etag(etag.clone())),
            None => TableOp::Insert(entity),
        };
        let written = self.write_if(&op).await?;
        if written != IfWritten::Lost {
            return Ok(written);
        }
        // If the reply to the first attempt was lost and a worker has begun the start since, the row looks like a rival's.
        let row = self.table.get(&key, "", &["ExecutionId"]).await.or_none_in_it()?;
        let is_ours = row.is_some_and(|row| row.entity.text("ExecutionId") == execution_id.as_deref());
        Ok(if is_ours { IfWritten::Before } else { IfWritten::Lost })
    }

    /// Writes a row over the version that is known, or creates it; large columns go to blobs of their own. Nothing is
    /// written if somebody has committed since, or over the row of a start that is to replace the execution.
    ///
    /// No write is unconditional, because a delayed request can reach the service after its own retry, and after the row of a later turn.
    pub(super) async fn write(&self, mut write: RowWrite<'_>, mut known: Option<RowVersion>) -> Result<RowWritten> {
        self.offload(&mut write.change.entity).await?;
        if write.depends_on_row() {
            known = None;
        }
        let mut conflict = None;
        for _ in 0..ROW_TRIES_MAX {
            let op = match known.take() {
                Some(version) => version.merge(write.change.entity.clone()),
                None => {
                    let row = self.row_to_change(&write).await?;
                    // The row is read first: a worker that commits now has yet to write its row, which changes the version read here.
                    if self.histories.version(write.instance_id).await?.as_ref() != write.committed {
                        return Ok(RowWritten::Lost);
                    }
                    if row.as_ref().is_some_and(|row| write.is_of_new_start(&row.entity)) {
                        return Ok(RowWritten::OfNewStart);
                    }
                    write.over(row)
                }
            };
            match self.put(&op).await {
                Ok(etag) => return Ok(etag.map_or(RowWritten::Lost, RowWritten::Is)),
                Err(e) if is_conflict(&e) || e.outcome_unknown() => conflict = Some(e),
                Err(e) => return Err(e.into()),
            }
        }
        Err(unwritten(&write.change.entity.partition_key, conflict))
    }

    async fn row_to_change(&self, write: &RowWrite<'_>) -> Result<Option<Row>> {
        let columns: &[&str] = if write.depends_on_row() { &[] } else { &["ExecutionId", "RuntimeStatus"] };
        Ok(self.table.get(&write.change.entity.partition_key, "", columns).await.or_none_in_it()?)
    }

    /// Merges columns into this version of the row. `false` if it has changed or gone.
    pub(crate) async fn merge_version(&self, entity: Entity, etag: &Etag) -> Result<bool> {
        Ok(self.write_if(&TableOp::Merge(entity, Match::Etag(etag.clone()))).await? != IfWritten::Lost)
    }

    /// Replaces this version of the row. `false` if it has changed or gone.
    pub(crate) async fn replace_version(&self, entity: Entity, etag: &Etag) -> Result<bool> {
        Ok(self.write_if(&TableOp::Replace(entity, Match::Etag(etag.clone()))).await? != IfWritten::Lost)
    }

    /// One conditional write.
    async fn write_if(&self, op: &TableOp) -> Result<IfWritten> {
        let mut lost = None;
        for _ in 0..ROW_TRIES_MAX {
            match self.put(op).await {
                Ok(version) => return Ok(version.map_or(IfWritten::Before, IfWritten::Is)),
                // The change may come from an earlier attempt of this write.
                Err(e) if is_conflict(&e) => {
                    let is_written = lost.is_some() && self.is_written(op).await?;
                    return Ok(if is_written { IfWritten::Before } else { IfWritten::Lost });
                }
                Err(e) if e.outcome_unknown() && self.is_written(op).await? => return Ok(IfWritten::Before),
                Err(e) if e.outcome_unknown() => lost = Some(e),
                Err(e) => return Err(e.into()),
            }
        }
        Err(unwritten(op.keys().0, lost))
    }

    /// Whether the row says what this write says.
    async fn is_written(&self, op: &TableOp) -> Result<bool> {
        let (TableOp::Insert(entity) | TableOp::Replace(entity, _) | TableOp::Merge(entity, _)) = op else { return Ok(false) };
        let row = self.table.get(&entity.partition_key, &entity.row_key, &[]).await.or_none_in_it()?;
        Ok(row.is_some_and(|row| {
            let same = |(name, value): (&str, &Value)| *value == Value::Null || row.entity.properties.get(name) == Some(value);
            entity.properties.iter().all(same)
        }))
    }

    /// Ends an instance that has not started. `false` if its row has changed meanwhile.
    pub(crate) async fn terminate_pending(
        &self,
        instance_id: &str,
        stored: &StoredRow,
        reason: Option<&str>,
        at: Timestamp,
    ) -> Result<bool> {
        let mut row = projection::terminated_pending(instance_id, reason, at, self.clock.now()).entity;
        self.offload(&mut row).await?;
        self.merge_version(row, &stored.etag).await
    }

    /// Moves large columns of an instance row to blobs. `Input` and `Output` then hold URLs; `Tags` is empty, and a column beside it holds
    /// the name of the blob, as in .NET.
    pub(crate) async fn offload(&self, row: &mut Entity) -> Result<()> {
        for column in ["Input", "Output"] {
            let Some(text) = row.text(column).filter(|text| is_large_column(text)) else { continue };
            let name = blob_names::instance_blob(&row.partition_key, self.payloads.random_suffix(), column);
            self.payloads.put(&name, text).await?;
            row.set(column, Value::String(self.payloads.url(&name)));
        }
        if let Some(text) = row.text("Tags").filter(|text| is_large_column(text)) {
            // Every checkpoint writes the same tags: they have one blob.
            let name = blob_names::instance_blob(&row.partition_key, fnv1a(text.as_bytes()), "Tags");
            self.payloads.put(&name, text).await?;
            row.set("Tags", Value::string(""));
            row.set(TAGS_BLOB, Value::String(name));
        }
        Ok(())
    }
}

fn unwritten(key: &str, last: Option<storage::Error>) -> Error {
    let (id, why) = (keys::unescape(key), last.map(|e| e.to_string()).unwrap_or_default());
    Error::new(
        ErrorKind::Storage,
        format!("row of instance \"{id}\": {ROW_TRIES_MAX} tries to write it failed, the last one by {why}"),
    )
}

/// Whether the row is not what the write was meant for.
pub(super) fn is_conflict(error: &storage::Error) -> bool {
    use storage::ErrorKind::{AlreadyExists, NotFound, Precondition};
    matches!(error.kind, AlreadyExists | NotFound | Precondition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, TaskHub};
    use crate::rng::Rng;
    use crate::storage::layer::lost::LostAnswer;
    use crate::storage::memory::Memory;

    fn showing(status: RuntimeStatus) -> Entity {
        Entity::new("i", "").with("RuntimeStatus", Value::string(status.name()))
    }

    fn write(status: RuntimeStatus, committed: Option<&Etag>) -> RowWrite<'_> {
        let change = RowChange { entity: showing(status), clears_output: false };
        RowWrite { instance_id: "i", change, may_bear_mark: false, committed, superseded: &[] }
    }

    async fn status(hub: &Hub) -> Option<RuntimeStatus> {
        hub.instances.read("i", false).await.unwrap().and_then(|stored| stored.row.status)
    }

    async fn hub(takes_effect: bool) -> TaskHub {
        let memory = Memory::new(crate::clock::Clock::system(), Rng::seeded(1));
        let lost = LostAnswer::to("table.merge", "TestInstances", takes_effect);
        TaskHub::open(memory.storage().layered(lost), "Test").await.unwrap()
    }

    #[tokio::test]
    async fn a_row_write_that_arrives_after_later_ones_changes_nothing() {
        for takes_effect in [false, true] {
            let TaskHub(hub) = hub(takes_effect).await;
            let over = |known, status| hub.instances.write(write(status, None), Some(known));
            let RowWritten::Is(first) = over(RowVersion::Absent, RuntimeStatus::Pending).await.unwrap() else { panic!() };
            // Nobody knows whether the first try will still arrive.
            let second = over(RowVersion::Is(first.clone()), RuntimeStatus::Running).await.unwrap();
            let RowWritten::Is(second) = second else { panic!("{second:?}") };
            over(RowVersion::Is(second), RuntimeStatus::Completed).await.unwrap();
            let late = TableOp::Merge(showing(RuntimeStatus::Running), Match::Etag(first));
            hub.storage.tables.write("TestInstances", &late).await.unwrap_err();
            assert_eq!(status(&hub).await, Some(RuntimeStatus::Completed), "{takes_effect}");
        }
    }

    #[tokio::test]
    async fn a_start_that_a_worker_has_begun_meanwhile_is_still_ours() {
        let TaskHub(hub) = hub(false).await;
        let pending = |execution_id: &str| showing(RuntimeStatus::Pending).with("ExecutionId", Value::string(execution_id));
        assert!(matches!(hub.instances.write_pending(pending("ours"), None).await.unwrap(), IfWritten::Is(_)));
        hub.instances.write(write(RuntimeStatus::Running, None), None).await.unwrap();
        let again = hub.instances.write_pending(pending("ours"), None).await.unwrap();
        assert_eq!(again, IfWritten::Before, "the answer to the first try was lost");
        assert_eq!(hub.instances.write_pending(pending("a rival's"), None).await.unwrap(), IfWritten::Lost);
        assert_eq!(status(&hub).await, Some(RuntimeStatus::Running));
    }

    #[tokio::test]
    async fn a_row_is_left_to_whoever_has_committed_since() {
        let TaskHub(hub) = hub(false).await;
        assert!(hub.histories.insert_fence("i", "x").await.unwrap());
        let mine = hub.histories.version("i").await.unwrap();
        let stale = |known| hub.instances.write(write(RuntimeStatus::Running, mine.as_ref()), known);
        assert_ne!(stale(None).await.unwrap(), RowWritten::Lost, "nobody has");
        assert!(hub.histories.bump_fence("i", mine.as_ref().unwrap()).await.unwrap());
        let his = hub.histories.version("i").await.unwrap();
        hub.instances.write(write(RuntimeStatus::Completed, his.as_ref()), None).await.unwrap();
        assert_eq!(stale(None).await.unwrap(), RowWritten::Lost);
        assert_eq!(stale(Some(RowVersion::Absent)).await.unwrap(), RowWritten::Lost, "also behind a conflict");
        assert_eq!(status(&hub).await, Some(RuntimeStatus::Completed));
    }

    #[tokio::test]
    async fn the_row_of_a_start_is_left_to_it_by_the_execution_that_it_is_to_replace() {
        let TaskHub(hub) = hub(false).await;
        let naming = |status, execution: &str| showing(status).with("ExecutionId", Value::string(execution));
        assert!(matches!(
            hub.instances.write_pending(naming(RuntimeStatus::Pending, "new"), None).await.unwrap(),
            IfWritten::Is(_)
        ));
        let by = |execution: &str, superseded| {
            let change = RowChange { entity: naming(RuntimeStatus::Running, execution), clears_output: false };
            hub.instances.write(RowWrite { change, superseded, ..write(RuntimeStatus::Running, None) }, None)
        };
        assert_eq!(by("old", &[]).await.unwrap(), RowWritten::OfNewStart);
        assert_eq!(status(&hub).await, Some(RuntimeStatus::Pending));
        let superseded = ["NEW".to_owned()];
        assert!(matches!(by("newer", &superseded).await.unwrap(), RowWritten::Is(_)));
        assert!(matches!(by("old", &[]).await.unwrap(), RowWritten::Is(_)), "it has begun, and is not of a new start");
    }
}
