//! The table of histories: what an instance has decided and received, under the version of its sentinel.

mod append;
mod batches;
mod history;
mod remainder;
pub(crate) mod rows;
mod soundness;

pub(crate) use append::{Append, Appended, Committed};
pub(super) use batches::estimate;
pub(crate) use history::History;
use history::drop_torn_rows;
use rows::Sentinel;
pub(super) use soundness::why_not_ended;

use super::payloads::Payloads;
use super::table::Table;
use super::{blob_names, keys};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DecodeError, ParentInstance};
use crate::rng::Rng;
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Etag, Filter, Match, Query, TableOp};

/// The table of histories.
#[derive(Clone, Debug)]
pub(crate) struct Histories {
    pub(super) table: Table,
    pub(super) payloads: Payloads,
    /// The name of the hub, for the log.
    pub(super) hub: String,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
}

/// The most attempts to read a history of several pages while others commit.
const READS_MAX: usize = 5;

impl Histories {
    /// Loads the current execution of an instance; empty if it never committed.
    pub(crate) async fn load(&self, instance_id: &str) -> Result<History> {
        let rows = self.query_history(instance_id).await?;
        let mut history = History::default();
        let Some(row) = rows.iter().rev().find(|r| r.entity.row_key == rows::SENTINEL) else {
            return match rows.first() {
                Some(row) => Err(corrupt(instance_id, &row.entity.row_key, &"the history has no sentinel")),
                None => Ok(history),
            };
        };
        history.sentinel = rows::sentinel_from_entity(&row.entity).map_err(|e| corrupt(instance_id, rows::SENTINEL, &e))?;
        history.etag = Some(row.etag.clone());
        history.execution_id = Some(history.sentinel.execution_id.clone());
        let count = soundness::rows_of_execution(rows.iter().map(|row| &row.entity), &history.sentinel)
            .map_err(|flaw| flaw.within(instance_id))?;
        for (ordinal, row) in (0..).zip(rows.into_iter().take(count)) {
            let mut entity = row.entity;
            self.payloads.inline_blobs(&mut entity).await?;
            let event = rows::event_from_entity(&entity).map_err(|e| unreadable(instance_id, &entity.row_key, &e))?;
            history.blobs.extend(event.blobs.iter().map(|(_, blob)| (ordinal, blob.clone())));
            history.events.push(event);
        }
        soundness::check_events(&history.events, &history.sentinel).map_err(|flaw| flaw.within(instance_id))?;
        history.stored_rows = history.events.len() as u64;
        if history.is_torn() {
            history.unclosed = drop_torn_rows(&mut history.events);
            tracing::debug!(instance = instance_id, "rows of an interrupted checkpoint are ignored");
        }
        history.complete_rows = history.events.len();
        if let Some(remainder) = history.sentinel.remainder.clone() {
            let carried = self.read_remainder(instance_id, &remainder).await?;
            history.take_up(remainder.from, carried);
        }
        Ok(history)
    }

    /// A consistent read of the rows. One page is consistent, several are not: a commit between two pages can be missing from the first
    /// page while the sentinel of the last page already covers it. A read of several pages counts only if the sentinel has not changed since
    /// before the read.
    async fn query_history(&self, instance_id: &str) -> Result<Vec<storage::table::Row>> {
        let query = Query { filter: Some(Filter::eq("PartitionKey", keys::escape(instance_id))), ..Query::default() };
        let first = self.table.page(&query).await?;
        if first.continuation.is_none() {
            return Ok(first.rows);
        }
        for _ in 0..READS_MAX {
            let before = self.version(instance_id).await?;
            let rows = self.table.rows(query.clone()).await?;
            let after = rows.last().filter(|row| row.entity.row_key == rows::SENTINEL).map(|row| &row.etag);
            if before.as_ref() == after {
                return Ok(rows);
            }
            tracing::debug!(instance = instance_id, "the history changed between two of its pages and is read again");
        }
        Err(Error::new(
            ErrorKind::Storage,
            format!("history of instance \"{instance_id}\" changed during each of {READS_MAX} reads; try again later"),
        ))
    }

    /// The rows of the current execution in order, with its id and the version of the sentinel; `None` without history.
    pub(super) async fn rows_of_execution(&self, instance_id: &str) -> Result<Option<(String, Etag, Vec<storage::table::Row>)>> {
        let mut rows = self.query_history(instance_id).await?;
        let Some(row) = rows.iter().rev().find(|r| r.entity.row_key == rows::SENTINEL) else { return Ok(None) };
        let etag = row.etag.clone();
        let sentinel = rows::sentinel_from_entity(&row.entity).map_err(|e| corrupt(instance_id, rows::SENTINEL, &e))?;
        let count = soundness::rows_of_execution(rows.iter().map(|row| &row.entity), &sentinel)
            .map_err(|flaw| flaw.within(instance_id))?;
        rows.truncate(count);
        Ok(Some((sentinel.execution_id, etag, rows)))
    }

