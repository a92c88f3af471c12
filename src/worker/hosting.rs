//! What this worker has no code for: its messages go back for workers that do, for how long each time, until when, and who is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::aside::{Aside, PAUSE_MAX};
use super::drains::Drains;
use super::outages::Outages;
use super::patience::Patience;
use super::sightings::{RowDue, Sightings};
use super::step::back_off;
use crate::authoring::Registry;
use crate::error::Result;
use crate::hub::{AwaitedKind, Hold, Hub, Need, QueueId};
use crate::model::{ExecutionStarted, FailureDetails, Timestamp, in_words};

/// How many messages are remembered whose tries count.
const TRIES_MAX: usize = 10_000;
/// Between two looks for rows of what nobody waits for any more.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

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
    seen: Mutex<Sightings>,
    drains: Drains,
    aside: Mutex<Aside>,
    /// How often messages could not be worked on here although their code was not missing, by their ids.
    tries: Mutex<BTreeMap<String, u32>>,
    /// Rung when there is something to tell.
    news: Notify,
    outages: Outages,
}

/// This worker among the workers of the hub.
#[derive(Debug, Default)]
struct Standing {
    /// Since when, without a break, it owns every partition and nobody asks for one.
    alone_since: Option<Instant>,
    /// It works, but owns no partition, where others would see it.
    is_guest: bool,
}

impl Hosting {
    pub(crate) fn new(registry: Registry, worker_id: String, patience: Patience, remembered_max: usize) -> Self {
        let (standing, seen, drains, tries, news, outages) = Default::default();
        let aside = Mutex::new(Aside::new(remembered_max));
        Self { registry, worker_id, patience, standing, seen, drains, aside, tries, news, outages }
    }

    /// The orchestrator that this worker would need and does not have.
    pub(crate) fn missing_orchestrator(&self, started: &ExecutionStarted) -> Option<Need> {
        let need = || Need::new(AwaitedKind::Orchestrator, &started.name, started.version.as_deref());
        (!self.registry.hosts(started)).then(need)
    }

    /// What keeps an instance from beginning that a client has started, although its code may be here.
    pub(crate) async fn drain(&self, hub: &Hub, started: &ExecutionStarted) -> Result<Option<Need>> {
        let is_drained = self.drains.keep_from_beginning(hub, started).await?;
        Ok(is_drained.then(|| Need::new(AwaitedKind::Drain, &started.name, started.version.as_deref())))
    }

    /// The activity that this worker would need and does not have.
    pub(crate) fn missing_activity(&self, name: &str, version: Option<&str>) -> Option<Need> {
        let is_here = self.registry.hosts_activity(name, version);
        (!is_here).then(|| Need::new(AwaitedKind::Activity, name, version))
    }

    /// Notes that a message waits, and tells people at the first one and then now and then.
    pub(crate) fn note(&self, hub: &Hub, need: &Need, message: Waiting<'_>) {
        let told = lock(&self.seen).note(hub, need, message);
        if told.write {
            self.news.notify_one();
        }
        if told.warn {
            self.warn(need, message.instance_id);
        }
    }

    fn warn(&self, need: &Need, instance_id: &str) {
        let version = Some(need.version.as_str());
        let until = |which: &str| {
            let (alone, among_others) = (in_words(self.patience.alone), in_words(self.patience.among_others));
            format!(
                "{which} wait: start a worker that has it, or register it, this version or a fallback. If nobody does, they fail after \
                 {alone} if this worker is the only one, and after {among_others} if there are others"
            )
        };
        let (what, remedy) = match need.kind {
            AwaitedKind::Orchestrator => {
                (self.registry.no_orchestrator(&need.name, version).error_message, until("Its instances"))
            }
            AwaitedKind::Activity => (self.registry.no_activity(&need.name, version).error_message, until("Its calls")),
            AwaitedKind::Entity => (
                format!("This worker hosts no entities, so not \"{}\".", need.name),
                "What is sent to it waits: keep a worker of .NET running that hosts it".to_owned(),
            ),
            AwaitedKind::Event => (
                format!("This version of taskhub does not know events of the kind \"{}\".", need.name),
                "Instances with such an event wait: keep a worker running that knows it, or update this one".to_owned(),
            ),
            AwaitedKind::Drain => {
                return tracing::info!(
                    instance = instance_id,
                    name = need.name,
                    "new instances wait: their orchestrator is drained"
                );
            }
            AwaitedKind::Limit => {
                return tracing::info!(instance = instance_id, name = need.name, "messages wait for a place under a limit");
            }
        };
        tracing::warn!(instance = instance_id, missing = %what, %remedy, "messages wait for what this worker does not host");
    }

