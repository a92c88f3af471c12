//! What this worker has no code for: its messages go back for workers that do, for how long each time, until when, and who is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::orchestration::back_off;
use crate::authoring::{ActivityTask, Registry};
use crate::hub::{Awaited, AwaitedKind, FRESH, Hold, Hub, Need, QueueId};
use crate::model::{ExecutionStarted, FailureDetails, Timestamp};

/// The longest time that a message is away before it is looked at again.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Between two warnings about the same thing. What was not seen for so long is new.
const WARNING_PAUSE: Duration = Duration::from_secs(600);
/// Between two writes of the same row.
const REFRESH: Duration = Duration::from_secs(60);
/// How much is remembered of what comes from outside; beyond it messages wait by their own counts, and what is oldest is new again.
const CODES_MAX: usize = 1000;
const INSTANCES_MAX: usize = 10_000;

/// How long messages wait for orchestrators and activities before they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// While this is the only worker of the hub that is alive.
    pub(crate) alone: Duration,
    /// While others are alive.
    pub(crate) among_others: Duration,
}

/// One message that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting<'a> {
    pub(crate) queue: QueueId,
    /// Whom it is for; empty if it does not tell.
    pub(crate) instance_id: &'a str,
    /// Since when it is due.
    pub(crate) since: Timestamp,
    pub(crate) receives: u32,
}

/// What a worker hosts, and what it has seen that it does not.
#[derive(Debug)]
pub(crate) struct Hosting {
    registry: Registry,
    worker_id: String,
    patience: Patience,
    standing: Mutex<Standing>,
    seen: Mutex<BTreeMap<Need, Sighting>>,
    /// Instances whose messages wait: all of them come again at one time, so that their order stays.
    instances: Mutex<BTreeMap<String, Due>>,
    /// How often messages could not be worked on here although their code was not missing, by their ids.
    tries: Mutex<BTreeMap<String, u32>>,
    /// Rung when there is something to tell.
    news: Notify,
}

/// This worker among the workers of the hub.
#[derive(Debug, Default)]
struct Standing {
    /// Since when, without a break, it owns every partition and nobody asks for one.
    alone_since: Option<Instant>,
    /// It works, but owns no partition, where others would see it.
    is_guest: bool,
}

#[derive(Debug)]
struct Sighting {
    first: Instant,
    last: Instant,
    warned: Instant,
    places: BTreeMap<QueueId, Place>,
}

/// One thing in one queue.
#[derive(Debug)]
struct Place {
    since: Timestamp,
    last: Instant,
    instance_id: String,
    written: Option<Instant>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    queue: QueueId,
    need: Need,
    /// A start among them is to replace an execution, which must not go on.
    replaces: bool,
}

impl Due {
    /// Somebody else may have taken what has not come since.
    fn is_current(&self) -> bool {
        self.at + PAUSE_MAX > Instant::now()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { alone: Duration::from_secs(600), among_others: Duration::from_secs(24 * 3600) }
    }
}

impl Patience {
    /// Missing code fails what asks for it at once.
    pub(crate) const NONE: Self = Self { alone: Duration::ZERO, among_others: Duration::ZERO };
}

impl Hosting {
    pub(crate) fn new(registry: Registry, worker_id: String, patience: Patience) -> Self {
        let (standing, seen, instances, tries, news) = Default::default();
        Self { registry, worker_id, patience, standing, seen, instances, tries, news }
    }

    /// The orchestrator that this worker would need and does not have.
    pub(crate) fn missing_orchestrator(&self, started: &ExecutionStarted) -> Option<Need> {
        let need = || Need::new(AwaitedKind::Orchestrator, &started.name, started.version.as_deref());
        (!self.registry.hosts(started)).then(need)
    }

    /// The activity that this worker would need and does not have.
    pub(crate) fn missing_activity(&self, task: &ActivityTask) -> Option<Need> {
        let is_here = self.registry.hosts_activity(&task.name, task.version.as_deref());
        (!is_here).then(|| Need::new(AwaitedKind::Activity, &task.name, task.version.as_deref()))
    }

    /// Notes that a message waits, and tells people at the first one and then now and then.
    pub(crate) fn note(&self, hub: &Hub, need: &Need, message: Waiting<'_>) {
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        seen.retain(|_, sighting| sighting.last + WARNING_PAUSE > now);
        let is_new = !seen.contains_key(need);
        if is_new && seen.len() >= CODES_MAX {
            let oldest = seen.iter().min_by_key(|(_, sighting)| sighting.last).map(|(need, _)| need.clone());
            oldest.map(|need| seen.remove(&need));
        }
        let new = || Sighting { first: now, last: now, warned: now, places: BTreeMap::new() };
        let sighting = seen.entry(need.clone()).or_insert_with(new);
        sighting.last = now;
        let is_due = is_new || sighting.warned + WARNING_PAUSE <= now;
        if is_due {
            sighting.warned = now;
        }
        sighting.places.retain(|_, place| place.last + FRESH > now);
        let new = || Place { since: message.since, last: now, instance_id: message.instance_id.to_owned(), written: None };
        let place = sighting.places.entry(message.queue).or_insert_with(new);
        place.since = place.since.min(message.since);
        place.last = now;
        if place.written.is_none_or(|written| written + REFRESH <= now) {
            self.news.notify_one();
        }
        drop(seen);
        if is_due {
            self.warn(hub, need, message.instance_id);
        }
    }