    /// Which instance has started the current execution, by two of its rows alone; `None` if none has, or there is no history.
    pub(crate) async fn parent(&self, instance_id: &str) -> Result<Option<ParentInstance>> {
        let of_interest = Filter::Or(vec![Filter::eq("EventType", "ExecutionStarted"), Filter::eq("RowKey", rows::SENTINEL)]);
        let filter = Some(Filter::And(vec![Filter::eq("PartitionKey", keys::escape(instance_id)), of_interest]));
        let select = rows::OF_PARENT.map(str::to_owned).to_vec();
        let found = self.table.rows(Query { filter, select, ..Query::default() }).await?;
        let execution =
            found.iter().find(|row| row.entity.row_key == rows::SENTINEL).and_then(|row| row.entity.text("ExecutionId"));
        // Rows of an execution that was replaced may be left behind those of this one.
        let is_start =
            |row: &&storage::table::Row| row.entity.row_key != rows::SENTINEL && row.entity.text("ExecutionId") == execution;
        let Some(start) = found.iter().find(is_start) else { return Ok(None) };
        rows::parent(&start.entity).map_err(|e| corrupt(instance_id, &start.entity.row_key, &e))
    }

    /// The version of the sentinel, which every commit changes; `None` without history.
    pub(super) async fn version(&self, instance_id: &str) -> Result<Option<Etag>> {
        let (key, columns) = (keys::escape(instance_id), ["ExecutionId"]);
        let row = self.table.get(&key, rows::SENTINEL, &columns).await.or_none_in_it()?;
        Ok(row.map(|row| row.etag))
    }

    /// Whether there is a history.
    pub(crate) async fn is_there(&self, instance_id: &str) -> Result<bool> {
        Ok(self.version(instance_id).await?.is_some())
    }

    /// Whether the history is of this execution, complete or not.
    pub(crate) async fn is_of(&self, instance_id: &str, execution_id: &str) -> Result<bool> {
        let row = self.table.get(&keys::escape(instance_id), rows::SENTINEL, &["ExecutionId"]).await.or_none_in_it()?;
        Ok(row.is_some_and(|row| row.entity.text("ExecutionId").is_some_and(|id| id.eq_ignore_ascii_case(execution_id))))
    }

    async fn read_sentinel(&self, instance_id: &str) -> Result<Option<(Sentinel, Etag)>> {
        let key = keys::escape(instance_id);
        let row = self.table.get(&key, rows::SENTINEL, &[]).await.or_none_in_it()?;
        let Some(row) = row else { return Ok(None) };
        let sentinel = rows::sentinel_from_entity(&row.entity).map_err(|e| corrupt(instance_id, rows::SENTINEL, &e))?;
        Ok(Some((sentinel, row.etag)))
    }

    /// The existing blobs of history rows. Those of the instance row are left out: clients write them too, and no version fences them.
    pub(crate) async fn blobs(&self, instance_id: &str) -> Result<Vec<String>> {
        let prefix = blob_names::column_blobs(&keys::escape(instance_id));
        let mut found = self.payloads.list(&prefix).await?;
        // A slash leads into the folder of another instance, and a name without row key is that of the instance row.
        found.retain(|name| !name[prefix.len()..].contains('/') && !name[prefix.len()..].starts_with('-'));
        Ok(found)
    }

    /// Notes on the sentinel that a message of the instance is parked: later turns heed the mark on the instance row, and one
    /// that is under way has loaded an older version and cannot commit.
    pub(super) async fn note_parked(&self, instance_id: &str) -> Result<()> {
        let op = TableOp::Merge(rows::sentinel_parked(&keys::escape(instance_id)), Match::Any);
        self.table.write(&op).await.or_none()?;
        Ok(())
    }

