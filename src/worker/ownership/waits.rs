//! Who owns the partitions that a worker without any waits for, and for how long yet at the most: told once, because until then it is silent.

use std::collections::BTreeMap;

use super::Ownership;
use crate::hub::partitions::StoredPartition;

/// By owner, the numbers of the partitions.
pub(super) type Waits = BTreeMap<String, Vec<u32>>;

impl Ownership {
    /// Tells whose partitions this worker waits for, if it has none and that has changed.
    pub(super) fn tell_of_waits(&mut self, rows: &[StoredPartition]) {
        let (mut waits, mut latest) = (Waits::new(), BTreeMap::new());
        let judge = self.judging(&self.shared.worker_id);
        for stored in rows.iter().filter(|_| self.owned.is_empty()) {
            let owner = stored.row.current_owner.as_ref().or(stored.row.next_owner.as_ref());
            let (Some(owner), Some(id)) = (owner, self.shared.partition_of_queue(&stored.row.queue)) else { continue };
            let left = stored.row.claimable_in(&judge, self.sightings.silence(stored));
            let until = judge.now.plus(left);
            let latest = latest.entry(owner.clone()).or_insert(until);
            *latest = until.max(*latest);
            waits.entry(owner.clone()).or_default().push(id);
        }
        if waits == self.waits {
            return;
        }
        for (owner, partitions) in &waits {
            let until = latest.get(owner).map(ToString::to_string);
            tracing::info!(owner, ?partitions, until, "this worker has no partition yet and waits for those of another");
        }
        self.waits = waits;
    }
}
