//! What a worker measures: instruments that are made when it is built, one for each name that it hosts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::checkpoint::CommitError;
use super::drop_reason::DropReason;
use super::recorder::Record;
use super::{Shared, executor::Answer};
use crate::authoring::Registry;
use crate::error::Result;
use crate::hub::{Hub, QueueId};
use crate::metrics::{self, Counter, Gauge, Histogram, Sink, Stopwatch};
use crate::model::{RuntimeStatus, Timestamp};

/// Between two looks at what nothing tells by itself: queues, and the process.
const LOOKS_APART: Duration = Duration::from_secs(30);

/// The label of code that is not registered here.
const OTHERS: &str = "(others)";

/// What a worker measures. Nothing of it is kept if nobody looks.
#[derive(Debug)]
pub(crate) struct Measures {
    pub(super) sink: Sink,
    /// By their names without regard to case.
    orchestrators: BTreeMap<String, Orchestrator>,
    activities: BTreeMap<String, Activity>,
    runs: [Counter; 3],
    histories: [Counter; 3],
    waits: [Histogram; 2],
    partitions: Gauge,
    lateness: Histogram,
    running: Gauge,
    /// The partitions that the worker owns.
    owned: Mutex<Vec<u32>>,
    /// Rung when they are others.
    moved: Notify,
}

#[derive(Debug)]
struct Orchestrator {
    committed: Counter,
    fenced: Counter,
    failed: Counter,
    lost: Counter,
    duration: Histogram,
    started: Counter,
    completed: Counter,
    ended_failed: Counter,
    terminated: Counter,
}

#[derive(Debug)]
struct Activity {
    completed: Counter,
    failed: Counter,
    ended_early: Counter,
    duration: Histogram,
}

/// How the code of an orchestrator runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Over an execution that has stayed in memory.
    Live,
    /// From the beginning of its history.
    Replay,
    /// A replay beside an execution in memory, to compare what they do.
    Check,
}

/// Where the history of a turn came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Cache,
    Assumed,
    Storage,
}

/// A turn that is measured.
#[derive(Debug)]
pub(crate) struct MeasuredTurn<'a> {
    of: Option<&'a Orchestrator>,
    begun: Stopwatch,
}

/// An activity that runs and is measured.
#[derive(Debug)]
pub(super) struct MeasuredRun<'a> {
    of: Option<&'a Activity>,
    running: &'a Gauge,
    begun: Stopwatch,
}

impl Measures {
    /// Those of a worker that hosts this.
    pub(crate) fn new(sink: Sink, registry: &Registry) -> Self {
        let named = |names: Vec<String>| names.into_iter().chain([OTHERS.to_owned()]).filter(|_| sink.is_on());
        let orchestrators =
            named(registry.orchestrator_names()).map(|name| (name.to_lowercase(), Orchestrator::new(&sink, &name)));
        let activities = named(registry.activity_names()).map(|name| (name.to_lowercase(), Activity::new(&sink, &name)));
        let (orchestrators, activities) = (orchestrators.collect(), activities.collect());
        Self {
            runs: ["live", "replay", "check"].map(|way| sink.counter(&metrics::RUNS, &[("way", way)])),
            histories: ["cache", "assumed", "storage"].map(|from| sink.counter(&metrics::HISTORIES, &[("from", from)])),
            waits: ["control", "workitems"].map(|queue| sink.histogram(&metrics::MESSAGE_WAIT, &[("queue", queue)])),
            partitions: sink.gauge(&metrics::PARTITIONS, &[]),
            lateness: sink.histogram(&metrics::LEASE_LATENESS, &[]),
            running: sink.gauge(&metrics::ACTIVITIES_RUNNING, &[]),
            owned: Mutex::default(),
            moved: Notify::new(),
            orchestrators,
            activities,
            sink,
        }
    }

    /// A turn of this orchestrator begins.
    pub(super) fn turn(&self, name: &str) -> MeasuredTurn<'_> {
        MeasuredTurn { of: find(&self.sink, &self.orchestrators, name), begun: Stopwatch::start(&self.sink) }
    }

    /// The code of this activity begins to run.
    pub(super) fn run(&self, name: &str) -> MeasuredRun<'_> {
        self.running.add(1.0);
        let of = find(&self.sink, &self.activities, name);
        MeasuredRun { of, running: &self.running, begun: Stopwatch::start(&self.sink) }
    }

    /// The code of an orchestrator runs.
    pub(super) fn runs(&self, way: Way) {
        self.runs[way as usize].one_more();
    }

    /// The history of a turn was had.
    pub(super) fn history(&self, from: Source) {
        self.histories[from as usize].one_more();
    }

    /// A message was received for the first time.
    pub(super) fn received(&self, queue: QueueId, since: Timestamp, now: Timestamp) {
        self.waits[usize::from(queue == QueueId::WorkItems)].record(now.since(since));
    }

    /// A message is deleted although it had no effect.
    pub(super) fn dropped(&self, why: DropReason) {
        if self.sink.is_on() {
            self.sink.counter(&metrics::DROPPED, &[("reason", why.label())]).one_more();
        }
    }

    /// A message was parked.
    pub(super) fn parked(&self, queue: QueueId) {
        if self.sink.is_on() {
            let queue = if queue == QueueId::WorkItems { "workitems" } else { "control" };
            self.sink.counter(&metrics::PARKED, &[("queue", queue)]).one_more();
        }
    }

    /// All leases were renewed, so long after they had been renewed before.
    pub(super) fn renewed(&self, after: Duration, planned: Duration) {
        self.lateness.record(after.saturating_sub(planned));
    }

    /// The worker owns these partitions now.
    #[allow(clippy::cast_precision_loss, reason = "there are sixteen at most")]
    pub(super) fn owns(&self, hub: &Hub, partitions: impl Iterator<Item = u32>) {
        if self.sink.is_on() {
            let mut owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut *owned, partitions.collect());
            if before != *owned {
                self.moved.notify_one();
            }
            self.partitions.add(owned.len() as f64 - before.len() as f64);
            // Whoever owns them next shows them.
            let left = before.into_iter().filter(|id| !owned.contains(id));
            left.for_each(|id| hub.show_nothing_of(QueueId::Control(id)));
        }
    }
}

