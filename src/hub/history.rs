//! The history table: load an execution under its sentinel's version, append to it, all or nothing per 99 rows.

use std::ops::Range;

use uuid::Uuid;

use super::batches::{Prepared, count_rows};
use super::instance_row::BlobUrls;
use super::payloads::Payloads;
use super::remainder::Remainder;
use super::rows::{self, Sentinel};
use super::table::Table;
use super::{blob_names, keys, soundness};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DecodeError, EventKind, HistoryEvent, StoredEvent};
use crate::rng::Rng;
use crate::sabotage::{self, Sabotage};
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Etag, Filter, Match, Query, TableOp};

/// One execution as storage has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) execution_id: Option<String>,
    /// The events of complete checkpoints, in order.
    pub(crate) events: Vec<StoredEvent>,
    /// Version of the sentinel: the fence of every commit. `None` if the instance never committed.
    pub(crate) etag: Option<Etag>,
    /// Rows that are stored under this execution id; more than `complete_rows` after an interrupted checkpoint.
    pub(crate) stored_rows: u64,
    /// How many of the events have rows: the others are carried over, and an interrupted checkpoint has left them beside the rows.
    pub(crate) complete_rows: usize,
    /// What a first turn received whose checkpoint was interrupted before its end: no history yet, but all that is left of it.
    pub(crate) unclosed: Vec<StoredEvent>,
    /// What such a checkpoint left while another program has gone on without it: it arrives now.
    pub(crate) late: Vec<StoredEvent>,
    /// Blobs that the rows refer to, with the ordinals of these: garbage once the row is replaced.
    pub(crate) blobs: Vec<(u64, String)>,
    pub(crate) sentinel: Sentinel,
}

impl History {
    /// Whether the last checkpoint was interrupted between two transactions.
    pub(crate) fn is_torn(&self) -> bool {
        self.etag.is_some() && !self.sentinel.is_complete
    }

    /// Takes what the first turn received for a turn of its own, which the next commit closes.
    pub(crate) fn close_first_turn(&mut self) {
        self.events = std::mem::take(&mut self.unclosed);
        self.complete_rows = self.events.len();
        let end =
            self.events.last().map(|stored| HistoryEvent::arriving(stored.event.timestamp, EventKind::OrchestratorCompleted));
        self.events.extend(end.map(StoredEvent::from));
    }

    /// Whether this message has brought one of the events.
    pub(crate) fn has_message(&self, id: Uuid) -> bool {
        self.events.iter().any(|stored| stored.message_id == Some(id))
    }

    /// Events that are carried over and have no rows. They follow the rows, unless somebody who does not know of them has gone on.
    fn take_up(&mut self, from: u64, carried: Vec<StoredEvent>) {
        if !self.is_torn() || from != self.complete_rows as u64 {
            let is_turn = |stored: &StoredEvent| {
                matches!(stored.event.kind, EventKind::OrchestratorStarted | EventKind::OrchestratorCompleted)
            };
            self.late = carried.into_iter().filter(|stored| !is_turn(stored)).collect();
            return;
        }
        let blobs = (from..).zip(&carried).flat_map(|(at, stored)| stored.blobs.iter().map(move |(_, blob)| (at, blob.clone())));
        self.blobs.extend(blobs);
        self.events.extend(carried);
    }
}

/// What a checkpoint appends.
#[derive(Debug)]
pub(crate) struct Append<'a> {
    pub(crate) instance_id: &'a str,
    pub(crate) execution_id: &'a str,
    /// The version that was loaded; `None` inserts the sentinel.
    pub(crate) etag: Option<&'a Etag>,
    /// The ordinal of the first new row.
    pub(crate) first: u64,
    pub(crate) events: &'a [StoredEvent],
    /// Ordinals of an interrupted checkpoint that the new rows do not overwrite.
    pub(crate) surplus: Range<u64>,
    /// Up to this ordinal the rows are those that are carried over: whatever cuts the append off, none of these is lost.
    pub(crate) carried_to: u64,
    /// What the history that was loaded had of such events beside its rows.
    pub(crate) remainder: Option<&'a Remainder>,
    /// Kept on the sentinel, beside what .NET keeps there.
    pub(crate) applied: Vec<Uuid>,
    pub(crate) superseded: Vec<String>,
    pub(crate) custom_status: Option<String>,
}

