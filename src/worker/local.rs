//! Activities that run inside a turn: their calls and their answers are committed with it, and no message goes out for them.
//!
//! What has not answered when the turn is to be committed becomes an ordinary call. Its work item goes out with the turn, and whoever
//! serves it here goes on with the run that is under way.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::executor::{Answer, Executor};
use super::hosting::Hosting;
use super::log;
use super::outbox::Outbox;
use super::partition::Partition;
use super::recorder::Recorder;
use super::spans;
use super::watch::{Code, What};
use super::work_items::{begins_at_once, task_of};
use crate::authoring::Ends;
use crate::model::Message;

/// With so many events to be committed a turn begins no more of them, so that what is committed at once is mostly one transaction.
pub(super) const EVENTS_MAX: usize = 90;
/// The same for the bytes of these events.
pub(super) const BYTES_MAX: usize = 3 << 20;

/// The run of an activity. It gives nothing if it has failed after it was told to end, which is no failure of its call.
type Running = BoxFuture<'static, Option<Answer>>;

/// What local activities of a worker share.
#[derive(Debug)]
pub(crate) struct LocalActivities {
    executor: Arc<Executor>,
    places: Arc<Semaphore>,
    /// How long a turn goes on with them.
    time: Duration,
    /// The worker stops: no more of them begin.
    stopping: CancellationToken,
    adopted: Adopted,
}

/// Runs that are under way for calls that have become ordinary ones, by the identities of their work items.
#[derive(Default)]
struct Adopted(Mutex<BTreeMap<Uuid, Running>>);

/// The local activities of one turn.
pub(super) struct LocalRun<'a> {
    shared: &'a LocalActivities,
    hosting: &'a Hosting,
    partition: &'a Partition,
    instance_id: &'a str,
    running: FuturesUnordered<Run>,
    /// The work items of calls that are not answered yet, by the ids of their tasks.
    open: BTreeMap<i32, Message>,
    /// Set by the first of them.
    until: Option<Instant>,
}

/// One that runs.
struct Run {
    task_id: i32,
    running: Running,
}

impl Future for Run {
    type Output = (i32, Option<Answer>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.running.as_mut().poll(cx).map(|answer| (self.task_id, answer))
    }
}

/// Runs that were still under way when their turn was to be committed.
#[derive(Default)]
pub(super) struct Unfinished(Vec<(Uuid, Running)>);

impl LocalActivities {
    pub(super) fn new(executor: Arc<Executor>, places: usize, time: Duration, stopping: CancellationToken) -> Self {
        Self { executor, places: Arc::new(Semaphore::new(places)), time, stopping, adopted: Adopted::default() }
    }

    /// The run that is under way for a work item, if there is one.
    pub(super) fn adopted(&self, item: &Message) -> Option<Running> {
        self.adopted.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&item.activity_id)
    }

    /// The turn is committed: whoever serves the work items that are held here goes on with their runs. The others end.
    pub(super) fn adopt(&self, unfinished: Unfinished, outbox: &Outbox) {
        let mut adopted = self.adopted.0.lock().unwrap_or_else(PoisonError::into_inner);
        adopted.extend(unfinished.0.into_iter().filter(|(item, _)| outbox.holds(*item)));
    }

    /// Runs the activity of a work item, once there is a place for it.
    fn run(&self, item: &Message) -> Running {
        let lost = CancellationToken::new();
        let ends = Ends { stopping: self.stopping.clone(), lost: lost.clone() };
        let Some(task) = task_of(item, ends.clone()) else { return std::future::ready(None).boxed() };
        let (executor, places) = (Arc::clone(&self.executor), Arc::clone(&self.places));
        let code = Code::new(spans::activity(&task), What::Activity);
        async move {
            let _lost = lost.drop_guard();
            let _place = places.acquire().await;
            let answer = executor.watched(&code, executor.run_activity(task)).await.ok()?;
            let Err(failure) = &answer else { return Some(answer) };
            let ended_early = ends.have_come();
            code.span.in_scope(|| if ended_early { log::activity_ended_early(failure) } else { log::activity_failed(failure) });
            Some(answer).filter(|_| !ended_early)
        }
        .boxed()
    }
}

impl<'a> LocalRun<'a> {
    pub(super) fn new(shared: &'a LocalActivities, hosting: &'a Hosting, partition: &'a Partition, instance_id: &'a str) -> Self {
        Self { shared, hosting, partition, instance_id, running: FuturesUnordered::new(), open: BTreeMap::new(), until: None }
    }

    /// Takes these calls in, and begins those that may run here and now.
    pub(super) fn take_in(&mut self, calls: Vec<Message>, has_room: bool) {
        for item in calls {
            if has_room && self.may_run(&item) {
                self.running.push(Run { task_id: item.event.event_id, running: self.shared.run(&item) });
            }
            self.open.insert(item.event.event_id, item);
        }
    }

    fn may_run(&mut self, item: &Message) -> bool {
        let time = self.shared.time;
        let until = *self.until.get_or_insert_with(|| Instant::now() + time);
        Instant::now() < until
            && !self.partition.stopping.is_cancelled()
            && begins_at_once(item, &self.shared.executor, self.hosting)
    }

    /// Whether one of them runs.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// The next answers. None when the turn is to be committed without waiting for what runs: after its time, or when a timer is due that it has set, or when
    /// the instance is to be terminated. Where no more may begin, all that runs is waited for, so that what is to be committed grows by one episode and not by one for each.
    pub(super) async fn answers(&mut self, recorder: &Recorder<'_>) -> Vec<(Message, Answer)> {
        let Some(until) = self.until else { return Vec::new() };
        let until = recorder.next_due().map_or(until, |due| until.min(Instant::now() + due));
        let gathers = !recorder.has_room(recorder.size_of_record());
        let mut ended = Vec::new();
        while (gathers || ended.is_empty()) && !self.running.is_empty() {
            let first = tokio::select! {
                biased;
                first = self.running.next() => first,
                () = self.partition.is_to_terminate(self.instance_id) => None,
                () = tokio::time::sleep_until(until) => None,
            };
            let Some(first) = first else { break };
            ended.extend(self.ended(first));
            // What has ended as well goes into the same episode.
            while let Some(Some(next)) = self.running.next().now_or_never() {
                ended.extend(self.ended(next));
            }
        }
        ended
    }

    fn ended(&mut self, (task_id, answer): (i32, Option<Answer>)) -> Option<(Message, Answer)> {
        let answer = answer?;
        self.open.remove(&task_id).map(|item| (item, answer))
    }

    /// What is not answered becomes ordinary: answers the work items that are to be sent. What runs for them is to go on.
    pub(super) fn give_up(&mut self, unfinished: &mut Unfinished) -> Vec<Message> {
        for Run { task_id, running } in std::mem::take(&mut self.running) {
            unfinished.0.extend(self.open.get(&task_id).map(|item| (item.activity_id, running)));
        }
        std::mem::take(&mut self.open).into_values().collect()
    }
}

impl fmt::Debug for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adopted").finish_non_exhaustive()
    }
}
