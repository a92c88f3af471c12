//! The layout of a task hub on storage, in parts: queues, histories, instances, payloads, partitions, the app lease, parked messages,
//! awaited code. No user code runs here.

pub(crate) mod app_lease;
mod awaited;
pub(crate) mod blob_names;
#[cfg(feature = "testing")]
mod changes;
mod codec;
mod creation;
mod doorbell;
mod drains;
mod exported;
mod fnv;
mod gzip;
pub(crate) mod histories;
mod hold;
pub(crate) mod instances;
pub(crate) mod keys;
mod lanes;
pub(crate) mod lease;
mod measured;
mod names;
mod parked;
pub(crate) mod partitions;
mod payloads;
mod purge;
mod queues;
mod readers;
mod received;
mod rewind;
mod sent;
mod stored;
mod table;
mod task_hub;
#[cfg(test)]
mod tests;
mod usage;
mod visible_calls;
mod waiting;

use std::sync::Arc;

pub use awaited::{Awaited, AwaitedKind};
pub(crate) use awaited::{INSTANCE_IDS_MAX, Need};
#[cfg(feature = "testing")]
pub(crate) use changes::{Changes, Telling};
pub(crate) use doorbell::Doorbell;
pub use drains::Draining;
pub use exported::ExportedInstance;
pub(crate) use fnv::partition_of;
pub(crate) use histories::rows;
pub(crate) use hold::Hold;
pub(crate) use instances::InstanceRow;
pub(crate) use lanes::renew_on_this_thread;
pub use parked::PoisonMessage;
pub(crate) use purge::{Purged, Removed};
pub(crate) use queues::QueueId;
pub(crate) use readers::Reader;
pub(crate) use received::{Arrival, Body, Held, InBlob, Received, Unreadable};
pub(crate) use rewind::{Called, Stand, Standing};
pub(crate) use sent::{Sent, Way};
pub use task_hub::{TaskHub, TaskHubBuilder};
#[cfg(test)]
pub(crate) use tests::golden;
pub use usage::WorkerUsage;

use app_lease::AppLease;
use awaited::AwaitedCode;
use codec::Encoding;
use drains::Drains;
use histories::Histories;
use instances::Instances;
use lanes::Lanes;
use names::Names;
use parked::Parked;
use partitions::Partitions;
use payloads::Payloads;
use queues::Queues;
use stored::StoredHub;
use table::Table;
use usage::UsageRows;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Sink;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::traces::Tracer;
use crate::usage::Meter;

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
    pub(crate) drains: Drains,
    pub(crate) usage: UsageRows,
    /// Counts the calls of this process.
    pub(crate) meter: Meter,
    pub(crate) metrics: Sink,
    pub(crate) tracer: Tracer,
    pub(crate) storage: Storage,
    pub(crate) names: Names,
    pub(crate) partition_count: u32,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    #[cfg(feature = "testing")]
    pub(crate) changes: Option<Arc<Changes>>,
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
            watchers: instances::Watchers::default(),
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
            usage: UsageRows { table: data(&names.awaited), clock: clock.clone() },
            meter: lanes.meter,
            metrics: lanes.metrics,
            tracer: Tracer::default(),
            drains: Drains { table: data(&names.awaited), clock: clock.clone() },
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
    pub(crate) fn name(&self) -> &str {
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

    /// The time by the clock of the hub.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
