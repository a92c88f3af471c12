//! When another worker's lease has expired: judged by how long its row has shown no renewal, and by wall clocks only in addition.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::partitions::{Judge, PartitionRow, StoredPartition};
use crate::model::Timestamp;
use crate::storage::table::Etag;

/// The longest lease that any worker writes. .NET's last 30 seconds unless configured otherwise, and 60 for a moment.
const LEASE_MAX: Duration = Duration::from_secs(300);
/// The shortest. A row whose dates are closer to each other was not written by an owner.
const LEASE_MIN: Duration = Duration::from_secs(10);
/// The service refuses a machine whose clock is off by a quarter of an hour, so the clocks of two machines differ by no more than this.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(1800);
/// How often a warning about one row is repeated.
const WARNING_EVERY: Duration = Duration::from_secs(60);

impl PartitionRow {
    /// How long until the row may be claimed, given that its owner has not renewed it for `silence` and does not. A row that is free, or
    /// promised to the worker that asks, may be claimed at once.
    ///
    /// The owner's wall clock counts only after a silence so long that the owner has stopped writing, so that clock skew never makes two
    /// workers take partitions from each other. A silence of the whole lease plus the margin needs no wall clock.
    pub(crate) fn claimable_in(&self, judge: &Judge<'_>, silence: Duration) -> Duration {
        if self.current_owner.is_none() && self.next_owner.as_deref().is_none_or(|next| next == judge.me) {
            return Duration::ZERO;
        }
        let term = self.term(judge);
        let by_silence = (term.unwrap_or(judge.usual) + judge.margin).saturating_sub(silence);
        let (Some(term), Some(expires)) = (term, self.expires_at) else { return by_silence };
        if judge.now.since(expires) >= CLOCKS_APART_MAX {
            return Duration::ZERO;
        }
        let by_wall = expires.plus(judge.margin).since(judge.now).max(term.saturating_sub(judge.margin + silence));
        by_wall.min(by_silence)
    }

    /// The length of the lease; `None` if the dates of the row cannot be those of any lease.
    fn term(&self, judge: &Judge<'_>) -> Option<Duration> {
        let expires = self.expires_at?;
        let term = expires.since(self.last_renewal.unwrap_or(expires));
        let can_be = term <= LEASE_MAX && expires.since(judge.now) <= LEASE_MAX + CLOCKS_APART_MAX;
        can_be.then_some(if term < LEASE_MIN { judge.usual } else { term })
    }

    /// Whether the row has a current or next owner although its dates cannot be those of any lease.
    pub(crate) fn is_undated(&self, judge: &Judge<'_>) -> bool {
        (self.current_owner.is_some() || self.next_owner.is_some()) && self.term(judge).is_none()
    }
}

/// What this process has observed of other workers' rows, by its monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    rows: BTreeMap<String, (Pulse, Instant)>,
    warned: BTreeMap<String, Instant>,
}

/// What changes with every renewal. A request for the row is not a renewal.
#[derive(Debug, PartialEq, Eq)]
struct Pulse {
    owner: Option<String>,
    renewed: Option<Timestamp>,
    expires: Option<Timestamp>,
    /// If the dates are unusable, any change counts.
    version: Option<Etag>,
}

impl Pulse {
    fn of(StoredPartition { row, etag }: &StoredPartition) -> Self {
        let is_dated = row.last_renewal.is_some() && row.expires_at.is_some();
        let version = (!is_dated).then(|| etag.clone());
        Self { owner: row.current_owner.clone(), renewed: row.last_renewal, expires: row.expires_at, version }
    }
}