impl MeasuredTurn<'_> {
    /// It has ended so.
    pub(super) fn ends(&self, record: &Record, committed: std::result::Result<(), &CommitError>) {
        let Some(of) = self.of else { return };
        of.duration.record(self.begun.elapsed());
        match committed {
            Ok(()) => of.committed.one_more(),
            Err(CommitError::Fenced | CommitError::Torn) => return of.fenced.one_more(),
            Err(CommitError::Storage(_)) => return of.failed.one_more(),
            Err(CommitError::LeaseExpired | CommitError::RowTaken) => of.lost.one_more(),
        }
        of.has_history(record);
    }
}

impl MeasuredRun<'_> {
    /// It has ended so; `was_told`: it may be that it ended because it was told to.
    pub(super) fn ends(&self, answer: &Answer, was_told: bool) {
        let Some(of) = self.of else { return };
        of.duration.record(self.begun.elapsed());
        match answer {
            Ok(_) => &of.completed,
            Err(_) if was_told => &of.ended_early,
            Err(_) => &of.failed,
        }
        .one_more();
    }
}

impl Drop for MeasuredRun<'_> {
    fn drop(&mut self) {
        self.running.add(-1.0);
    }
}

impl Orchestrator {
    fn new(sink: &Sink, name: &str) -> Self {
        let turns = |outcome| sink.counter(&metrics::TURNS, &[("orchestrator", name), ("outcome", outcome)]);
        let ended = |status: RuntimeStatus| sink.counter(&metrics::ENDED, &[("orchestrator", name), ("status", status.name())]);
        Self {
            committed: turns("committed"),
            fenced: turns("fenced"),
            failed: turns("failed"),
            lost: turns("lost"),
            duration: sink.histogram(&metrics::TURN_DURATION, &[("orchestrator", name)]),
            started: sink.counter(&metrics::STARTED, &[("orchestrator", name)]),
            completed: ended(RuntimeStatus::Completed),
            ended_failed: ended(RuntimeStatus::Failed),
            terminated: ended(RuntimeStatus::Terminated),
        }
    }

    /// The history of a turn was committed.
    fn has_history(&self, record: &Record) {
        if record.kept_rows == 0 {
            self.started.one_more();
        }
        match record.status {
            Some(RuntimeStatus::Completed) => self.completed.one_more(),
            Some(RuntimeStatus::Failed) => self.ended_failed.one_more(),
            Some(RuntimeStatus::Terminated) => self.terminated.one_more(),
            _ => {}
        }
    }
}

impl Activity {
    fn new(sink: &Sink, name: &str) -> Self {
        let runs = |outcome| sink.counter(&metrics::ACTIVITIES, &[("activity", name), ("outcome", outcome)]);
        let duration = sink.histogram(&metrics::ACTIVITY_DURATION, &[("activity", name)]);
        Self { completed: runs("completed"), failed: runs("failed"), ended_early: runs("ended_early"), duration }
    }
}

fn find<'m, T>(sink: &Sink, named: &'m BTreeMap<String, T>, name: &str) -> Option<&'m T> {
    if sink.is_on() { named.get(&name.to_lowercase()).or_else(|| named.get(OTHERS)) } else { None }
}

impl Shared {
    /// Looks at the queues of what the worker owns now and then, for ever: two calls each. Whoever owns the first partition looks at the work items and
    /// at what is parked too, so that a hub is looked at as often however many workers it has.
    pub(super) async fn measure(&self) {
        let measures = self.executor.measures();
        if !measures.sink.is_on() {
            return std::future::pending().await;
        }
        loop {
            measures.sink.watch_process();
            if let Err(error) = self.measure_queues(measures).await {
                tracing::debug!(%error, "the queues could not be measured");
            }
            tokio::select! {
                biased;
                () = measures.moved.notified() => {}
                () = tokio::time::sleep(LOOKS_APART.max(self.options.refresh)) => {}
            }
        }
    }

    async fn measure_queues(&self, measures: &Measures) -> Result<()> {
        let owned = measures.owned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_first = owned.contains(&0);
        let others = [QueueId::WorkItems].into_iter().filter(|_| is_first);
        self.hub.measure(owned.into_iter().map(QueueId::Control).chain(others), is_first).await
    }
}
