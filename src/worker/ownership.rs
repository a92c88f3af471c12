//! Which partitions this worker owns: claim, renew, hand over when asked, balance, and let go in time.

mod leave;
mod terms;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::partition::Partition;
use crate::error::Result;
use crate::hub::QueueId;
use crate::hub::lease::Sightings;
use crate::hub::partitions::{self, Judge, PartitionRow, StoredPartition};
use crate::storage::table::Etag;

/// How long a worker that stops waits for a call to the partition table.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A row that this worker owns, as it last wrote it.
#[derive(Debug)]
struct Owned {
    stored: StoredPartition,
    partition: Arc<Partition>,
    /// Set when the drain of the partition has ended.
    drained: Arc<std::sync::atomic::AtomicBool>,
    is_draining: bool,
}

impl Drop for Owned {
    /// Nobody renews what is not owned any more: after a panic of the ownership nothing of it may go on by itself.
    fn drop(&mut self) {
        self.partition.lose();
    }
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
    /// How long after that the leases were to be renewed at the latest.
    planned: Duration,
    /// Whether leases are written as those of a worker that has much to do.
    is_busy: bool,
    /// Whether the last pass failed.
    failed: bool,
    /// Whether somebody's partition is on its way to us.
    expecting: bool,
    /// Whether other workers own some of the partitions.
    alone: bool,
    /// What others have shown of themselves at the partition table.
    sightings: Sightings,
    /// When the earliest lease of somebody else has ended unless he renews it.
    next_expiry: Option<Duration>,
    /// Whose partitions it waits for, as far as that was told.
    waits: waits::Waits,
}

impl Ownership {
    pub(crate) fn new(shared: Arc<Shared>, until: CancellationToken) -> Self {
        let (renewed, planned) = (Instant::now(), shared.options.lease_renewal);
        Self {
            shared,
            until,
            owned: BTreeMap::new(),
            drained: Arc::new(Notify::new()),
            renewed,
            planned,
            is_busy: false,
            failed: false,
            expecting: false,
            alone: false,
            sightings: Sightings::default(),
            next_expiry: None,
            waits: waits::Waits::new(),
        }
    }

    fn tell_of(&self, passed: &Result<()>) {
        const FAILED: &str = "a pass over the partition table failed";
        if let Some((error, failures)) = self.shared.outages.after(FAILED, String::new, passed) {
            tracing::warn!(failures, %error, "a pass over the partition table failed");
        }
    }

    /// Owns what it can until it has to end, then hands everything over. `again`: after one that broke off, whose rows are given up
    /// first, so that others may have them if it breaks off again.
    pub(crate) async fn run(mut self, again: bool) {
        if again {
            self.take_back().await;
        }
        while !self.until.is_cancelled() {
            let (drained, until) = (Arc::clone(&self.drained), self.until.clone());
            self.give_up_if_dead();
            let passed = tokio::select! {
                biased;
                passed = self.pass() => passed,
                // A hanging table must not keep the drain from beginning.
                () = patience(&until) => break,
            };
            self.failed = passed.is_err();
            if passed.is_ok() {
                self.stand();
            }
            self.tell_of(&passed);
            tokio::select! {
                biased;
                () = until.cancelled() => {}
                () = drained.notified() => {}
                () = self.shared.traffic.begins() => {}
                () = tokio::time::sleep(self.pause()) => {}
            }
        }
        if !self.shared.stopping.is_cancelled() {
            // Workers of another app need not wait for open turns of this one: they are fenced.
            for owned in self.owned.values() {
                owned.partition.lose();
            }
        }
        let shared = Arc::clone(&self.shared);
        self.leave().await;
        shared.executor.measures().owns(&shared.hub, std::iter::empty());
    }

    /// A runtime that stands still for good would keep its partitions for ever: they are renewed on another.
    fn give_up_if_dead(&mut self) {
        if self.shared.pulse.has_stopped() && !self.owned.is_empty() {
            tracing::error!("the runtime has stood still for five minutes; its partitions are left to other workers");
            self.owned.clear();
        }
    }

    /// Tells how this worker stands among others. Once there are any they may send work items, which it has not looked for often.
    fn stand(&self) {
        let was_alone = self.shared.hosting.is_by_itself();
        self.shared.hosting.stands(self.alone, self.owned.is_empty());
        self.share();
        self.shared.executor.measures().owns(&self.shared.hub, self.owned.values().map(|owned| owned.partition.id));
        if was_alone && !self.alone {
            self.shared.hub.queues.bell(QueueId::WorkItems).ring(Duration::ZERO);
        }
    }

    /// Gives each partition its part of what this worker may take: who owns few of a hub has the more for each.
    fn share(&self) {
        let share = self.shared.options.share_of_one_in(self.owned.len().max(1));
        self.owned.values().for_each(|owned| owned.partition.share(share));
    }

