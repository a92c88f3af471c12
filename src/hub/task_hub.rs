//! The task hub that users open: its settings, and opening it with a checked partition count.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Hub;
use super::codec::Encoding;
use super::lanes::Lanes;
use super::names::Names;
use super::stored::{LeaseManager, StoredHub, stored_hub};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
#[cfg(feature = "metrics")]
use crate::metrics::Metrics;
use crate::metrics::Sink;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::error::OrNone;
use crate::storage::table::Query;
#[cfg(feature = "otel")]
use crate::traces::{Tracer, Traces};

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
    #[cfg(feature = "metrics")]
    metrics: Option<Metrics>,
    #[cfg(feature = "otel")]
    traces: Option<Traces>,
}

/// Partitions of a hub that is created without a word about it, as in .NET.
const PARTITIONS_DEFAULT: u32 = 4;

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
            #[cfg(feature = "metrics")]
            metrics: None,
            #[cfg(feature = "otel")]
            traces: None,
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

    /// The names of the hubs in a storage account, in order: those whose tables of instances and of histories are both there.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn list(storage: &Storage) -> Result<Vec<String>> {
        let lanes = Lanes::to(storage, &Rng::system());
        let tables: BTreeSet<_> = lanes.data.tables.list_tables().await?.into_iter().collect();
        let of_hub = |table: &String| {
            table.strip_suffix("Instances").filter(|hub| tables.contains(&format!("{hub}History"))).map(str::to_owned)
        };
        Ok(tables.iter().filter_map(of_hub).collect())
    }

    /// Deletes the hub with all its instances, messages and payloads. Workers should have stopped.
    ///
    /// # Errors
    /// `Mismatch` if an app holds the app lease and a worker runs, or was killed less than a minute ago; nothing is deleted then.
    /// `Storage` if storage fails; what is left then goes with the next call.
    pub async fn delete(self) -> Result<()> {
        self.0.delete().await
    }

    /// The same whoever holds the app lease, which is taken away from him. A worker that runs finds nothing any more; one of this crate that
    /// is started again, or of .NET, creates the hub anew.
    ///
    /// # Errors
    /// As [`delete`](Self::delete); `Mismatch` only if nothing tells who holds the lease, which ends within a minute once he has stopped.
    pub async fn delete_although_in_use(self) -> Result<()> {
        self.0.app_lease.break_off().await?;
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

    /// Measures what is done in the hub by this process, and what its storage calls take and cost: see [`metrics`](crate::metrics). Workers with
    /// metrics look at the queues of the hub too, by two calls each half minute for each queue.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Exports the spans of what is done in the hub by this process: see [`Traces`]. Instances that are started by its clients are traced then.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn traces(mut self, traces: &Traces) -> Self {
        self.traces = Some(traces.clone());
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
        #[cfg(feature = "metrics")]
        let metrics = Sink::of_hub(self.metrics.as_ref(), &self.name);
        #[cfg(not(feature = "metrics"))]
        let metrics = Sink::default();
        let lanes = Lanes::measured(&self.storage, &self.rng, metrics);
        let storage = &lanes.data;
        let stored = stored_hub(storage, &names).await?;
        if stored.is_none() && self.must_exist {
            let has_queues = storage.queues.count(&names.work_items).await.or_none()?.is_some();
            if has_queues && storage.tables.query(&names.partitions, &Query::default()).await.or_none()?.is_none() {
                return Err(in_another_case(&self.name));
            }
            let message = format!(
                "there is no task hub \"{}\" in this storage account; check the name and the account, or create it: a worker of the hub \
                 does, and `taskhub hub create`",
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
        #[cfg(feature = "otel")]
        let hub = Hub { tracer: Tracer::of(self.traces.as_ref()), ..hub };
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
                hub = hub.name(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

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