/// What became of an append.
#[derive(Debug)]
pub(crate) enum Appended {
    /// It is stored; where the large columns of its events went, the new version of the sentinel, and blobs that were needed
    /// until now.
    Done { urls: BlobUrls, version: Option<Etag>, spent: Vec<String> },
    /// Another worker has written since the load: nothing of the last transaction is stored.
    Lost,
}

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
        let count = soundness::rows_of_execution(&rows, &history.sentinel).map_err(|flaw| flaw.within(instance_id))?;
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

    /// The rows as of one moment. A page shows one moment, several do not: what a rival commits between them can lie behind the
    /// first and before the second, under a sentinel that is newer than the rows. Such a read counts only if the sentinel is that
    /// of before it.
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

    /// The version of the sentinel, which every commit changes; `None` without history.
    pub(super) async fn version(&self, instance_id: &str) -> Result<Option<Etag>> {
        let (key, columns) = (keys::escape(instance_id), ["ExecutionId"]);
        let row = self.table.get(&key, rows::SENTINEL, &columns).await.or_none()?;
        Ok(row.map(|row| row.etag))
    }

    /// Appends events and moves the sentinel, in as many transactions as it takes.
    pub(crate) async fn append(&self, append: Append<'_>) -> Result<Appended> {
        let commit = self.rng.uuid();
        let mut etag = append.etag.cloned();
        let Prepared { batches, urls, blobs, remainder } = self.prepare(&append).await?;
        let (last, mut end) = (batches.len() - 1, append.first);
        for (number, mut ops) in batches.into_iter().enumerate() {
            end += count_rows(&ops);
            let sentinel = Sentinel {
                execution_id: append.execution_id.to_owned(),
                is_complete: number == last,
                completed_at: (number == last).then(|| self.clock.now()),
                applied: append.applied.clone(),
                superseded: append.superseded.clone(),
                custom_status: append.custom_status.clone(),
                remainder: remainder.as_ref().filter(|_| end < append.carried_to).and_then(|known| known.after(end)),
                commit: Some(commit_id(commit, number)),
                has_parked: false,
                is_fence: false,
            };
            ops.push(sentinel_op(append.instance_id, &sentinel, etag.as_ref()));
            match self.transact_fenced(append.instance_id, &ops, etag.as_ref(), &sentinel).await? {
                Some(new) => etag = Some(new),
                None => {
                    // What an earlier transaction of ours refers to is found by whoever finds that.
                    if number == 0 {
                        self.drop_unused(append.instance_id, &blobs).await;
                    }
                    return Ok(Appended::Lost);
                }
            }
        }
        let spent = append.remainder.into_iter().chain(&remainder).flat_map(|known| known.blobs.clone());
        Ok(Appended::Done { urls, version: etag, spent: spent.collect() })
    }

    /// Removes the blobs of a transaction that never takes effect any more.
    async fn drop_unused(&self, instance_id: &str, blobs: &[String]) {
        for blob in blobs {
            if let Err(error) = self.payloads.delete(blob).await {
                tracing::debug!(hub = self.hub, instance = instance_id, blob, %error, "a blob that nobody refers to stays");
            }
        }
    }

    /// One transaction under the fence. `None` if the fence did not hold.
    async fn transact_fenced(
        &self,
        instance_id: &str,
        ops: &[TableOp],
        expected: Option<&Etag>,
        sentinel: &Sentinel,
    ) -> Result<Option<Etag>> {
        for _ in 0..TRIES_AFTER_LOST_REPLY {
            let error = match self.table.transact(ops).await {
                Ok(mut etags) => return Ok(etags.pop().flatten()),
                Err(error) => error,
            };
            use storage::ErrorKind::{AlreadyExists, NotFound, Precondition};
            match error.kind {
                // Our own write, applied by a try whose reply was lost, looks like a rival's: read who wrote.
                AlreadyExists | Precondition | NotFound | storage::ErrorKind::Unknown => {
                    match self.read_sentinel(instance_id).await? {
                        Some((found, etag))
                            if found.commit == sentinel.commit || sabotage::is(Sabotage::AnyCommitTakenForOurs) =>
                        {
                            tracing::debug!(
                                instance = instance_id,
                                "the sentinel says that a transaction without an answer is stored"
                            );
                            return Ok(Some(etag));
                        }
                        found if error.outcome_unknown() && found.as_ref().map(|f| &f.1) == expected => {}
                        _ if error.outcome_unknown() || error.kind != NotFound => return Ok(None),
                        None => return Ok(None),
                        Some(_) => return Err(error.into()),
                    }
                }
                _ => return Err(error.into()),
            }
        }
        Err(Error::new(
            ErrorKind::Storage,
            format!("history of instance \"{instance_id}\": no answer to {TRIES_AFTER_LOST_REPLY} tries of one transaction"),
        ))
    }

    async fn read_sentinel(&self, instance_id: &str) -> Result<Option<(Sentinel, Etag)>> {
        let key = keys::escape(instance_id);
        let row = self.table.get(&key, rows::SENTINEL, &[]).await.or_none()?;
        let Some(row) = row else { return Ok(None) };
        let sentinel = rows::sentinel_from_entity(&row.entity).map_err(|e| corrupt(instance_id, rows::SENTINEL, &e))?;
        Ok(Some((sentinel, row.etag)))
    }

    /// The blobs of history rows that there are now. Not those of the instance row: clients too put these, beside every fence.
    pub(crate) async fn blobs(&self, instance_id: &str) -> Result<Vec<String>> {
        let prefix = blob_names::column_blobs(&keys::escape(instance_id));
        let mut found = self.payloads.list(&prefix).await?;
        // The folder of an instance whose id goes on in the same way is none of ours; a row without key is that of the instance.
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
        let sentinel = Sentinel {
            execution_id: execution_id.to_owned(),
            is_complete: true,
            completed_at: Some(self.clock.now()),
            ..Sentinel::default()
        };
        let entity = rows::sentinel_to_entity(&keys::escape(instance_id), &sentinel);
        match self.table.write(&TableOp::Insert(entity)).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == storage::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.into()),
        }
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

