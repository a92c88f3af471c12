//! The task hub itself: its settings, its creation in .NET's order, and opening it with a checked partition count.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use serde::Deserialize;

use super::codec::Encoding;
use super::doorbell::Doorbell;
use super::names::{HUB_INFO_BLOB, Names};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::rng::Rng;
use crate::storage::blob::PutCondition;
use crate::storage::error::OrNone;
use crate::storage::layer::limited::Limited;
use crate::storage::layer::retrying::{RetryPolicy, Retrying};
use crate::storage::layer::traced::Traced;
use crate::storage::table::{Entity, Query, TableOp, Value};
use crate::storage::{self, Storage};

/// A task hub: the queues, tables and blobs that workers and clients share.
///
/// Cheap to clone. Opening it creates what is missing; see [`TaskHub::builder`].
#[derive(Clone, Debug)]
pub struct TaskHub(pub(crate) Arc<Hub>);

/// How to open a task hub. Made by [`TaskHub::builder`].
#[derive(Clone, Debug)]
pub struct TaskHubBuilder {
    storage: Storage,
    name: String,
    partitions: Option<u32>,
    encoding: Encoding,
    must_exist: bool,
    clock: Clock,
    rng: Rng,
}

/// What clients and workers share of a hub.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) storage: Storage,
    pub(crate) names: Names,
    pub(crate) partitions: u32,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) encoding: Encoding,
    sequence: AtomicI64,
    pub(super) work_items_bell: Doorbell,
    pub(super) control_bells: Vec<Doorbell>,
}

/// Partitions of a hub that is created without a word about it, as in .NET.
const PARTITIONS_DEFAULT: u32 = 4;
/// How often something is created whose replies are lost.
const CREATE_TRIES: u32 = 5;

impl TaskHub {
    /// Prepares to open the hub `name` on a storage account.
    #[must_use]
    pub fn builder(storage: Storage, name: impl Into<String>) -> TaskHubBuilder {
        TaskHubBuilder {
            storage,
            name: name.into(),
            partitions: None,
            encoding: Encoding::Plain,
            must_exist: false,
            clock: Clock::system(),
            rng: Rng::system(),
        }
    }

    /// Opens (or creates) a hub with the stored partition count, or four.
    ///
    /// # Errors
    /// As [`TaskHubBuilder::open`].
    pub async fn open(storage: Storage, name: impl Into<String>) -> Result<Self> {
        Self::builder(storage, name).open().await
    }

    /// The hub's name as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.names.hub
    }

    /// Deletes the hub with all its instances, messages and payloads. Workers should have stopped.
    ///
    /// # Errors
    /// `Storage` if storage fails; what is left then goes with the next call.
    pub async fn delete(self) -> Result<()> {
        self.0.delete().await
    }

    /// How many partitions (control queues) the hub has; fixed for its life.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.0.partitions
    }
}

impl TaskHubBuilder {
    /// The partition count, 1 to 16. Without it: the count that is stored, or four for a new hub.
    #[must_use]
    pub fn partitions(mut self, count: u32) -> Self {
        self.partitions = Some(count);
        self
    }

    /// Writes queue messages in Base64, for a hub shared with .NET provider 1.x. Both forms are always read.
    #[must_use]
    pub fn base64_messages(mut self) -> Self {
        self.encoding = Encoding::Base64;
        self
    }