impl Sightings {
    /// How long the owner of the row that was just read has not renewed it, as observed here.
    pub(crate) fn silence(&mut self, stored: &StoredPartition) -> Duration {
        let pulse = Pulse::of(stored);
        match self.rows.get(&stored.row.queue) {
            Some((last, since)) if *last == pulse => since.elapsed(),
            _ => {
                self.rows.insert(stored.row.queue.clone(), (pulse, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Whether a warning about the row is due.
    pub(crate) fn may_warn(&mut self, queue: &str) -> bool {
        let is_due = self.warned.get(queue).is_none_or(|last| last.elapsed() >= WARNING_EVERY);
        if is_due {
            self.warned.insert(queue.to_owned(), Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const LEASE: Duration = Duration::from_secs(30);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A judge whose clock is so many seconds ahead of that of the owner.
    fn judge(ahead: i64) -> Judge<'static> {
        Judge { me: "me", now: NOW.plus_ticks(ahead * 10_000_000), lease: LEASE, usual: LEASE, margin: seconds(5) }
    }

    /// Renewed now, by the clock of the owner.
    fn owned(expires: Option<Timestamp>) -> PartitionRow {
        let current_owner = Some("you".to_owned());
        PartitionRow { queue: "q".into(), current_owner, last_renewal: Some(NOW), expires_at: expires, ..PartitionRow::default() }
    }

    #[test]
    fn a_silent_row_is_claimed_after_its_lease_whatever_the_clocks_say_and_never_while_its_owner_may_write() {
        let lasting = |term: u64| Some(NOW.plus(seconds(term)));
        // The lease, how far the judge's clock is ahead when he sees the row first, and how long he waits.
        for (expires, ahead, wait) in [
            // Clocks agree, and he has watched from the first: five seconds after the lease.
            (lasting(30), 0, 35),
            // He comes late: the owner may still write for 25 seconds after a renewal that nobody has seen.
            (lasting(30), 20, 25),
            (lasting(30), 60, 25),
            (lasting(30), 120, 25),
            (lasting(30), -60, 35),
            (lasting(30), -120, 35),
            // Nobody's clock is so far off.
            (lasting(30), 30 + 1800, 0),
            (lasting(30), 1800, 25),
            // A lease of .NET of another length.
            (lasting(60), 0, 65),
            (lasting(60), -60, 65),
            (lasting(60), 90, 55),
            (lasting(300), -60, 305),
            // A short lease, of a worker that has much to do.
            (lasting(15), 0, 20),
            (lasting(15), 10, 10),
            (lasting(15), 60, 10),
            (lasting(15), -60, 20),
            (lasting(9), 60, 25),
            // No lease: a whole one of silence.
            (None, 0, 35),
            (Some(NOW), 0, 25),
            (lasting(301), 0, 35),
            (lasting(86_400 * 3650), 0, 35),
            (Some(Timestamp::MAX), 0, 35),
            (Some(Timestamp::MIN), 0, 0),
        ] {
            let row = owned(expires);
            for silence in 0..=wait + 5 {
                // The judge's clock goes on while he waits.
                let judge = judge(ahead + i64::try_from(silence).unwrap());
                let left = row.claimable_in(&judge, seconds(silence));
                assert_eq!(left, seconds(wait.saturating_sub(silence)), "{expires:?}, ahead {ahead}, after {silence}");
                assert_eq!(row.claimed(&judge, seconds(silence)).is_some(), silence >= wait);
            }
        }
    }

    #[test]
    fn dates_that_cannot_be_those_of_a_lease_are_told_apart() {
        let is_undated = |row: PartitionRow| row.is_undated(&judge(0));
        let far = Some(NOW.plus(seconds(86_400)));
        assert!(is_undated(owned(None)) && is_undated(owned(far)));
        assert!(is_undated(PartitionRow { last_renewal: None, ..owned(far) }));
        assert!(is_undated(PartitionRow { last_renewal: far, ..owned(far) }), "a day ahead of any clock");
        assert!(!is_undated(owned(Some(NOW.plus(LEASE)))) && !is_undated(owned(Some(NOW))));
        assert!(!is_undated(PartitionRow::default()), "a row that nobody has ever owned has no dates");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_a_renewal_and_not_with_a_request() {
        let version = |etag: &str| Etag(etag.to_owned());
        let mut seen = Sightings::default();
        let mut stored = StoredPartition { row: owned(Some(NOW.plus(LEASE))), etag: version("1") };
        assert_eq!(seen.silence(&stored), Duration::ZERO);
        tokio::time::sleep(seconds(7)).await;
        stored = StoredPartition { row: stored.row.wanted("third"), etag: version("2") };
        assert_eq!(seen.silence(&stored), seconds(7));
        stored.row = stored.row.renewed(&judge(1));
        assert_eq!(seen.silence(&stored), Duration::ZERO);
        tokio::time::sleep(seconds(1)).await;
        assert_eq!(seen.silence(&stored), seconds(1));
        // Dates that cannot be read show no renewal: there any change counts.
        stored.row.expires_at = None;
        for etag in ["3", "4"] {
            stored.etag = version(etag);
            assert_eq!(seen.silence(&stored), Duration::ZERO);
            tokio::time::sleep(seconds(1)).await;
        }
        assert_eq!(seen.silence(&stored), seconds(1));
        assert!(seen.may_warn("q") && !seen.may_warn("q") && seen.may_warn("other"));
        tokio::time::sleep(WARNING_EVERY).await;
        assert!(seen.may_warn("q"));
    }
}