    /// How long so many messages of an instance are away before they are looked at again, or one of which no instance is known: all
    /// messages of an instance come again at one time, so that their order stays.
    pub(crate) fn pause(&self, need: &Need, message: Waiting<'_>, messages: usize) -> Duration {
        tracing::debug!(instance = message.instance_id, name = need.name, "a message waits for a worker that has its code");
        let mut aside = lock(&self.aside);
        if message.instance_id.is_empty() || need.kind == AwaitedKind::Event && message.queue == QueueId::WorkItems {
            return aside.pause(back_off(message.receives).min(PAUSE_MAX));
        }
        aside.instance(message.instance_id, need, message.queue, messages, message.receives)
    }

    /// Messages of an instance are away for so long, whose code is here.
    pub(crate) fn away(&self, need: &Need, message: Waiting<'_>, pause: Duration) {
        lock(&self.aside).for_so_long(message.instance_id, need, message.queue, 1, pause);
    }

    /// How long the call of an activity is away before it may be looked at again.
    pub(crate) fn pause_of_call(&self, need: &Need, message_id: &str, instance_id: &str) -> Duration {
        lock(&self.aside).call(message_id, need, instance_id)
    }

    /// Whether the work items that are visible are left to other workers: calls that this one does not host, and not many. They
    /// are looked at, and not received, so that a worker that hosts them finds them.
    pub(crate) async fn leaves_work_items(&self, hub: &Hub) -> bool {
        if !lock(&self.aside).may_leave_calls() {
            return false;
        }
        match hub.queues.visible_ids(QueueId::WorkItems).await {
            Ok(ids) => lock(&self.aside).leaves_calls(ids.iter().map(String::as_str)),
            // The receive tells of it.
            Err(_) => false,
        }
    }

    /// When messages of this instance come again that wait for need, if any do.
    pub(crate) fn awaited_in(&self, instance_id: &str) -> Option<Duration> {
        lock(&self.aside).due_in(instance_id, false)
    }

    /// The same if a start among them is to replace the execution that runs.
    pub(crate) fn replaced_in(&self, instance_id: &str) -> Option<Duration> {
        lock(&self.aside).due_in(instance_id, true)
    }

    /// Whether so many instances wait that some of them are not remembered.
    pub(crate) fn forgets_some(&self) -> bool {
        lock(&self.aside).is_full()
    }

    /// The orchestrator for which everything waits that is for this instance.
    pub(crate) fn whole(&self, instance_id: &str) -> Option<Need> {
        lock(&self.aside).whole(instance_id).cloned()
    }

    /// From now on everything waits that is for this instance; also for a start that is to replace an execution, if one is.
    pub(crate) fn settle(&self, instance_id: &str, replaces: bool) {
        lock(&self.aside).settle(instance_id, replaces);
    }

    /// Nothing is known of what waits in a queue that was in other hands.
    pub(crate) fn forget_queue(&self, queue: QueueId) {
        lock(&self.aside).forget_queue(queue);
    }

    /// Nothing of this instance waits any more.
    pub(crate) fn forget(&self, instance_id: &str) {
        lock(&self.aside).forget(instance_id);
    }

    /// The failure of what has waited for long enough. `None` while it waits.
    pub(crate) async fn failure(&self, hub: &Hub, need: &Need, message: Waiting<'_>) -> Option<FailureDetails> {
        let fails_at_once = need.kind == AwaitedKind::Orchestrator && self.registry.fails_mismatch(&need.name);
        if need.kind != AwaitedKind::Drain && (fails_at_once || self.patience == Patience::NONE) {
            return Some(self.missing(need, ""));
        }
        self.note(hub, need, message);
        if need.kind == AwaitedKind::Drain {
            return None;
        }
        let now = Instant::now();
        let waited = hub.now().since(message.since);
        let alone_since = lock(&self.standing).alone_since;
        if let Some(since) = alone_since
            && waited.min(now.duration_since(since)) >= self.patience.alone
            && self.is_alone(hub).await
        {
            let limit = in_words(self.patience.alone);
            return Some(self.missing(need, &format!(" For {limit} no other worker was alive in the hub that could have it.")));
        }
        // A hub that was at rest meanwhile is not one in which others were waited for.
        let limit = self.patience.among_others;
        let first_seen = lock(&self.seen).first_seen(need, message.queue);
        if waited >= limit && first_seen.is_some_and(|first| hub.now().since(first) >= limit) {
            let limit = in_words(limit);
            return Some(
                self.missing(need, &format!(" Other workers, one of which could have it, were waited for for {limit}.")),
            );
        }
        None
    }