    fn warn(&self, hub: &Hub, need: &Need, instance_id: &str) {
        let version = Some(need.version.as_str());
        let until = || {
            let Patience { alone, among_others } = self.patience;
            format!("it fails after {} without another worker, or after {} with others", words(alone), words(among_others))
        };
        let (what, remedy) = match need.kind {
            AwaitedKind::Orchestrator => (
                self.registry.no_orchestrator(&need.name, version).error_message,
                format!(
                    "Its instances wait: start a worker that has it, or register it, this version or a fallback; {}",
                    until()
                ),
            ),
            AwaitedKind::Activity => (
                self.registry.no_activity(&need.name, version).error_message,
                format!("Its calls wait: start a worker that has it, or register it, this version or a fallback; {}", until()),
            ),
            AwaitedKind::Entity => (
                format!("This worker hosts no entities, so not \"{}\".", need.name),
                "What is sent to it waits: keep a worker of .NET running that hosts it".to_owned(),
            ),
            AwaitedKind::Event => (
                format!("This version of taskhub does not know events of the kind \"{}\".", need.name),
                "Instances with such an event wait: keep a worker running that knows it, or update this one".to_owned(),
            ),
        };
        let (hub, worker, instance) = (hub.names_hub(), &self.worker_id, instance_id);
        tracing::warn!(hub, worker, instance, missing = %what, %remedy, "messages wait for what this worker does not host");
    }

    /// How long a message is away before it is looked at again.
    pub(crate) fn pause(&self, need: &Need, message: Waiting<'_>) -> Duration {
        let (now, own) = (Instant::now(), back_off(message.receives).min(PAUSE_MAX));
        tracing::debug!(instance = message.instance_id, name = need.name, "a message waits for a worker that has its code");
        if message.instance_id.is_empty() || need.kind == AwaitedKind::Activity {
            return own;
        }
        let mut instances = lock(&self.instances);
        match instances.get_mut(message.instance_id) {
            Some(due) if due.at > now => due.at.duration_since(now),
            Some(due) => {
                due.at = now + own;
                due.replaces &= due.need == *need;
                due.need = need.clone();
                own
            }
            None => {
                if instances.len() >= INSTANCES_MAX {
                    instances.retain(|_, due| due.is_current());
                }
                if instances.len() < INSTANCES_MAX {
                    let due = Due { at: now + own, queue: message.queue, need: need.clone(), replaces: false };
                    instances.insert(message.instance_id.to_owned(), due);
                }
                own
            }
        }
    }

    /// When messages of this instance come again that wait for need, if any do.
    pub(crate) fn awaited_in(&self, instance_id: &str) -> Option<Duration> {
        self.due_in(instance_id, |_| true)
    }

    /// The same if a start among them is to replace the execution that runs.
    pub(crate) fn replaced_in(&self, instance_id: &str) -> Option<Duration> {
        self.due_in(instance_id, |due| due.replaces)
    }

