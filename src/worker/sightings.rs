//! What messages were seen to wait for, in which queues, since when, and when people and the hub were told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::aside::{Aside, LONGEST_PAUSE};
use super::hosting::Waiting;
use crate::hub::{Awaited, Hub, INSTANCE_IDS_MAX, Need, QueueId};
use crate::model::Timestamp;

/// Between two warnings about the same thing. What was not seen for so long, or for the longest that it can be away, is new.
const WARNING_PAUSE: Duration = Duration::from_secs(600);
/// Between two writes of the same row, if there are few.
pub(super) const REFRESH: Duration = Duration::from_secs(60);
/// So many rows more make the time between two writes of each as much longer.
const ROWS_PER_REFRESH: u32 = 200;
/// How much is remembered of what comes from outside; what is beyond that is one thing for each kind.
const CODES_MAX: usize = 1000;
/// The name of what is beyond.
const OTHERS: &str = "(others, beyond the first 1,000 names)";

/// Between two searches for what is not seen any more: each goes through all that is remembered.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// All that is waited for.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: BTreeMap<Need, Sighting>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Sighting {
    last: Instant,
    warned: Instant,
    places: BTreeMap<QueueId, Place>,
}

/// One thing in one queue.
#[derive(Debug)]
struct Place {
    /// Since when the oldest message is due.
    since: Timestamp,
    last: Instant,
    last_seen: Timestamp,
    /// Since when workers have seen it, here or elsewhere; `None` until the hub's row was read.
    first_seen: Option<Timestamp>,
    /// When it was seen here first.
    first_here: Timestamp,
    /// Instances whose messages wait, and when each was seen last.
    instances: BTreeMap<String, Instant>,
    written: Option<Instant>,
}

/// What a sighting asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// People are to be warned.
    pub(super) warn: bool,
    /// The hub's row is to be written.
    pub(super) write: bool,
}

/// A row that is to be written.
#[derive(Debug)]
pub(super) struct RowDue {
    pub(super) need: Need,
    pub(super) queue: QueueId,
    pub(super) row: Awaited,
    /// Whether the row that there is tells since when it is seen.
    pub(super) is_first: bool,
}

impl Sightings {
    pub(super) fn note(&mut self, hub: &Hub, need: &Need, message: Waiting<'_>) -> Told {
        let (now, time) = (Instant::now(), hub.now());
        self.sweep(now);
        let need = self.known_as(need);
        let refresh = self.refresh();
        let is_new = !self.seen.contains_key(&need);
        let new = || Sighting { last: now, warned: now, places: BTreeMap::new() };
        let sighting = self.seen.entry(need).or_insert_with(new);
        let warn = is_new || sighting.last + WARNING_PAUSE <= now || sighting.warned + WARNING_PAUSE <= now;
        sighting.last = now;
        if warn {
            sighting.warned = now;
        }
        sighting.places.retain(|_, place| place.last + 2 * LONGEST_PAUSE > now);
        let place = sighting.places.entry(message.queue).or_insert_with(|| Place::new(message.since, time));
        place.see(message, time);
        Told { warn, write: place.written.is_none_or(|written| written + refresh <= now) }
    }

    /// Forgets what has not been seen for long.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| swept + SWEEP_PAUSE <= now) {
            self.swept = Some(now);
            self.seen.retain(|_, sighting| sighting.last + WARNING_PAUSE.max(2 * LONGEST_PAUSE) > now);
        }
    }

    /// The thing under which it is remembered.
    fn known_as(&self, need: &Need) -> Need {
        if self.seen.len() < CODES_MAX || self.seen.contains_key(need) {
            need.clone()
        } else {
            Need::new(need.kind, OTHERS, None)
        }
    }

    fn refresh(&self) -> Duration {
        let rows = self.seen.values().map(|sighting| sighting.places.len()).sum::<usize>();
        REFRESH * (1 + u32::try_from(rows).unwrap_or(u32::MAX) / ROWS_PER_REFRESH)
    }

    /// Since when workers have been there to see it, without a break; `None` as long as that is not known.
    pub(super) fn first_seen(&self, need: &Need, queue: QueueId) -> Option<Timestamp> {
        self.seen.get(&self.known_as(need))?.places.get(&queue)?.first_seen
    }

    /// Keeps what the hub's row has told, or would have.
    pub(super) fn seen_since(&mut self, need: &Need, queue: QueueId, first_seen: Timestamp) {
        if let Some(place) = self.seen.get_mut(need).and_then(|sighting| sighting.places.get_mut(&queue)) {
            place.first_seen = Some(first_seen);
        }
    }

    /// The rows to write now; they count as written.
    pub(super) fn rows_due(&mut self, hub: &Hub, worker_id: &str, aside: &mut Aside) -> Vec<RowDue> {
        let (now, refresh, counts) = (Instant::now(), self.refresh(), aside.counts());
        let mut rows = Vec::new();
        for (need, sighting) in &mut self.seen {
            for (queue, place) in &mut sighting.places {
                if place.written.is_some_and(|written| written + refresh > now || place.last <= written) {
                    continue;
                }
                place.written = Some(now);
                let count = counts.get(&(need.clone(), *queue)).copied();
                let valid = aside.pause(REFRESH) + 2 * refresh;
                rows.push(RowDue {
                    need: need.clone(),
                    queue: *queue,
                    is_first: place.first_seen.is_none(),
                    row: place.row(hub, need, *queue, worker_id, count, valid),
                });
            }
        }
        rows
    }
}

impl Place {
    fn new(since: Timestamp, time: Timestamp) -> Self {
        let now = Instant::now();
        Self { since, last: now, last_seen: time, first_seen: None, first_here: time, instances: BTreeMap::new(), written: None }
    }

    fn see(&mut self, message: Waiting<'_>, time: Timestamp) {
        let now = Instant::now();
        self.since = self.since.min(message.since);
        (self.last, self.last_seen) = (now, time);
        let is_known = self.instances.contains_key(message.instance_id);
        if !is_known && self.instances.len() >= INSTANCE_IDS_MAX {
            self.instances.retain(|_, last| *last + 2 * LONGEST_PAUSE > now);
        }
        if !message.instance_id.is_empty() && (is_known || self.instances.len() < INSTANCE_IDS_MAX) {
            self.instances.insert(message.instance_id.to_owned(), now);
        }
    }

    fn row(&mut self, hub: &Hub, need: &Need, queue: QueueId, worker_id: &str, count: Option<usize>, valid: Duration) -> Awaited {
        let now = Instant::now();
        self.instances.retain(|_, last| *last + valid > now);
        let instance_ids: Vec<_> = self.instances.keys().cloned().collect();
        Awaited {
            kind: need.kind,
            name: need.name.clone(),
            version: Some(need.version.clone()).filter(|version| !version.is_empty()),
            queue: hub.queues.name(queue).to_owned(),
            since: self.since,
            first_seen: self.first_seen.unwrap_or(self.first_here),
            last_seen: self.last_seen,
            valid_until: self.last_seen.plus(valid),
            worker: worker_id.to_owned(),
            instance_id: instance_ids.first().cloned().unwrap_or_default(),
            instance_ids,
            instances: Some(u32::try_from(count.unwrap_or(self.instances.len())).unwrap_or(u32::MAX)).filter(|count| *count > 0),
            suggestion: None,
        }
    }
}