    /// Renews what is owned; reads and judges the table unless everything is owned and fresh.
    async fn pass(&mut self) -> Result<()> {
        self.revive();
        let due = self.is_due();
        if due {
            self.is_busy = self.has_much_to_do();
        }
        let renewed = if due && !self.owned.is_empty() { self.renew_all().await? } else { !self.owned.is_empty() };
        self.release_drained().await?;
        let all = self.owned.len() == self.shared.hub.partition_count as usize;
        self.alone = all && self.owned.values().all(|o| !o.is_draining);
        if renewed && self.alone {
            self.expecting = false;
            self.next_expiry = None;
            return Ok(());
        }
        let rows = self.shared.hub.partitions.read().await?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|s| self.shared.partition_of_queue(&s.row.queue).is_some());
        self.warn_of_unknown(&unknown);
        let rows = self.judge(known, due && !renewed).await?;
        if self.until.is_cancelled() { Ok(()) } else { self.balance(&rows).await }
    }

    /// A partition whose poller has broken off would be owned and renewed for ever, but read by nobody: it begins anew.
    fn revive(&mut self) {
        for owned in self.owned.values_mut().filter(|o| !o.is_draining && o.partition.polled.is_cancelled()) {
            let (id, fence) = (owned.partition.id, owned.partition.fence());
            tracing::error!(partition = id, "the poller of a partition broke off; it begins anew");
            owned.partition.lose();
            owned.partition = self.shared.listen(id, fence);
        }
    }

    /// One transaction renews every row. `false` if one of them has changed: somebody waits for it, or took it.
    async fn renew_all(&mut self) -> Result<bool> {
        let before = Instant::now();
        let judge = self.judging(&self.shared.worker_id);
        let rows: Vec<_> = self.owned.values().map(|o| (o.stored.row.renewed(&judge), o.stored.etag.clone())).collect();
        let Some(etags) = self.shared.hub.partitions.write_all(&rows).await? else { return Ok(false) };
        let fence = self.fence_from(before);
        for ((owned, (row, _)), etag) in self.owned.values_mut().zip(rows).zip(etags) {
            owned.stored = StoredPartition { row, etag };
            owned.partition.renewed_until(fence);
        }
        self.are_renewed(before);
        Ok(true)
    }

    /// All leases were renewed, by calls that began then.
    fn are_renewed(&mut self, at: Instant) {
        if !self.owned.is_empty() {
            self.shared.executor.measures().renewed(at - self.renewed, self.planned);
        }
        (self.renewed, self.planned) = (at, self.longest_pause());
    }

    /// Goes through the rows as they are now. The rows as they are afterwards. A row that cannot be written does not keep the
    /// others from being looked at.
    async fn judge(&mut self, rows: Vec<StoredPartition>, due: bool) -> Result<Vec<StoredPartition>> {
        let before = Instant::now();
        let (mut after, mut failed, mut all_renewed) = (Vec::new(), None, true);
        self.next_expiry = None;
        for stored in rows {
            match self.judge_row(stored.clone(), before, due).await {
                Ok((stored, renewed)) => {
                    all_renewed &= renewed;
                    after.push(stored);
                }
                Err(error) => failed = Some(error),
            }
        }
        self.tell_of_waits(&after);
        self.expecting = after.iter().any(|s| s.row.next_owner.as_deref() == Some(&*self.shared.worker_id));
        if let Some(error) = failed {
            return Err(error);
        }
        if due && all_renewed {
            self.are_renewed(before);
        }
        Ok(after)
    }

    /// One row: kept if it is ours, claimed if it may be, asked for if its owner leaves. `false` if it is ours and was not renewed.
    async fn judge_row(&mut self, stored: StoredPartition, before: Instant, due: bool) -> Result<(StoredPartition, bool)> {
        let me = self.shared.worker_id.clone();
        let judge = self.judging(&me);
        let row = &stored.row;
        if row.is_owned_by(judge.me) {
            return self.keep(stored, &judge, before, due).await;
        }
        if let Some(lost) = self.owned.remove(&row.queue) {
            tracing::warn!(partition = lost.partition.id, owner = row.current_owner, "partition lost");
            lost.partition.lose();
        }
        if self.until.is_cancelled() {
            // Whoever leaves neither takes nor asks.
            return Ok((stored, true));
        }
        let silence = self.sightings.silence(&stored);
        self.warn_of_undated(row, &judge);
        if let Some(claimed) = row.claimed(&judge, silence) {
            if let Some(etag) = self.shared.hub.partitions.write(&claimed, &stored.etag).await? {
                if let Some(owner) = &row.current_owner {
                    let partition = self.shared.partition_of_queue(&row.queue);
                    tracing::info!(partition, owner, "the lease of another worker had expired");
                }
                let stored = StoredPartition { row: claimed, etag };
                self.listen(stored.clone(), before);
                return Ok((stored, true));
            }
        } else if partitions::is_abandoned(row, judge.me) {
            let wanted = row.wanted(judge.me);
            if let Some(etag) = self.shared.hub.partitions.write(&wanted, &stored.etag).await? {
                return Ok((StoredPartition { row: wanted, etag }, true));
            }
        } else {
            let left = row.claimable_in(&judge, silence);
            self.next_expiry = Some(self.next_expiry.map_or(left, |next| next.min(left)));
        }
        Ok((stored, true))
    }

    /// The partition count was checked when the hub was opened. A row that came later is none of its partitions: of its queue nobody
    /// would ever read.
    fn warn_of_unknown(&mut self, rows: &[StoredPartition]) {
        for StoredPartition { row, .. } in rows {
            if self.sightings.may_warn(&row.queue) {
                tracing::warn!(
                    row = row.queue,
                    remedy = "delete it: it keeps the hub from being opened, and .NET workers would serve it",
                    "the partition table has a row that is none of the partitions of the hub; it is ignored here"
                );
            }
        }
    }

    fn warn_of_undated(&mut self, row: &PartitionRow, judge: &Judge<'_>) {
        if row.is_undated(judge) && self.sightings.may_warn(&row.queue) {
            tracing::warn!(
                row = row.queue,
                owner = row.current_owner,
                expires_at = ?row.expires_at,
                silence = ?(judge.lease + judge.margin),
                remedy = "if that owner runs, stop it; if none does, clear CurrentOwner and NextOwner of the row, and it is claimed at once",
                "a partition has a lease that cannot be: its ExpiresAt is missing, unreadable or too far ahead; it is claimed after silence"
            );
        }
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
        // Before anything is written: nothing is received of a partition that somebody waits for.
        if wanted {
            self.hand_over(&stored.row);
        }
        let next = match self.owned.get(&stored.row.queue) {
            Some(owned) if !due && owned.stored.etag == stored.etag && stored.row.is_draining == wanted => {
                return Ok((stored, true));
            }
            Some(_) if wanted => stored.row.draining(judge),
            Some(_) => stored.row.renewed(judge),
            // Ours from before a restart under the same id: nothing of it is in memory, so who waits need not wait longer.
            None if wanted => stored.row.released(),
            None => stored.row.adopted(judge),
        };
        let Some(etag) = self.shared.hub.partitions.write(&next, &stored.etag).await? else { return Ok((stored, false)) };
        let stored = StoredPartition { row: next, etag };
        let fence = self.fence_from(before);
        match self.owned.get_mut(&stored.row.queue) {
            Some(owned) => {
                owned.partition.renewed_until(fence);
                owned.stored = stored.clone();
            }
            None if !wanted => self.listen(stored.clone(), before),
            None => {}
        }
        Ok((stored, true))
    }

    /// Begins the drain of a partition that somebody waits for.
    fn hand_over(&mut self, row: &PartitionRow) {
        let Some(owned) = self.owned.get_mut(&row.queue).filter(|owned| !owned.is_draining) else { return };
        let id = owned.partition.id;
        tracing::info!(partition = id, next = row.next_owner, "handing over a partition");
        owned.is_draining = true;
        self.shared.drain(&owned.partition, &owned.drained, &self.drained);
    }

    fn listen(&mut self, stored: StoredPartition, before: Instant) {
        let Some(id) = self.shared.partition_of_queue(&stored.row.queue) else { return };
        tracing::info!(partition = id, "partition owned");
        let partition = self.shared.listen(id, self.fence_from(before));
        let drained = Arc::default();
        self.owned.insert(stored.row.queue.clone(), Owned { stored, partition, drained, is_draining: false });
    }

    /// Asks for partitions of workers that own more than their share.
    async fn balance(&mut self, rows: &[StoredPartition]) -> Result<()> {
        let view: Vec<PartitionRow> = rows.iter().map(|s| s.row.clone()).collect();
        for row in partitions::to_steal(&view, &self.shared.worker_id) {
            let etag: &Etag = &rows.iter().find(|s| s.row.queue == row.queue).expect("the view is made of the rows").etag;
            let wanted = row.wanted(&self.shared.worker_id);
            if self.shared.hub.partitions.write(&wanted, etag).await?.is_some() {
                self.expecting = true;
            }
        }
        Ok(())
    }
}

/// Completes a while after `until`: what is under way may end, what hangs may not hold up the rest.
async fn patience(until: &CancellationToken) {
    until.cancelled().await;
    tokio::time::sleep(STOP_PATIENCE).await;
}
