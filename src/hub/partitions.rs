//! The partition table of .NET's table partition manager: its rows, and the rules for claims, renewals, hand-over and balance.

use std::collections::BTreeMap;
use std::time::Duration;

use super::stored::LeaseManager;
use super::table::Table;
use crate::error::Result;
use crate::model::Timestamp;
use crate::storage;
use crate::storage::table::{Entity, Etag, Match, Query, TableOp, Value};

/// One row: who owns a control queue (docs/storage-layout.md, Partition rows). Rows are replaced whole, so columns that
/// only taskhub writes would be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionRow {
    pub(crate) queue: String,
    pub(crate) current_owner: Option<String>,
    pub(crate) next_owner: Option<String>,
    pub(crate) owned_since: Option<Timestamp>,
    pub(crate) last_renewal: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) is_draining: bool,
}

/// A row and its version.
#[derive(Clone, Debug)]
pub(crate) struct StoredPartition {
    pub(crate) row: PartitionRow,
    pub(crate) etag: Etag,
}

/// The worker that asks, the time, and the durations by which a lease is judged.
#[derive(Clone, Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) me: &'a str,
    pub(crate) now: Timestamp,
    /// The length of a lease that this worker writes.
    pub(crate) lease: Duration,
    /// What the lease of another is taken for whose dates do not tell.
    pub(crate) usual: Duration,
    /// How long before its lease expires an owner stops writing, and how long after it others take over.
    pub(crate) margin: Duration,
}

impl PartitionRow {
    /// Whether `me` may receive from the queue: owned, and nobody waits for it.
    #[cfg(test)]
    pub(crate) fn is_listening(&self, me: &str) -> bool {
        self.is_owned_by(me) && self.next_owner.is_none() && !self.is_draining
    }

    pub(crate) fn is_owned_by(&self, me: &str) -> bool {
        self.current_owner.as_deref() == Some(me)
    }

    /// The worker that the row counts for in balancing: the next owner if there is one, else the current owner.
    fn counts_for(&self) -> Option<&str> {
        self.next_owner.as_deref().or(self.current_owner.as_deref())
    }

    /// The row as claimed, if its owner has been silent long enough.
    pub(crate) fn claimed(&self, judge: &Judge<'_>, silence: Duration) -> Option<Self> {
        self.claimable_in(judge, silence).is_zero().then(|| Self {
            queue: self.queue.clone(),
            current_owner: Some(judge.me.to_owned()),
            next_owner: None,
            owned_since: Some(judge.now),
            last_renewal: Some(judge.now),
            expires_at: Some(judge.now.plus(judge.lease)),
            is_draining: false,
        })
    }

    /// The row as renewed, also while it drains.
    pub(crate) fn renewed(&self, judge: &Judge<'_>) -> Self {
        Self { last_renewal: Some(judge.now), expires_at: Some(judge.now.plus(judge.lease)), ..self.clone() }
    }

    /// The row as taken over from a former run of the same worker.
    pub(crate) fn adopted(&self, judge: &Judge<'_>) -> Self {
        Self { is_draining: false, owned_since: Some(judge.now), ..self.renewed(judge) }
    }

    /// The row as draining.
    pub(crate) fn draining(&self, judge: &Judge<'_>) -> Self {
        Self { is_draining: true, ..self.renewed(judge) }
    }

    /// The row as released, to be claimed by the next owner. The times stay, as .NET leaves them.
    pub(crate) fn released(&self) -> Self {
        Self { current_owner: None, is_draining: false, ..self.clone() }
    }

    /// The row with `me` as the next owner.
    pub(crate) fn wanted(&self, me: &str) -> Self {
        Self { next_owner: Some(me.to_owned()), ..self.clone() }
    }
}

