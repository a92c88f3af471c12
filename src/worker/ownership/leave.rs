//! How a worker gives up partitions: each is released when its drain has ended, and nothing that it asked for stays behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ownership, STOP_PATIENCE};
use crate::error::Result;
use crate::hub::partitions::{PartitionRow, StoredPartition};

impl Ownership {
    /// Writes the release of every partition whose drain has ended.
    pub(super) async fn release_drained(&mut self) -> Result<()> {
        let ended: Vec<_> = self
            .owned
            .iter()
            .filter(|(_, o)| o.drained.load(std::sync::atomic::Ordering::Acquire))
            .map(|(queue, _)| queue.clone())
            .collect();
        for queue in ended {
            self.release(&queue).await?;
        }
        Ok(())
    }

    async fn release(&mut self, queue: &str) -> Result<()> {
        let Some(owned) = self.owned.get(queue) else { return Ok(()) };
        let mut stored = owned.stored.clone();
        // Somebody may ask for the row while we release it; then its version has changed and the request must stay.
        while self.shared.hub.partitions.write(&stored.row.released(), &stored.etag).await?.is_none() {
            let rows = self.shared.hub.partitions.read().await?;
            match rows.into_iter().find(|s| s.row.queue == queue && s.row.is_owned_by(&self.shared.worker_id)) {
                Some(current) => stored = current,
                None => break,
            }
        }
        tracing::info!(partition = owned.partition.id, "partition released");
        self.owned.remove(queue);
        Ok(())
    }

    /// Hands every partition over: each is released as soon as it is drained.
    pub(super) async fn leave(mut self) {
        self.shared.hosting.leaves();
        for owned in self.owned.values_mut().filter(|o| !o.is_draining) {
            owned.is_draining = true;
            self.shared.drain(&owned.partition, &owned.drained, &self.drained);
        }
        self.take_back().await;
        let options = &self.shared.options;
        // Every drain ends by itself by then.
        let deadline = Instant::now() + options.drain_timeout + options.drop_timeout + STOP_PATIENCE;
        while !self.owned.is_empty() && Instant::now() < deadline {
            let drained = Arc::clone(&self.drained);
            tokio::select! {
                biased;
                () = drained.notified() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            match tokio::time::timeout(STOP_PATIENCE, self.release_drained()).await {
                Ok(released) => {
                    let outages = &self.shared.outages;
                    if let Some((error, failures)) =
                        outages.after("partition could not be released", || self.shared.worker_id.clone(), &released)
                    {
                        tracing::warn!(failures, %error, "a partition could not be released; tried again until the end of its drain");
                    }
                    if released.is_err() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        self.drained.notify_one();
                    }
                }
                Err(_) => {
                    tracing::warn!("the partition table does not answer; the leases will expire");
                    return;
                }
            }
        }
    }

    pub(super) async fn take_back(&self) {
        match tokio::time::timeout(STOP_PATIENCE, self.withdraw()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the partition table could not be read; others wait until leases expire")
            }
            Err(_) => tracing::warn!("the partition table does not answer; others wait until leases expire"),
        }
    }

    /// Takes back what the table says of this worker beside the partitions that it drains: nobody may wait for one who has left.
    async fn withdraw(&self) -> Result<()> {
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for StoredPartition { row, etag } in self.shared.hub.partitions.read().await? {
                let Some(row) = self.withdrawn(row) else { continue };
                changed |= self.shared.hub.partitions.write(&row, &etag).await?.is_none();
            }
        }
        Ok(())
    }

    /// The row without a request of ours, and without a claim whose answer never came.
    fn withdrawn(&self, row: PartitionRow) -> Option<PartitionRow> {
        let me = Some(self.shared.worker_id.as_str());
        let is_forgotten = row.current_owner.as_deref() == me && !self.owned.contains_key(&row.queue);
        if row.next_owner.as_deref() == me {
            let row = PartitionRow { next_owner: None, ..row };
            return Some(if is_forgotten { row.released() } else { row });
        }
        is_forgotten.then(|| row.released())
    }
}