/// How often a transaction is sent again when its reply is lost and the sentinel shows that it was not applied.
const TRIES_AFTER_LOST_REPLY: usize = 5;

/// How often a history of several pages is read when each time somebody commits meanwhile.
const READS_MAX: usize = 5;

/// A checkpoint ends with `OrchestratorCompleted`; what an interrupted one left behind the last of them is not history:
/// its messages are decided again, under the same decision ids, when its inputs reappear. What a first turn received is answered.
fn drop_torn_rows(events: &mut Vec<StoredEvent>) -> Vec<StoredEvent> {
    if let Some(last) = events.iter().rposition(|e| matches!(e.event.kind, EventKind::OrchestratorCompleted)) {
        events.truncate(last + 1);
        return Vec::new();
    }
    let has_start = events.iter().any(|stored| matches!(stored.event.kind, EventKind::ExecutionStarted(_)));
    let received = std::mem::take(events).into_iter().take_while(|stored| stored.event.event_id < 0);
    received.filter(|_| has_start).collect()
}

fn sentinel_op(instance_id: &str, sentinel: &Sentinel, etag: Option<&Etag>) -> TableOp {
    let entity = rows::sentinel_to_entity(&keys::escape(instance_id), sentinel);
    match etag {
        _ if sabotage::is(Sabotage::SentinelUnchecked) => TableOp::UpsertMerge(entity),
        Some(etag) => TableOp::Merge(entity, Match::Etag(etag.clone())),
        None => TableOp::Insert(entity),
    }
}

/// Tells the transactions of one checkpoint apart when a lost reply has to be explained.
fn commit_id(commit: Uuid, number: usize) -> String {
    format!("{}-{number}", commit.simple())
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
    use crate::model::Timestamp;
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
        };
        let appended = hub.0.histories.append(append).await.unwrap();
        assert!(matches!(appended, Appended::Done { .. }), "{appended:?}");
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