/// The rows that `me` should ask for so that workers come to within one partition of each other
/// (docs/storage-layout.md, Balance).
pub(crate) fn to_steal<'a>(rows: &'a [PartitionRow], me: &str) -> Vec<&'a PartitionRow> {
    let mut others: BTreeMap<&str, Vec<&PartitionRow>> = BTreeMap::new();
    let mut mine = 0;
    for row in rows {
        match row.counts_for() {
            Some(owner) if owner == me => mine += 1,
            Some(owner) => others.entry(owner).or_default().push(row),
            None => {}
        }
    }
    let average = rows.len() / (others.len() + 1);
    let mut stolen = Vec::new();
    for theirs in others.values() {
        let Some(mut want) = average.checked_sub(mine + stolen.len()) else { break };
        let excess = theirs.len().saturating_sub(average);
        if want == 0 && excess > 1 {
            want = 1;
        }
        // A row that already has a next owner is not available.
        let available = theirs.iter().filter(|row| row.next_owner.is_none() && row.current_owner.is_some());
        stolen.extend(available.take(want.min(excess)));
    }
    stolen
}

/// Whether the owner of a row is leaving. Such rows are claimed regardless of balance, so that no partition is left without an owner.
pub(crate) fn is_abandoned(row: &PartitionRow, me: &str) -> bool {
    row.is_draining && row.next_owner.is_none() && row.current_owner.as_deref().is_some_and(|owner| owner != me)
}

/// The partition table.
#[derive(Clone, Debug)]
pub(crate) struct Partitions {
    pub(super) table: Table,
    pub(super) manager: LeaseManager,
}

impl Partitions {
    /// Whether the table tells who owns which partition.
    pub(crate) fn are_seen(&self) -> bool {
        self.manager == LeaseManager::Table
    }

    /// All rows of the partition table, in the order of the queues; none if the hub is run with the blob lease manager.
    pub(crate) async fn read(&self) -> Result<Vec<StoredPartition>> {
        if !self.are_seen() {
            return Ok(Vec::new());
        }
        let rows = self.table.rows(Query::default()).await?;
        Ok(rows.into_iter().map(|row| StoredPartition { row: from_entity(&row.entity), etag: row.etag }).collect())
    }

    /// Replaces one version of a row. `None` if it has changed meanwhile.
    pub(crate) async fn write(&self, row: &PartitionRow, etag: &Etag) -> Result<Option<Etag>> {
        let op = TableOp::Replace(to_entity(row), Match::Etag(etag.clone()));
        match self.table.write(&op).await {
            Ok(etag) => Ok(etag),
            Err(e) if is_changed(&e) => Ok(None),
            // An unnoticed claim would keep other workers away until it expires.
            Err(e) if e.outcome_unknown() => match self.read().await?.into_iter().find(|stored| stored.row.queue == row.queue) {
                Some(stored) if stored.row == *row => Ok(Some(stored.etag)),
                Some(stored) if stored.etag != *etag => Ok(None),
                _ => Err(e.into()),
            },
            Err(e) => Err(e.into()),
        }
    }