    /// Gives an instance without history a sentinel, so that whoever loaded none can no longer commit its first turn. `false` if
    /// somebody else has.
    pub(crate) async fn insert_fence(&self, instance_id: &str, execution_id: &str) -> Result<bool> {
        let fence = self.fence(&keys::escape(instance_id), execution_id);
        match self.table.write(&TableOp::Insert(fence)).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == storage::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// A sentinel of an execution without rows.
    pub(super) fn fence(&self, key: &str, execution_id: &str) -> Entity {
        let sentinel = Sentinel {
            execution_id: execution_id.to_owned(),
            is_complete: true,
            completed_at: Some(self.clock.now()),
            ..Sentinel::default()
        };
        rows::sentinel_to_entity(key, &sentinel)
    }

    /// Gives the sentinel a new version, so that whoever loaded the old one can no longer commit.
    /// `false` if somebody else has written meanwhile.
    pub(crate) async fn bump_fence(&self, instance_id: &str, etag: &Etag) -> Result<bool> {
        let entity = Entity::new(keys::escape(instance_id), rows::SENTINEL);
        match self.table.write(&TableOp::Merge(entity, Match::Etag(etag.clone()))).await {
            Ok(_) => {
                tracing::debug!(instance = instance_id, "the sentinel moved, so that no slow writer can commit");
                Ok(true)
            }
            Err(e) if matches!(e.kind, storage::ErrorKind::Precondition | storage::ErrorKind::NotFound) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

pub(super) fn corrupt(instance_id: &str, row: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("history of instance \"{instance_id}\", row {row}: {error}"))
}

fn unreadable(instance_id: &str, row: &str, error: &DecodeError) -> Error {
    Error::corrupt(format!("history of instance \"{instance_id}\", row {row}: {error}"), error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::TaskHub;
    use crate::model::{EventKind, HistoryEvent, StoredEvent, Timestamp};
    use crate::storage::layer::{Call, Layer, Reply};
    use crate::storage::memory::Memory;

    /// Commits one more turn of the instance after each of the first reads of this kind.
    #[derive(Clone)]
    struct Rival {
        hub: TaskHub,
        read: &'static str,
        reads: Arc<AtomicUsize>,
        commits: usize,
    }

    impl Layer for Rival {
        async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> storage::error::Result<T>
        where
            T: Reply,
            F: Fn() -> Fut + Send + Sync,
            Fut: Future<Output = storage::error::Result<T>> + Send,
        {
            let answer = attempt().await;
            let is_read = call.op == self.read && call.target.0 == "TestHistory";
            if is_read && self.reads.fetch_add(1, SeqCst) < self.commits {
                commit(&self.hub).await;
            }
            answer
        }
    }

    /// The events of a turn; the first has the start.
    fn turn(is_first: bool) -> Vec<StoredEvent> {
        let start = is_first.then(|| EventKind::ExecutionStarted(Box::default()));
        let kinds = [Some(EventKind::OrchestratorStarted), start, Some(EventKind::OrchestratorCompleted)];
        kinds.into_iter().flatten().map(|kind| HistoryEvent::arriving(Timestamp::UNIX_EPOCH, kind).into()).collect()
    }

    /// One more turn.
    async fn commit(hub: &TaskHub) {
        let loaded = Box::pin(hub.0.histories.load("i")).await.unwrap();
        let first = loaded.events.len() as u64;
        let append = Append {
            instance_id: "i",
            execution_id: "x",
            etag: loaded.etag.as_ref(),
            first,
            events: &turn(first == 0),
            surplus: 0..0,
            carried_to: 0,
            remainder: None,
            applied: Vec::new(),
            superseded: Vec::new(),
            custom_status: None,
            ends_with: None,
        };
        let appended = hub.0.histories.append(append).await.unwrap();
        assert!(matches!(appended, Appended::Done(_)), "{appended:?}");
    }

    /// Loads a history of one turn, two rows to a page, beside a rival.
    async fn load_beside(read: &'static str, commits: usize) -> (TaskHub, Result<History>) {
        let memory = Memory::new(crate::clock::Clock::system(), Rng::seeded(1));
        let hub = TaskHub::open(memory.storage(), "Test").await.unwrap();
        commit(&hub).await;
        memory.set_page_limit(2);
        let rival = Rival { hub: hub.clone(), read, reads: Arc::default(), commits };
        let reader = TaskHub::open(memory.storage().layered(rival), "Test").await.unwrap();
        let loaded = reader.0.histories.load("i").await;
        (hub, loaded)
    }

    #[tokio::test]
    async fn rows_and_sentinel_of_a_history_of_several_pages_are_of_one_moment() {
        // The first page ends before the sentinel: a turn that is committed now lies between the two pages.
        for commits in 0..4 {
            let (hub, loaded) = load_beside("table.query", commits).await;
            let (loaded, stored) = (loaded.unwrap(), hub.0.histories.load("i").await.unwrap());
            assert_eq!((loaded.events.len(), &loaded.etag), (3 + 2 * commits, &stored.etag), "after {commits} commits");
            assert_eq!(loaded.events, stored.events);
        }
    }

    #[tokio::test]
    async fn a_history_that_changes_during_every_read_is_an_error_that_names_the_instance() {
        let (_, loaded) = load_beside("table.get", READS_MAX).await;
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains("\"i\"") && error.contains("try again"), "{error}");
    }
}
