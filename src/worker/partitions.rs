//! Which partitions this worker owns: claim, renew, hand over when asked, balance, and let go in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::inbox::Partition;
use crate::error::Result;
use crate::hub::ownership::{self, Judge, PartitionRow, StoredPartition};
use crate::storage::table::Etag;

/// A row that this worker owns, as it last wrote it.
#[derive(Debug)]
struct Owned {
    stored: StoredPartition,
    partition: Arc<Partition>,
    /// Set when the drain of the partition has ended.
    drained: Arc<std::sync::atomic::AtomicBool>,
    is_draining: bool,
}

/// The ownership of one worker. It runs in a task of its own, so that lease calls never wait behind data calls.
#[derive(Debug)]
pub(crate) struct Ownership {
    shared: Arc<Shared>,
    /// Cancelled when the worker stops or its app may no longer work.
    until: CancellationToken,
    owned: BTreeMap<String, Owned>,
    /// Rung when a drain has ended: the release is written at once.
    drained: Arc<Notify>,
    renewed: Instant,
    /// Whether somebody's partition is on its way to us.
    expecting: bool,
    /// Whether other workers own some of the partitions.
    alone: bool,
    /// When the earliest lease of somebody else may be called expired.
    next_expiry: Option<Duration>,
}

impl Ownership {
    pub(crate) fn new(shared: Arc<Shared>, until: CancellationToken) -> Self {
        let renewed = Instant::now();
        Self {
            shared,
            until,
            owned: BTreeMap::new(),
            drained: Arc::new(Notify::new()),
            renewed,
            expecting: false,
            alone: false,
            next_expiry: None,
        }
    }

    /// Owns what it can until it has to end, then hands everything over.
    pub(crate) async fn run(mut self) {
        while !self.until.is_cancelled() {
            if let Err(error) = self.pass().await {
                tracing::warn!(hub = self.shared.hub.names_hub(), %error, "a pass over the partition table failed");
            }
            let (drained, until) = (Arc::clone(&self.drained), self.until.clone());
            tokio::select! {
                biased;
                () = until.cancelled() => {}
                () = drained.notified() => {}
                () = tokio::time::sleep(self.pause()) => {}
            }
        }
        if !self.shared.stopping.is_cancelled() {
            // Workers of another app need not wait for open turns of this one: they are fenced.
            for owned in self.owned.values() {
                owned.partition.lose();
            }
        }
        self.leave().await;
    }

    fn pause(&self) -> Duration {
        let options = &self.shared.options;
        let until_renewal = options.lease_renewal.saturating_sub(self.renewed.elapsed());
        let pause = if self.expecting {
            options.handover_poll
        } else if self.alone {
            until_renewal
        } else {
            options.ownership_poll.min(until_renewal)
        };
        pause.min(self.next_expiry.unwrap_or(pause)).max(Duration::from_millis(50))
    }

    fn is_due(&self) -> bool {
        self.renewed.elapsed() + Duration::from_millis(100) >= self.shared.options.lease_renewal
    }

    /// Renews what is owned; reads and judges the table unless everything is owned and fresh.
    async fn pass(&mut self) -> Result<()> {
        self.release_drained().await?;
        let renewed = if self.is_due() && !self.owned.is_empty() { self.renew_all().await? } else { !self.owned.is_empty() };
        let all = self.owned.len() == self.shared.hub.partitions as usize;
        self.alone = all && self.owned.values().all(|o| !o.is_draining);
        if renewed && self.alone {
            self.expecting = false;
            self.next_expiry = None;
            return Ok(());
        }
        let rows = self.shared.hub.read_partitions().await?;
        let rows = self.judge(rows).await?;
        if self.until.is_cancelled() { Ok(()) } else { self.balance(&rows).await }
    }

    /// One transaction renews every row. `false` if one of them has changed: somebody waits for it, or took it.
    async fn renew_all(&mut self) -> Result<bool> {
        let before = Instant::now();
        let judge = self.shared.judge();
        let rows: Vec<_> = self.owned.values().map(|o| (o.stored.row.renewed(&judge), o.stored.etag.clone())).collect();
        let Some(etags) = self.shared.hub.write_partitions(&rows).await? else { return Ok(false) };
        for ((owned, (row, _)), etag) in self.owned.values_mut().zip(rows).zip(etags) {
            owned.stored = StoredPartition { row, etag };
            owned.partition.renewed_until(self.shared.fence_from(before));
        }
        self.renewed = before;
        Ok(true)
    }

