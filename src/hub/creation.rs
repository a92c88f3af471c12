//! Creating the queues, tables and containers of a hub, and deleting them.

use bytes::Bytes;

use super::Hub;
use super::partitions::PartitionRow;
use crate::error::{Error, ErrorKind, Result};
use crate::storage;
use crate::storage::blob::PutCondition;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, TableOp, Value};

/// The most attempts to create something while replies are lost.
const CREATE_TRIES: u32 = 5;

impl Hub {
    /// Creates whatever is missing, in .NET's order. What exists is left alone, so several processes may do this at once.
    pub(crate) async fn ensure(&self) -> Result<()> {
        let (names, storage) = (&self.names, &self.storage);
        exists_is_fine(storage.blobs.create_container(&names.app_lease).await)?;
        let (container, info) = (&names.app_lease, &names.app_lease_info);
        create(|| storage.blobs.put(container, info, Bytes::from_static(b"{}"), PutCondition::Absent)).await?;
        exists_is_fine(storage.tables.create_table(&names.partitions).await)?;
        exists_is_fine(storage.tables.create_table(&names.history).await)?;
        exists_is_fine(storage.tables.create_table(&names.instances).await)?;
        storage.queues.create_queue(&names.work_items).await?;
        // The rows are written last and in one transaction, so that they stand for a complete hub and its true partition count.
        let mut rows = Vec::new();
        for partition in 0..self.partition_count {
            let queue = names.control_queue(partition);
            storage.queues.create_queue(&queue).await?;
            rows.push(TableOp::Insert(Entity::new("", queue).with("IsDraining", Value::Bool(false))));
        }
        create(|| storage.tables.transact(&names.partitions, &rows)).await
    }

    pub(super) async fn delete(&self) -> Result<()> {
        let (names, storage) = (&self.names, &self.storage);
        // First what may be refused, so that nothing is half done.
        let lock = || storage.blobs.delete_container(&names.app_lease);
        match lock().await.or_none() {
            // Nobody gives the lease up; but whoever works, owns partitions.
            Err(error)
                if error.kind == storage::ErrorKind::Lease && !self.is_in_use().await? && self.app_lease.break_off().await? =>
            {
                lock().await.or_none().map_err(|error| self.lease_is_held(error))?;
            }
            locked => drop(locked.map_err(|error| self.lease_is_held(error))?),
        }
        storage.queues.delete_queue(&names.work_items).await.or_none()?;
        for partition in 0..self.partition_count {
            storage.queues.delete_queue(&names.control_queue(partition)).await.or_none()?;
        }
        for table in [&names.history, &names.instances, &names.poison, &names.awaited, &names.partitions] {
            storage.tables.delete_table(table).await.or_none()?;
        }
        for container in [&names.large_messages, &names.leases] {
            storage.blobs.delete_container(container).await.or_none()?;
        }
        Ok(())
    }

    /// Whether a worker owns a partition, or that cannot be seen.
    async fn is_in_use(&self) -> Result<bool> {
        let now = self.now();
        let is_owned = |row: &PartitionRow| row.current_owner.is_some() && row.expires_at.is_none_or(|at| at > now);
        Ok(!self.partitions.are_seen() || self.partitions.read().await?.iter().any(|stored| is_owned(&stored.row)))
    }

    /// A worker that was killed leaves its partitions to the end of their leases.
    fn lease_is_held(&self, error: storage::Error) -> Error {
        if error.kind != storage::ErrorKind::Lease {
            return error.into();
        }
        let message = format!(
            "the app lease of task hub \"{}\" is held by a worker that runs, or was killed less than a minute ago; nothing was deleted: \
             stop the worker, or try again in a minute",
            self.names.hub
        );
        Error::new(ErrorKind::Mismatch, message)
    }
}

/// Repeats a creation whose reply was lost. The layers below do not, but here it is safe: what the lost attempt left is accepted.
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
    use crate::TaskHub;
    use crate::clock::Clock;
    use crate::rng::Rng;
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
}
