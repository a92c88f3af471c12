//! The hub as a whole: who owns its partitions, and how much lies in its queues.

use futures::future::{try_join, try_join_all};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::Client;
use crate::error::Result;
use crate::hub::{Awaited, Draining, Hub, QueueId};
use crate::model::Timestamp;

/// What a hub looked like at one moment. The parts are read one after the other, so they may be of slightly different times.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStatus {
    /// The hub's name as given.
    pub name: String,
    /// When the look began, by this machine's clock.
    pub read_at: Timestamp,
    /// Every partition, in order.
    pub partitions: Vec<PartitionStatus>,
    /// The queue of activity requests.
    pub work_items: QueueStatus,
    /// How many messages are parked as poison.
    pub parked: usize,
    /// What messages wait for that no worker hosts which sees them, as [`Client::awaited`] gives it.
    pub awaited: Vec<Awaited>,
    /// Orchestrators of which no new instance begins.
    pub draining: Vec<Draining>,
    /// The app that took the app lease last, by the id under which its workers hold it: a hash of its name. `None` if none did.
    pub app_lease_owner: Option<String>,
    /// Whether .NET workers manage the partitions by leases of blobs: owners are not seen then.
    pub is_run_with_blob_leases: bool,
}

/// One partition: its control queue, and its row in the partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Its control queue.
    pub queue: QueueStatus,
    /// The worker that owns it. The lease may have expired; see `expires_at`.
    pub owner: Option<String>,
    /// The worker that waits for it.
    pub next_owner: Option<String>,
    /// Whether the owner is finishing its work to give the partition up.
    pub is_draining: bool,
    /// When the owner claimed it.
    pub owned_since: Option<Timestamp>,
    /// When the owner last renewed its lease.
    pub last_renewal: Option<Timestamp>,
    /// When others may claim it, unless the lease is renewed before.
    pub expires_at: Option<Timestamp>,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueStatus {
    /// Its name in the storage account.
    pub name: String,
    /// About how many messages it has, those included that are in work or not yet due.
    pub messages: u64,
    /// Since when the oldest message waits to be received: when it was put, or a timer was due, or a start was scheduled for.
    /// `None` if none waits.
    pub oldest_visible: Option<Timestamp>,
}

impl PartitionStatus {
    /// Whether a worker owns the partition under a lease that has not expired at `now`.
    #[must_use]
    pub fn is_owned(&self, now: Timestamp) -> bool {
        self.owner.is_some() && self.expires_at.is_some_and(|at| at > now)
    }
}

/// As the command `taskhub hub status` and the HTTP API show it; whether a partition is owned is told as of `read_at`.
impl Serialize for HubStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let partition = |p: &PartitionStatus| {
            json!({
                "queue": p.queue,
                "owner": p.owner,
                "nextOwner": p.next_owner,
                "isDraining": p.is_draining,
                "isOwned": p.is_owned(self.read_at),
                "ownedSince": p.owned_since,
                "lastRenewal": p.last_renewal,
                "expiresAt": p.expires_at,
            })
        };
        let all = json!({
            "name": self.name,
            "readAt": self.read_at,
            "partitions": self.partitions.iter().map(partition).collect::<Vec<_>>(),
            "workItems": self.work_items,
            "parked": self.parked,
            "draining": self.draining,
            "awaited": self.awaited,
            "appLeaseOwner": self.app_lease_owner,
            "isRunWithBlobLeases": self.is_run_with_blob_leases,
        });
        all.serialize(serializer)
    }
}

/// About how many messages the queues of a hub have, hidden ones included: those that are being worked on, and timers that are not due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLengths {
    /// In the control queue of each partition, in their order.
    pub control: Vec<u64>,
    /// In the work-item queue.
    pub work_items: u64,
}

impl QueueLengths {
    /// Lengths that were seen elsewhere, or are made up.
    #[must_use]
    pub fn new(control: impl Into<Vec<u64>>, work_items: u64) -> Self {
        Self { control: control.into(), work_items }
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.work_items == 0 && self.control.iter().all(|messages| *messages == 0)
    }
}

impl Client {
    /// How much lies in the queues, by one call for each and no other.
    ///
    /// # Errors
    /// `Storage` or `NotFound` if storage fails or a queue of the hub is missing.
    pub async fn queue_lengths(&self) -> Result<QueueLengths> {
        let queues = &self.hub.queues;
        let control = try_join_all((0..self.hub.partition_count).map(|id| queues.length(QueueId::Control(id))));
        let (control, work_items) = try_join(control, queues.length(QueueId::WorkItems)).await?;
        Ok(QueueLengths { control, work_items })
    }

    /// Reads the partition table, by one call: whether the hub is there and its storage answers.
    ///
    /// # Errors
    /// `Storage` or `NotFound` if storage fails or the table is missing.
    pub async fn ping(&self) -> Result<()> {
        self.hub.partitions.read().await.map(drop)
    }