    /// Goes through the rows as they are now. The rows as they are afterwards.
    async fn judge(&mut self, rows: Vec<StoredPartition>) -> Result<Vec<StoredPartition>> {
        let judge_me = self.shared.worker_id.clone();
        let mut after = Vec::new();
        let (mut next_expiry, mut all_renewed) = (None::<Duration>, true);
        let due = self.is_due();
        let before = Instant::now();
        for stored in rows {
            let judge = Judge { me: &judge_me, ..self.shared.judge() };
            let row = &stored.row;
            let queue = row.queue.clone();
            if row.is_owned_by(judge.me) {
                let (stored, renewed) = self.keep(stored, &judge, before, due).await?;
                all_renewed &= renewed;
                after.push(stored);
                continue;
            }
            if let Some(lost) = self.owned.remove(&queue) {
                tracing::warn!(
                    hub = self.shared.hub.names_hub(),
                    partition = lost.partition.id,
                    owner = row.current_owner,
                    "partition lost"
                );
                lost.partition.lose();
            }
            if self.until.is_cancelled() {
                // Whoever leaves neither takes nor asks.
                after.push(stored);
                continue;
            }
            if let Some(claimed) = row.claimed(&judge) {
                if let Some(etag) = self.shared.hub.write_partition(&claimed, &stored.etag).await? {
                    if let Some(owner) = &row.current_owner {
                        tracing::info!(hub = self.shared.hub.names_hub(), owner, "the lease of another worker had expired");
                    }
                    let stored = StoredPartition { row: claimed, etag };
                    self.listen(stored.clone(), before);
                    after.push(stored);
                    continue;
                }
            } else if ownership::is_abandoned(row, judge.me) {
                let wanted = row.wanted(judge.me);
                if let Some(etag) = self.shared.hub.write_partition(&wanted, &stored.etag).await? {
                    after.push(StoredPartition { row: wanted, etag });
                    continue;
                }
            } else if let Some(at) = row.expires_at {
                let left = at.plus(judge.skew).since(judge.now);
                next_expiry = Some(next_expiry.map_or(left, |n| n.min(left)));
            }
            after.push(stored);
        }
        if due && all_renewed {
            self.renewed = before;
        }
        self.next_expiry = next_expiry;
        self.expecting = after.iter().any(|s| s.row.next_owner.as_deref() == Some(&*judge_me));
        Ok(after)
    }

    /// A row of ours: adopt it, renew it when that is due, or begin to hand it over. The row afterwards; `false` if it has changed.
    async fn keep(
        &mut self,
        stored: StoredPartition,
        judge: &Judge<'_>,
        before: Instant,
        due: bool,
    ) -> Result<(StoredPartition, bool)> {
        let wanted = stored.row.next_owner.is_some();
        let next = match self.owned.get(&stored.row.queue) {
            Some(owned) if !due && owned.stored.etag == stored.etag && owned.is_draining == wanted => return Ok((stored, true)),
            Some(_) if wanted => stored.row.draining(judge),
            Some(_) => stored.row.renewed(judge),
            // Ours from before a restart under the same id: nothing of it is in memory, so who waits need not wait longer.
            None if wanted => stored.row.released(),
            None => stored.row.adopted(judge),
        };
        let Some(etag) = self.shared.hub.write_partition(&next, &stored.etag).await? else { return Ok((stored, false)) };
        let stored = StoredPartition { row: next, etag };
        match self.owned.get_mut(&stored.row.queue) {
            Some(owned) => {
                owned.partition.renewed_until(self.shared.fence_from(before));
                owned.stored = stored.clone();
                if wanted && !owned.is_draining {
                    tracing::info!(
                        hub = self.shared.hub.names_hub(),
                        partition = owned.partition.id,
                        next = stored.row.next_owner,
                        "handing over a partition"
                    );
                    owned.is_draining = true;
                    self.shared.drain(&owned.partition, &owned.drained, &self.drained);
                }
            }
            None if !wanted => self.listen(stored.clone(), before),
            None => {}
        }
        Ok((stored, true))
    }

    fn listen(&mut self, stored: StoredPartition, before: Instant) {
        let Some(id) = self.shared.partition_of_queue(&stored.row.queue) else { return };
        let partition = Arc::new(Partition::new(id, self.shared.fence_from(before), self.shared.options.places));
        tracing::info!(hub = self.shared.hub.names_hub(), partition = id, "partition owned");
        self.shared.listen(&partition);
        let drained = Arc::default();
        self.owned.insert(stored.row.queue.clone(), Owned { stored, partition, drained, is_draining: false });
    }

    /// Asks for partitions of workers that own more than their share.
    async fn balance(&mut self, rows: &[StoredPartition]) -> Result<()> {
        let view: Vec<PartitionRow> = rows.iter().map(|s| s.row.clone()).collect();
        for row in ownership::to_steal(&view, &self.shared.worker_id) {
            let etag: &Etag = &rows.iter().find(|s| s.row.queue == row.queue).expect("the view is made of the rows").etag;
            let wanted = row.wanted(&self.shared.worker_id);
            if self.shared.hub.write_partition(&wanted, etag).await?.is_some() {
                self.expecting = true;
            }
        }
        Ok(())
    }

    /// Writes the release of every partition whose drain has ended.
    async fn release_drained(&mut self) -> Result<()> {
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
        while self.shared.hub.write_partition(&stored.row.released(), &stored.etag).await?.is_none() {
            let rows = self.shared.hub.read_partitions().await?;
            match rows.into_iter().find(|s| s.row.queue == queue && s.row.is_owned_by(&self.shared.worker_id)) {
                Some(current) => stored = current,
                None => break,
            }
        }
        tracing::info!(hub = self.shared.hub.names_hub(), queue, "partition released");
        self.owned.remove(queue);
        Ok(())
    }

    /// Hands every partition over: each is released as soon as it is drained.
    async fn leave(mut self) {
        for owned in self.owned.values_mut().filter(|o| !o.is_draining) {
            owned.is_draining = true;
            self.shared.drain(&owned.partition, &owned.drained, &self.drained);
        }
        let deadline = Instant::now() + self.shared.options.drain_timeout;
        while !self.owned.is_empty() {
            let drained = Arc::clone(&self.drained);
            tokio::select! {
                biased;
                () = drained.notified() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            let late = Instant::now() >= deadline;
            if late {
                for owned in self.owned.values() {
                    tracing::warn!(partition = owned.partition.id, "a partition is released although turns are open");
                    owned.partition.lose();
                    owned.drained.store(true, std::sync::atomic::Ordering::Release);
                }
            }
            if let Err(error) = self.release_drained().await {
                tracing::warn!(%error, "a partition could not be released; its lease will expire");
                if late {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.drained.notify_one();
            }
        }
    }
}