    /// Refuses to create anything: opening a hub that does not exist is an error. For tools that look at hubs.
    #[must_use]
    pub fn must_exist(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// Another source of time: for tests under paused time.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of randomness: for runs that repeat.
    #[must_use]
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// Opens the hub, creating the queues, tables and partition rows that are missing.
    ///
    /// # Errors
    /// `NotFound` if the hub [must exist](Self::must_exist) and does not; `Invalid` for a name or partition count that Azure Storage cannot take; `Mismatch` if the hub exists with another
    /// partition count or is run with the blob lease manager; `Storage` if storage fails.
    pub async fn open(self) -> Result<TaskHub> {
        let names = Names::new(&self.name).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
        if let Some(count) = self.partitions
            && !(1..=limits::PARTITIONS_MAX).contains(&count)
        {
            let message = format!("a partition count of {count} is outside 1 to {}", limits::PARTITIONS_MAX);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let retrying = Retrying::new(RetryPolicy::default(), self.rng.fork());
        // Outermost, so that waiting for a place is not taken for a slow answer.
        let limited = Limited::new(calls_at_once(), &names.partitions);
        let storage = self.storage.layered(Traced).layered(retrying).layered(limited);
        let stored = stored_partitions(&storage, &names).await?;
        if stored.is_none() && self.must_exist {
            let message = format!(
                "there is no task hub \"{}\" in this storage account; check the name and the account, or start a worker of the \
                 hub, which creates it",
                self.name
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let partitions = self.partitions.or(stored).unwrap_or(PARTITIONS_DEFAULT);
        if let Some(stored) = stored
            && stored != partitions
        {
            return Err(Error::new(
                ErrorKind::Mismatch,
                format!(
                    "task hub \"{}\" has {stored} partitions and was opened with {partitions}: every worker and client must use the \
                     same count, which cannot be changed later; open it with {stored}, or without a count",
                    self.name
                ),
            ));
        }
        let hub = Hub {
            storage,
            names,
            partitions,
            clock: self.clock,
            rng: self.rng,
            encoding: self.encoding,
            sequence: AtomicI64::new(0),
            work_items_bell: Doorbell::default(),
            control_bells: (0..partitions).map(|_| Doorbell::default()).collect(),
        };
        if stored.is_none() {
            hub.ensure().await?;
            // Several may create at once, with different counts: the rows tell whose count it is.
            if stored_partitions(&hub.storage, &hub.names).await? != Some(partitions) {
                let message =
                    format!("task hub \"{}\" was created meanwhile with another partition count; open it again", self.name);
                return Err(Error::new(ErrorKind::Mismatch, message));
            }
        }
        Ok(TaskHub(Arc::new(hub)))
    }
}

/// As many storage calls as .NET's default, but no fewer than two cores would have.
fn calls_at_once() -> usize {
    25 * std::thread::available_parallelism().map_or(2, usize::from).max(2)
}

/// The count that the hub was created with: its partition rows, or the info blob of the blob lease manager.
async fn stored_partitions(storage: &Storage, names: &Names) -> Result<Option<u32>> {
    let (mut query, mut rows) = (Query::default(), 0);
    while let Some(page) = storage.tables.query(&names.partitions, &query).await.or_none()? {
        rows += page.rows.len();
        if page.continuation.is_none() {
            break;
        }
        query.continuation = page.continuation;
    }
    if rows > 0 {
        return Ok(u32::try_from(rows).ok());
    }
    let blob = storage.blobs.get(&names.leases, HUB_INFO_BLOB, 64 * 1024).await.or_none()?;
    let Some(blob) = blob else { return Ok(None) };
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        partition_count: u32,
    }
    let info: Info = serde_json::from_slice(&blob.bytes)
        .map_err(|e| Error::new(ErrorKind::Corrupt, format!("blob {}/taskhub.json: {e}", names.leases)))?;
    Err(Error::new(
        ErrorKind::Mismatch,
        format!(
            "task hub \"{}\" ({} partitions) is run with the blob lease manager, whose leases this worker does not see; \
             set useTablePartitionManagement to true in the .NET workers, stop them, and delete the container {}",
            names.hub, info.partition_count, names.leases
        ),
    ))
}

impl Hub {
    /// The hub's name as given.
    pub(crate) fn names_hub(&self) -> &str {
        &self.names.hub
    }

    /// Creates what is missing, in .NET's order; what exists is fine, so that several may do so at once.
    pub(crate) async fn ensure(&self) -> Result<()> {
        let (names, storage) = (&self.names, &self.storage);
        exists_is_fine(storage.blobs.create_container(&names.app_lease).await)?;
        let (container, info) = (&names.app_lease, &names.app_lease_info);
        create(|| storage.blobs.put(container, info, Bytes::from_static(b"{}"), PutCondition::Absent)).await?;
        exists_is_fine(storage.tables.create_table(&names.partitions).await)?;
        exists_is_fine(storage.tables.create_table(&names.history).await)?;
        exists_is_fine(storage.tables.create_table(&names.instances).await)?;
        storage.queues.create_queue(&names.work_items).await?;
        // The rows come last and in one transaction: whoever finds them finds a whole hub, with its true count.
        let mut rows = Vec::new();
        for partition in 0..self.partitions {
            let queue = names.control_queue(partition);
            storage.queues.create_queue(&queue).await?;
            rows.push(TableOp::Insert(Entity::new("", queue).with("IsDraining", Value::Bool(false))));
        }
        create(|| storage.tables.transact(&names.partitions, &rows)).await
    }

    async fn delete(&self) -> Result<()> {
        let (names, storage) = (&self.names, &self.storage);
        storage.queues.delete_queue(&names.work_items).await.or_none()?;
        for partition in 0..self.partitions {
            storage.queues.delete_queue(&names.control_queue(partition)).await.or_none()?;
        }
        for table in [&names.history, &names.instances, &names.poison, &names.partitions] {
            storage.tables.delete_table(table).await.or_none()?;
        }
        for container in [&names.large_messages, &names.app_lease] {
            storage.blobs.delete_container(container).await.or_none()?;
        }
        Ok(())
    }

    /// The next number of the sender's counter (wire-format 3.2); it breaks ties between messages of one second.
    pub(crate) fn next_sequence_number(&self) -> i64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Creates what is not repeated after a lost reply by itself: here it may be, because what the lost one left is fine.
async fn create<T, F: Future<Output = storage::error::Result<T>>>(attempt: impl Fn() -> F) -> Result<()> {
    for _ in 1..CREATE_TRIES {
        match attempt().await {
            Err(error) if error.outcome_unknown() => {}
            result => return exists_is_fine(result),
        }
    }
    exists_is_fine(attempt().await)
}

fn exists_is_fine<T>(result: storage::error::Result<T>) -> Result<()> {
    match result {
        Err(e) if e.kind != storage::ErrorKind::AlreadyExists => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::layer::faulty::{Faults, Faulty, Odds};
    use crate::storage::memory::Memory;

    #[tokio::test(start_paused = true)]
    async fn a_hub_is_opened_and_created_although_calls_fail() {
        let odds = Odds { refused: 0.1, lost_reply: 0.1, ..Odds::default() };
        for seed in 0..50 {
            let memory = Memory::new(Clock::paused(crate::model::Timestamp::UNIX_EPOCH), Rng::seeded(seed));
            let faulty = Faulty::new(Faults::everywhere(odds, std::time::Duration::ZERO), Rng::seeded(seed));
            for _ in 0..2 {
                let storage = memory.storage().layered(faulty.clone());
                let hub = TaskHub::builder(storage, "Test").rng(Rng::seeded(seed)).open().await.unwrap();
                hub.0.ensure().await.unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_are_counted_over_short_pages() {
        let (clock, rng) = (Clock::paused(crate::model::Timestamp::UNIX_EPOCH), Rng::seeded(1));
        let memory = Memory::new(clock, rng);
        memory.set_page_limit(1);
        for expected in [None, Some(3)] {
            let builder = TaskHub::builder(memory.storage(), "Test");
            let builder = if expected.is_none() { builder.partitions(3) } else { builder };
            assert_eq!(builder.open().await.unwrap().partitions(), 3);
        }
    }
}