    /// Looks at the hub as a whole.
    ///
    /// # Errors
    /// `Storage` or `NotFound` if storage fails or a queue or table of the hub is missing.
    pub async fn hub_status(&self) -> Result<HubStatus> {
        let hub = &*self.hub;
        let read_at = hub.now();
        let rows = hub.partitions.read().await?;
        let queues = (0..hub.partition_count).map(|id| queue_status(hub, QueueId::Control(id)));
        let (queues, work_items) = try_join(try_join_all(queues), queue_status(hub, QueueId::WorkItems)).await?;
        let partitions = queues.into_iter().map(|queue| {
            let row = rows.iter().find(|stored| stored.row.queue == queue.name).map(|stored| stored.row.clone());
            let row = row.unwrap_or_default();
            PartitionStatus {
                queue,
                owner: row.current_owner,
                next_owner: row.next_owner,
                is_draining: row.is_draining,
                owned_since: row.owned_since,
                last_renewal: row.last_renewal,
                expires_at: row.expires_at,
            }
        });
        let partitions = partitions.collect();
        let parked = hub.parked.count().await?;
        let awaited = self.awaited().await?;
        let draining = hub.drains.all().await?;
        let app_lease_owner = hub.app_lease.info().await?.0.owner_id;
        let is_run_with_blob_leases = !hub.partitions.are_seen();
        let name = hub.name().to_owned();
        Ok(HubStatus {
            name,
            read_at,
            partitions,
            work_items,
            parked,
            awaited,
            draining,
            app_lease_owner,
            is_run_with_blob_leases,
        })
    }
}

async fn queue_status(hub: &Hub, queue: QueueId) -> Result<QueueStatus> {
    let (messages, oldest_visible) = hub.queues.look_at(queue).await?;
    Ok(QueueStatus { name: hub.queues.name(queue).to_owned(), messages, oldest_visible })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::clock::Clock;
    use crate::model::Timestamp;
    use crate::rng::Rng;
    use crate::storage::Storage;
    use crate::{Client, ErrorKind, Orchestrator, TaskHub, Worker};

    #[tokio::test(start_paused = true)]
    async fn a_hub_is_seen_as_it_is_and_never_made_by_looking() {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let storage = Storage::memory(clock.clone(), Rng::seeded(1));
        let open = || TaskHub::builder(storage.clone(), "Test").clock(clock.clone());
        let missing = open().must_exist().open().await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("no task hub \"Test\""), "{missing}");
        let hub = open().partitions(2).open().await.unwrap();
        let client = Client::new(&open().must_exist().open().await.unwrap());

        client.start_json("Missing", None).instance_id("i").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = client.hub_status().await.unwrap();
        assert_eq!(before.partitions.len(), 2);
        assert!(before.partitions.iter().all(|p| p.owner.is_none() && !p.is_owned(before.read_at)));
        let waiting: Vec<_> = before.partitions.iter().filter_map(|p| p.queue.oldest_visible).collect();
        assert_eq!(waiting.len(), 1);
        assert_eq!(before.read_at.since(waiting[0]), Duration::from_secs(5));

        let working =
            tokio::time::timeout(Duration::from_secs(20), Worker::builder(&hub).worker_id("w").run(std::future::pending()));
        assert!(working.await.is_err());
        let after = client.hub_status().await.unwrap();
        assert!(after.partitions.iter().all(|p| p.owner.as_deref() == Some("w") && p.is_owned(after.read_at)));
        assert_eq!((after.work_items.name.as_str(), after.work_items.messages, after.parked), ("test-workitems", 0, 0));
        assert!(after.partitions.iter().all(|p| p.queue.oldest_visible.is_none()));
        assert_eq!(
            (before.app_lease_owner, after.app_lease_owner.as_deref()),
            (None, Some("811c9dc5-0000-0000-0000-000000000000"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_put_for_later_waits_since_it_is_due() {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let storage = Storage::memory(clock.clone(), Rng::seeded(1));
        let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock.clone()).open().await.unwrap();
        let client = Client::new(&hub);
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let due = clock.now().plus(hours(48));
        client.start_json("Later", None).at(due).await.unwrap();
        let waiting_since = async || client.hub_status().await.unwrap().partitions[0].queue.oldest_visible;
        assert_eq!(waiting_since().await, None);
        tokio::time::sleep(hours(49)).await;
        assert_eq!(waiting_since().await, Some(due));

        const NAP: Orchestrator<(), ()> = Orchestrator::new("Nap");
        let worker = Worker::builder(&hub).orchestrator(NAP, async |ctx, ()| {
            ctx.timer(Duration::from_secs(48 * 3600)).await;
            Ok(())
        });
        client.start(NAP, ()).await.unwrap();
        let fires = clock.now().plus(hours(48));
        assert!(tokio::time::timeout(Duration::from_secs(20), worker.run(std::future::pending())).await.is_err());
        tokio::time::sleep(hours(50)).await;
        let since = waiting_since().await.unwrap();
        assert!(since >= fires && since < fires.plus(hours(1)), "{since}");
    }
}