    /// Replaces several rows in one transaction. `None` if one of them has changed: none is written then.
    pub(crate) async fn write_all(&self, rows: &[(PartitionRow, Etag)]) -> Result<Option<Vec<Etag>>> {
        let ops: Vec<_> = rows.iter().map(|(row, etag)| TableOp::Replace(to_entity(row), Match::Etag(etag.clone()))).collect();
        match self.table.transact(&ops).await {
            Ok(etags) => Ok(etags.into_iter().collect()),
            Err(e) if is_changed(&e) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn is_changed(error: &storage::Error) -> bool {
    matches!(error.kind, storage::ErrorKind::Precondition | storage::ErrorKind::NotFound)
}

fn from_entity(entity: &Entity) -> PartitionRow {
    let text = |name: &str| entity.text(name).filter(|t| !t.is_empty()).map(str::to_owned);
    PartitionRow {
        queue: entity.row_key.clone(),
        current_owner: text("CurrentOwner"),
        next_owner: text("NextOwner"),
        owned_since: entity.time("OwnedSince"),
        last_renewal: entity.time("LastRenewal"),
        expires_at: entity.time("ExpiresAt"),
        is_draining: entity.bool("IsDraining").unwrap_or(false),
    }
}

fn to_entity(row: &PartitionRow) -> Entity {
    let time = |at: Option<Timestamp>| at.map_or(Value::Null, Value::time);
    Entity::new("", row.queue.clone())
        .with("CurrentOwner", Value::optional(row.current_owner.clone()))
        .with("NextOwner", Value::optional(row.next_owner.clone()))
        .with("OwnedSince", time(row.owned_since))
        .with("LastRenewal", time(row.last_renewal))
        .with("ExpiresAt", time(row.expires_at))
        .with("IsDraining", Value::Bool(row.is_draining))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskHub;
    use crate::clock::Clock;
    use crate::rng::Rng;
    use crate::storage::Storage;
    use crate::storage::layer::faulty::{Faults, Faulty, Odds};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn judge(now: Timestamp) -> Judge<'static> {
        Judge { me: "me", now, lease: Duration::from_secs(30), usual: Duration::from_secs(30), margin: Duration::from_secs(5) }
    }

    fn row(current: Option<&str>, next: Option<&str>) -> PartitionRow {
        let owner = |o: Option<&str>| o.map(str::to_owned);
        PartitionRow {
            queue: "q".into(),
            current_owner: owner(current),
            next_owner: owner(next),
            expires_at: current.map(|_| NOW.plus(Duration::from_secs(30))),
            ..PartitionRow::default()
        }
    }

    #[test]
    fn a_row_is_claimed_when_free_or_promised_or_expired_and_not_before() {
        let (none, watched) = (Duration::ZERO, Duration::from_secs(34));
        assert!(row(None, None).claimed(&judge(NOW), none).is_some());
        assert!(row(None, Some("me")).claimed(&judge(NOW), none).is_some());
        assert!(row(None, Some("you")).claimed(&judge(NOW), none).is_none());
        assert!(row(Some("you"), None).claimed(&judge(NOW.plus(Duration::from_secs(34))), watched).is_none());
        let late = judge(NOW.plus(Duration::from_secs(35)));
        let claimed = row(Some("you"), Some("third")).claimed(&late, watched).unwrap();
        assert!(claimed.is_listening("me"));
        assert_eq!(claimed.expires_at, Some(late.now.plus(Duration::from_secs(30))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_whose_answer_is_lost_is_known() {
        let faults = Faults { once: Odds { lost_reply: 1.0, ..Odds::default() }, ..Faults::default() };
        let (faulty, clock) = (Faulty::new(faults, Rng::seeded(1)), Clock::paused(NOW));
        faulty.set_enabled(false);
        let storage = Storage::memory(clock.clone(), Rng::seeded(2)).layered(faulty.clone());
        let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock).rng(Rng::seeded(3)).open().await.unwrap().0;
        let free = hub.partitions.read().await.unwrap().remove(0);
        faulty.set_enabled(true);
        let claimed = free.row.claimed(&judge(NOW), Duration::ZERO).unwrap();
        let etag = hub.partitions.write(&claimed, &free.etag).await.unwrap();
        assert_eq!(Some(hub.partitions.read().await.unwrap().remove(0).etag), etag);
        // A rival's write is no answer.
        assert_eq!(hub.partitions.write(&free.row.wanted("you"), &free.etag).await.unwrap(), None);
    }

    #[test]
    fn nobody_listens_to_a_row_that_somebody_waits_for() {
        assert!(row(Some("me"), None).is_listening("me"));
        assert!(!row(Some("me"), Some("you")).is_listening("me"));
        assert!(!row(Some("me"), None).draining(&judge(NOW)).is_listening("me"));
        assert!(!row(Some("me"), None).released().is_listening("me"));
    }

    #[test]
    fn workers_come_to_within_one_partition_of_each_other() {
        for partitions in 1..=16 {
            for workers in 1..=6 {
                let mut rows: Vec<_> =
                    (0..partitions).map(|q| PartitionRow { queue: q.to_string(), ..row(Some("w0"), None) }).collect();
                for _ in 0..20 {
                    for worker in 0..workers {
                        let me = format!("w{worker}");
                        let steal: Vec<_> = to_steal(&rows, &me).into_iter().map(|r| r.queue.clone()).collect();
                        for r in rows.iter_mut().filter(|r| steal.contains(&r.queue)) {
                            r.current_owner = Some(me.clone());
                        }
                    }
                }
                let counts: Vec<_> =
                    (0..workers).map(|w| rows.iter().filter(|r| r.is_owned_by(&format!("w{w}"))).count()).collect();
                let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(high - low <= 1 || partitions < workers, "{partitions} partitions, {workers} workers: {counts:?}");
            }
        }
    }
}