    fn due_in(&self, instance_id: &str, is_meant: impl Fn(&Due) -> bool) -> Option<Duration> {
        let due = lock(&self.instances).get(instance_id).filter(|due| due.is_current() && is_meant(due))?.at;
        Some(due.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)))
    }

    /// The instance row is that of a start which waits.
    pub(crate) fn replaces(&self, instance_id: &str) {
        if let Some(due) = lock(&self.instances).get_mut(instance_id) {
            due.replaces = true;
        }
    }

    /// Nothing of this instance waits any more.
    pub(crate) fn forget(&self, instance_id: &str) {
        lock(&self.instances).remove(instance_id);
    }

    /// The failure of what has waited for long enough. `None` while it waits.
    pub(crate) async fn failure(&self, hub: &Hub, need: &Need, message: Waiting<'_>) -> Option<FailureDetails> {
        if self.patience == Patience::NONE {
            return Some(self.missing(need, ""));
        }
        self.note(hub, need, message);
        let now = Instant::now();
        let waited = hub.now().since(message.since);
        let alone_since = lock(&self.standing).alone_since;
        if let Some(since) = alone_since
            && waited.min(now.duration_since(since)) >= self.patience.alone
            && self.is_alone(hub).await
        {
            let limit = words(self.patience.alone);
            return Some(self.missing(need, &format!(" For {limit} no other worker was alive in the hub that could have it.")));
        }
        // A hub that was at rest for a day is not one in which others were waited for.
        let seen_for = lock(&self.seen).get(need).map_or(Duration::ZERO, |sighting| now.duration_since(sighting.first));
        if waited >= self.patience.among_others && seen_for >= self.patience.alone.min(self.patience.among_others) {
            let limit = words(self.patience.among_others);
            return Some(
                self.missing(need, &format!(" Other workers, one of which could have it, were waited for for {limit}.")),
            );
        }
        None
    }

    /// Whether there is no other worker of ours that owns nothing. If there is, being alone begins anew.
    async fn is_alone(&self, hub: &Hub) -> bool {
        match hub.others_are_present(&self.worker_id).await {
            Ok(false) => true,
            Ok(true) => {
                lock(&self.standing).alone_since = Some(Instant::now());
                false
            }
            Err(error) => {
                tracing::warn!(hub = hub.names_hub(), %error, "whether other workers are there could not be read");
                false
            }
        }
    }

    fn missing(&self, need: &Need, waited: &str) -> FailureDetails {
        let version = Some(need.version.as_str());
        let mut failure = match need.kind {
            AwaitedKind::Activity => self.registry.no_activity(&need.name, version),
            _ => self.registry.no_orchestrator(&need.name, version),
        };
        failure.error_message.push_str(waited);
        failure
    }

    /// Counts one more try of a message that is given up after so many: receives that were spent waiting for code are none. Before
    /// the last one it is the count of its receives, because nothing else survives a worker; but of a message that may have
    /// waited they tell nothing, so that its tries here count.
    pub(crate) async fn tries(&self, hub: &Hub, message: &Hold, limit: u32) -> u32 {
        let here = self.count_try(&message.id);
        if message.dequeue_count < limit {
            return message.dequeue_count;
        }
        match hub.may_have_waited(message.queue, message.inserted_on).await {
            Ok(false) => message.dequeue_count,
            Ok(true) => here,
            Err(error) => {
                tracing::warn!(hub = hub.names_hub(), %error, "whether a message has waited for its code could not be read");
                here.min(limit - 1)
            }
        }
    }

    fn count_try(&self, message_id: &str) -> u32 {
        let mut tries = lock(&self.tries);
        if tries.len() >= INSTANCES_MAX {
            tries.clear();
        }
        let count = tries.entry(message_id.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// What the partition table has shown: whether this worker owns everything undisturbed, or works without owning anything.
    pub(crate) fn stands(&self, is_alone: bool, is_guest: bool) {
        let mut standing = lock(&self.standing);
        standing.alone_since = is_alone.then(|| standing.alone_since.unwrap_or_else(Instant::now));
        if is_guest && !standing.is_guest {
            self.news.notify_one();
        }
        standing.is_guest = is_guest;
    }

    /// Keeps the hub's rows about what is waited for, for ever. It writes nothing as long as this worker hosts everything.
    pub(crate) async fn tell(&self, hub: &Hub) {
        loop {
            tokio::select! {
                biased;
                () = self.news.notified() => {}
                () = tokio::time::sleep(REFRESH) => {}
            }
            for (need, queue, row) in self.rows_due(hub) {
                if let Err(error) = hub.write_awaited(&need, queue, &row).await {
                    tracing::warn!(hub = hub.names_hub(), %error, "what is waited for could not be written down");
                }
            }
            if lock(&self.standing).is_guest
                && let Err(error) = hub.show_presence(&self.worker_id).await
            {
                tracing::warn!(hub = hub.names_hub(), %error, "this worker could not show that it is there");
            }
        }
    }

    /// The rows to write now; they count as written.
    fn rows_due(&self, hub: &Hub) -> Vec<(Need, QueueId, Awaited)> {
        let (now, time) = (Instant::now(), hub.now());
        let mut rows = Vec::new();
        for (need, sighting) in lock(&self.seen).iter_mut() {
            for (queue, place) in &mut sighting.places {
                if place.written.is_some_and(|written| written + REFRESH > now || place.last <= written) {
                    continue;
                }
                place.written = Some(now);
                let row = Awaited {
                    kind: need.kind,
                    name: need.name.clone(),
                    version: Some(need.version.clone()).filter(|version| !version.is_empty()),
                    queue: hub.queue_name(*queue),
                    since: place.since,
                    last_seen: time,
                    worker: self.worker_id.clone(),
                    instance_id: place.instance_id.clone(),
                    instances: None,
                };
                rows.push((need.clone(), *queue, row));
            }
        }
        let instances = lock(&self.instances);
        for (need, queue, row) in &mut rows {
            let waits = |due: &&Due| due.queue == *queue && due.need == *need && due.is_current();
            let count = instances.values().filter(waits).count();
            row.instances = Some(u32::try_from(count).unwrap_or(u32::MAX)).filter(|count| *count > 0);
        }
        rows
    }

    /// Nobody is to wait for a worker that has left.
    pub(crate) async fn withdraw(&self, hub: &Hub) {
        if std::mem::take(&mut lock(&self.standing).is_guest)
            && let Err(error) = hub.withdraw_presence(&self.worker_id).await
        {
            tracing::debug!(hub = hub.names_hub(), %error, "the presence of this worker is left to its end");
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A limit as people say it.
fn words(limit: Duration) -> String {
    let seconds = limit.as_secs();
    let (count, unit) = [(86_400, "day"), (3600, "hour"), (60, "minute")]
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit))
        .map_or((seconds, "second"), |(size, unit)| (seconds / size, unit));
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}
