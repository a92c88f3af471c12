//! The task hub itself: its settings, its creation in .NET's order, and opening it with a checked partition count.

use std::sync::Arc;

use bytes::Bytes;

use super::app_lease::AppLease;
use super::awaited::AwaitedCode;
use super::codec::Encoding;
use super::history::Histories;
use super::instances::Instances;
use super::lanes::Lanes;
use super::names::Names;
use super::ownership::Partitions;
use super::parked::Parked;
use super::payloads::Payloads;
use super::queues::Queues;
use super::stored::{LeaseManager, StoredHub, stored_hub};
use super::table::Table;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::blob::PutCondition;
use crate::storage::error::OrNone;
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

/// What clients and workers share of a hub: its parts.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) queues: Arc<Queues>,
    pub(crate) histories: Histories,
    pub(crate) instances: Instances,
    pub(crate) payloads: Payloads,
    pub(crate) partitions: Partitions,
    pub(crate) app_lease: AppLease,
    pub(crate) parked: Parked,
    pub(crate) awaited: AwaitedCode,
    pub(crate) storage: Storage,
    pub(crate) names: Names,
    pub(crate) partition_count: u32,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    #[cfg(feature = "testing")]
    pub(crate) changes: Option<Arc<super::Changes>>,
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

    /// Whether the hub's .NET workers manage its partitions by leases of blobs (`UseTablePartitionManagement` off). Clients may use
    /// such a hub; a worker of this crate is refused, because it does not see those leases.
    #[must_use]
    pub fn is_run_with_blob_leases(&self) -> bool {
        !self.0.partitions.are_seen()
    }

    /// Waits for the ends of instances look when something has changed, instead of again and again. For a hub that was just opened.
    #[cfg(feature = "testing")]
    pub(crate) fn tells(mut self, changes: Arc<super::Changes>) -> Self {
        if let Some(hub) = Arc::get_mut(&mut self.0) {
            hub.changes = Some(changes);
        }
        self
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
        self.0.partition_count
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
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// Opens the hub, creating the queues, tables and partition rows that are missing.
    ///
    /// # Errors
    /// `NotFound` if the hub [must exist](Self::must_exist) and does not; `Invalid` for a name or partition count that Azure Storage cannot take; `Mismatch` if the hub exists with another
    /// partition count, or rows in its partition table that are no partitions; `Storage` if storage fails.
    pub async fn open(self) -> Result<TaskHub> {
        let names = Names::new(&self.name).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
        if let Some(count) = self.partitions
            && !(1..=limits::PARTITIONS_MAX).contains(&count)
        {
            let message = format!("a partition count of {count} is outside 1 to {}", limits::PARTITIONS_MAX);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let lanes = Lanes::to(&self.storage, &self.rng);
        let storage = &lanes.data;
        let stored = stored_hub(storage, &names).await?;
        if stored.is_none() && self.must_exist {
            let has_queues = storage.queues.count(&names.work_items).await.or_none()?.is_some();
            if has_queues && storage.tables.query(&names.partitions, &Query::default()).await.or_none()?.is_none() {
                return Err(in_another_case(&self.name));
            }
            let message = format!(
                "there is no task hub \"{}\" in this storage account; check the name and the account, or start a worker of the \
                 hub, which creates it",
                self.name
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let count = self.partitions.or(stored.map(|stored| stored.partitions)).unwrap_or(PARTITIONS_DEFAULT);
        let wanted = StoredHub { partitions: count, manager: stored.map_or(LeaseManager::Table, |stored| stored.manager) };
        if let Some(StoredHub { partitions: stored, .. }) = stored
            && stored != count
        {
            return Err(Error::new(
                ErrorKind::Mismatch,
                format!(
                    "task hub \"{}\" has {stored} partitions and was opened with {count}: every worker and client must use the \
                     same count, which cannot be changed later; open it with {stored}, or without a count",
                    self.name
                ),
            ));
        }
        let hub = Hub::new(names, wanted, lanes, self.encoding, self.clock, self.rng);
        if stored.is_none() {
            let is_missing = |error: &Error| error.kind() == ErrorKind::NotFound;
            hub.ensure().await.map_err(|error| if is_missing(&error) { in_another_case(&self.name) } else { error })?;
            // Several may create at once, with different counts: the rows tell whose count it is.
            if stored_hub(&hub.storage, &hub.names).await? != Some(wanted) {
                let message =
                    format!("task hub \"{}\" was created meanwhile with another partition count; open it again", self.name);
                return Err(Error::new(ErrorKind::Mismatch, message));
            }
        }
        if !hub.partitions.are_seen() {
            tracing::warn!(
                hub = hub.names_hub(),
                "partitions are managed by leases of blobs: clients may use this hub, a worker of taskhub is refused"
            );
        }
        Ok(TaskHub(Arc::new(hub)))
    }
}

/// What is created and then not found is there under another name: Azurite tells the names of tables apart by case when it looks
/// for them, and not when it creates them; the names of queues are in lower case.
fn in_another_case(name: &str) -> Error {
    let message = format!(
        "the queues of a task hub \"{name}\" are in this storage account and its tables are not: open it by the name under which it was \
         created, in the same case; if it was deleted in part, delete the queues that begin with \"{}-\" too",
        name.to_ascii_lowercase()
    );
    Error::new(ErrorKind::NotFound, message)
}

impl Hub {
    fn new(names: Names, stored: StoredHub, lanes: Lanes, encoding: Encoding, clock: Clock, rng: Rng) -> Self {
        let StoredHub { partitions: partition_count, manager } = stored;
        let table = |storage: &Storage, name: &str| Table { store: Arc::clone(&storage.tables), name: name.to_owned() };
        let data = |name: &str| table(&lanes.data, name);
        let hub = names.hub.clone();
        let payloads =
            Payloads { blobs: Arc::clone(&lanes.data.blobs), container: names.large_messages.clone(), rng: rng.clone() };
        let histories = Histories {
            table: data(&names.history),
            payloads: payloads.clone(),
            hub: hub.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
        };
        let instances = Instances {
            table: data(&names.instances),
            payloads: payloads.clone(),
            histories: histories.clone(),
            hub: hub.clone(),
            clock: clock.clone(),
        };
        let queues = Arc::new(Queues::new(&names, partition_count, &lanes, payloads.clone(), encoding, rng.clone()));
        let parked = Parked {
            table: data(&names.poison),
            payloads: payloads.clone(),
            queues: Arc::clone(&queues),
            instances: instances.clone(),
            hub: hub.clone(),
            clock: clock.clone(),
        };
        let app_lease = AppLease {
            blobs: Arc::clone(&lanes.leases.blobs),
            container: names.app_lease.clone(),
            info_blob: names.app_lease_info.clone(),
            hub,
        };
        Self {
            partitions: Partitions { table: table(&lanes.leases, &names.partitions), manager },
            awaited: AwaitedCode { table: data(&names.awaited), queues: Arc::clone(&queues), clock: clock.clone() },
            queues,
            histories,
            instances,
            payloads,
            app_lease,
            parked,
            storage: lanes.data,
            names,
            partition_count,
            clock,
            rng,
            #[cfg(feature = "testing")]
            changes: None,
        }
    }

    /// The hub's name as given.
    pub(crate) fn names_hub(&self) -> &str {
        &self.names.hub
    }

    /// Refuses a hub in which a worker would own every partition beside somebody else.
    pub(crate) fn check_lease_manager(&self) -> Result<()> {
        if self.partitions.are_seen() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Mismatch,
            format!(
                "task hub \"{}\" ({} partitions) is run with the blob lease manager, whose leases this worker does not see; \
                 set useTablePartitionManagement to true in the .NET workers, stop them, and delete the container {}",
                self.names.hub, self.partition_count, self.names.leases
            ),
        ))
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
        for partition in 0..self.partition_count {
            let queue = names.control_queue(partition);
            storage.queues.create_queue(&queue).await?;
            rows.push(TableOp::Insert(Entity::new("", queue).with("IsDraining", Value::Bool(false))));
        }
        create(|| storage.tables.transact(&names.partitions, &rows)).await
    }

    async fn delete(&self) -> Result<()> {
        let (names, storage) = (&self.names, &self.storage);
        storage.queues.delete_queue(&names.work_items).await.or_none()?;
        for partition in 0..self.partition_count {
            storage.queues.delete_queue(&names.control_queue(partition)).await.or_none()?;
        }
        for table in [&names.history, &names.instances, &names.poison, &names.awaited, &names.partitions] {
            storage.tables.delete_table(table).await.or_none()?;
        }
        for container in [&names.large_messages, &names.leases, &names.app_lease] {
            storage.blobs.delete_container(container).await.or_none()?;
        }
        Ok(())
    }

    /// The time by the clock of the hub.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
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