    /// Whether nobody else is seen to work in the hub, as far as the partition table has shown.
    pub(crate) fn is_by_itself(&self) -> bool {
        lock(&self.standing).alone_since.is_some()
    }

    /// Whether there is no other worker of ours that owns nothing. If there is, being alone begins anew.
    async fn is_alone(&self, hub: &Hub) -> bool {
        match hub.awaited.others_are_present(&self.worker_id).await {
            Ok(false) => true,
            Ok(true) => {
                lock(&self.standing).alone_since = Some(Instant::now());
                false
            }
            Err(error) => {
                tracing::warn!(%error, "whether other workers are there could not be read");
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
        match hub.awaited.may_have_waited(message.queue, message.inserted_on).await {
            Ok(false) => message.dequeue_count,
            Ok(true) => here,
            Err(error) => {
                tracing::warn!(%error, "whether a message has waited for its code could not be read");
                here.min(limit - 1)
            }
        }
    }

    fn count_try(&self, message_id: &str) -> u32 {
        let mut tries = lock(&self.tries);
        if tries.len() >= TRIES_MAX {
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

    /// It is no longer alone. That it was a guest is told by its row until that is withdrawn.
    pub(crate) fn leaves(&self) {
        lock(&self.standing).alone_since = None;
    }

    /// Keeps the hub's rows about what is waited for, for ever. It writes nothing as long as this worker hosts everything.
    pub(crate) async fn tell(&self, hub: &Hub, refresh: Duration) {
        self.drains.read_ahead(hub).await;
        let (mut swept, mut has_rows) = (Instant::now(), false);
        loop {
            tokio::select! {
                biased;
                () = self.news.notified() => {}
                () = tokio::time::sleep(refresh) => {}
            }
            let rows = lock(&self.seen).rows_due(hub, &self.worker_id, &mut lock(&self.aside));
            for row in rows {
                has_rows = true;
                self.written(&self.write(hub, row).await);
            }
            if has_rows && swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                match hub.awaited.sweep(&self.worker_id).await {
                    Ok(left) => has_rows = left,
                    Err(error) => self.written(&Err(error)),
                }
            }
            let (is_guest, is_alone) = {
                let standing = lock(&self.standing);
                (standing.is_guest, standing.alone_since.is_some())
            };
            if is_alone && has_rows {
                // Who comes and goes between two looks of those that wait was there all the same.
                self.is_alone(hub).await;
            }
            if is_guest {
                self.shown(&hub.awaited.show_presence(&self.worker_id).await);
            }
        }
    }

    fn written(&self, written: &Result<()>) {
        const FAILED: &str = "what is waited for could not be written down";
        if let Some((error, failures)) = self.outages.after(FAILED, String::new, written) {
            tracing::warn!(failures, %error, "what is waited for could not be written down");
        }
    }

    fn shown(&self, shown: &Result<()>) {
        const FAILED: &str = "this worker could not show that it is there";
        if let Some((error, failures)) = self.outages.after(FAILED, String::new, shown) {
            tracing::warn!(failures, %error, "this worker could not show that it is there");
        }
    }

    /// The first time, the row that there is tells since when workers have seen it without a break.
    async fn write(&self, hub: &Hub, due: RowDue) -> Result<()> {
        let RowDue { need, queue, mut row, is_first } = due;
        row.suggestion = self.suggestion(&need).map(str::to_owned);
        if is_first {
            let known = hub.awaited.read(&need, queue).await?.filter(|known| known.valid_until >= row.first_seen);
            row.first_seen = known.map_or(row.first_seen, |known| known.first_seen.min(row.first_seen));
            lock(&self.seen).seen_since(&need, queue, row.first_seen);
        }
        hub.awaited.write(&need, queue, &row).await
    }

    /// What is hosted here under a name that is like the one that is missing.
    fn suggestion(&self, need: &Need) -> Option<&str> {
        match need.kind {
            AwaitedKind::Orchestrator => self.registry.orchestrator_close_to(&need.name),
            AwaitedKind::Activity => self.registry.activity_close_to(&need.name),
            AwaitedKind::Entity | AwaitedKind::Event | AwaitedKind::Drain | AwaitedKind::Limit => None,
        }
    }

    /// Nobody is to wait for a worker that has left.
    pub(crate) async fn withdraw(&self, hub: &Hub) {
        if std::mem::take(&mut lock(&self.standing).is_guest)
            && let Err(error) = hub.awaited.withdraw_presence(&self.worker_id).await
        {
            tracing::debug!(%error, "the presence of this worker is left to its end");
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
