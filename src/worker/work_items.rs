//! Activities: receive work items as slots are free, run them, answer their orchestrations.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::Shared;
use super::delivery::{Delivery, Incoming, Undone};
use super::direct::{Direct, To};
use super::executor::{Answer, Executor, Unavailable};
use super::hosting::{Hosting, Waiting};
use super::intake::Read;
use super::log;
use super::memory::Size;
use super::park::Trouble;
use super::partition::crowded_out;
use super::poll::{PAUSE_MAX, Source};
use super::recorder::Outbound;
use super::spans;
use super::throttle::Place;
use super::watch::{Code, What};
use crate::authoring::{ActivityTask, Ends};
use crate::hub::{AwaitedKind, Need, QueueId, Reader, Received};
use crate::ids::{DecisionId, DecisionKind};
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message, Sender};
use crate::usage;
use crate::window::Room;

/// How long a work item waits for room in memory before it goes back: another worker may have some.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause between two receives while nobody else sends work items: what comes then is what dead workers had held.
const PAUSE_ALONE_MAX: Duration = Duration::from_secs(300);
/// The shortest time between two looks at work items that are left to other workers.
const LEFT_PAUSE: Duration = Duration::from_secs(1);

/// The queue of work items.
struct WorkItems<'a> {
    shared: &'a Arc<Shared>,
    until: CancellationToken,
}

impl Source for WorkItems<'_> {
    fn queue(&self) -> QueueId {
        QueueId::WorkItems
    }

    fn ending(&self) -> &CancellationToken {
        &self.until
    }

    fn room(&self) -> impl Future<Output = Option<Room>> + Send {
        self.shared.free_slots(&self.until)
    }

    fn left_until(&self) -> Option<Instant> {
        self.shared.left_until.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn pause_max(&self) -> Duration {
        if self.shared.hosting.is_by_itself() { PAUSE_ALONE_MAX } else { PAUSE_MAX }
    }

    async fn leaves(&self) -> Option<Duration> {
        self.shared.hosting.leaves_work_items(&self.shared.hub).await.then_some(LEFT_PAUSE)
    }

    fn take_in(&self, delivery: Delivery<Received>) {
        let (shared, until) = (Arc::clone(self.shared), self.until.clone());
        self.shared.tasks.spawn(async move {
            if let Some(item) = shared.read_work_item(delivery, &until).await {
                shared.usage.activities.of(shared.serve_work_item(item, until)).await;
            }
        });
    }

    fn reader(&self) -> Arc<dyn Reader> {
        let (shared, to) = (Arc::clone(self.shared), To::Activities(self.until.clone()));
        Arc::new(Direct { shared, to, span: Span::current() })
    }
}

impl Shared {
    /// Receives work items until the worker stops, or its app may no longer work.
    pub(crate) async fn poll_work_items(self: Arc<Self>, until: CancellationToken) {
        self.poll(WorkItems { shared: &self, until }).await;
    }

    /// Starts to work on a work item that has been read.
    pub(super) fn begin_work_item(self: &Arc<Self>, item: Delivery, until: &CancellationToken) {
        let (shared, until) = (Arc::clone(self), until.clone());
        let serving = async move { shared.usage.activities.of(shared.serve_work_item(item, until)).await };
        self.tasks.spawn(serving.in_current_span());
    }

    /// Free slots: at least one, at most what one receive can bring. `None` when nothing more is received.
    async fn free_slots(&self, until: &CancellationToken) -> Option<Room> {
        let free = async {
            self.renewals_in_time(QueueId::WorkItems).await;
            self.activities.room(self.options.work_items_a_receive).await
        };
        tokio::select! {
            biased;
            () = until.cancelled() => None,
            slots = free => Some(slots),
        }
    }

    /// A work item with its body. `None` if it was released or parked.
    async fn read_work_item(&self, delivery: Delivery<Received>, until: &CancellationToken) -> Option<Delivery> {
        let mut delivery = match delivery.incoming() {
            Incoming::Read(delivery) => return Some(delivery),
            Incoming::InBlob(delivery) => delivery,
            Incoming::Unreadable(delivery) => {
                self.unreadable(delivery, None).await;
                return None;
            }
        };
        let mut size = Size::default();
        loop {
            let reading = async {
                let room = tokio::time::timeout(ROOM_PATIENCE, self.items.room(size)).await;
                let room = room.map_err(|_| crowded_out(&delivery.hold))?;
                Ok(room.read(&self.hub, &delivery, size).await)
            };
            let read = tokio::select! {
                biased;
                () = until.cancelled() => Err(Duration::ZERO),
                read = reading => read,
            };
            let read = match read {
                Ok(read) => read,
                Err(delay) => {
                    delivery.release(self, delay).await;
                    return None;
                }
            };
            match self.with_body(delivery, read, None).await? {
                Read::Whole(delivery) => return Some(delivery),
                Read::TooLarge(still_too_large) => (delivery, size) = (still_too_large, size.next()),
            }
        }
    }

    /// `until`: when the activity is told that it should end.
    async fn serve_work_item(&self, item: Delivery, until: CancellationToken) {
        let ends = Ends { stopping: until, lost: item.hold().lost.clone() };
        let Some(task) = task_of(&item.message, ends) else {
            let span = spans::instance(&item.message.target.instance_id);
            return Box::pin(self.work_item_failed(item, &Trouble::no_work_item())).instrument(span).await;
        };
        usage::bill(&task.name);
        let span = spans::activity(&task);
        self.serve_activity(item, task).instrument(span).await;
    }

    /// Runs an activity, if it is here, and answers its call. What is rare is in a box: the task has room for the largest of its ways.
    async fn serve_activity(&self, mut item: Delivery, task: ActivityTask) {
        if let Some(need) = self.hosting.missing_activity(&task.name, task.version.as_deref()) {
            return Box::pin(self.serve_missing(item, &need)).await;
        }
        let _place = match self.place_of(&mut item, &task).await {
            Ok(place) => place,
            Err(pause) if self.hosting.is_by_itself() => return item.release(self, pause).await,
            // This worker is not told when it comes again, so that another that is idle may have it.
            Err(pause) => return item.leave_to_others(self, pause).await,
        };
        let (ends, code) = (task.ends.clone(), Code::new(Span::current(), What::Activity));
        let run = async {
            // One that was begun inside its turn has its own end in view.
            match self.local.adopted(&item.message) {
                Some(run) => {
                    tracing::debug!("an activity goes on that was begun inside its turn");
                    run.await.ok_or(Unavailable)
                }
                None => self.executor.watched(&code, self.executor.run_activity(task)).await,
            }
        };
        let running = std::panic::AssertUnwindSafe(run);
        let begun = Instant::now();
        let ran = tokio::select! {
            biased;
            ran = running.catch_unwind() => ran,
            // Stopping waits for activities as long as it was told to; then they go back, to run elsewhere.
            () = self.giving_up.cancelled() => {
                tracing::warn!("activity was still running after the grace period; it runs again elsewhere");
                return item.release(self, Duration::ZERO).await;
            }
        };
        // How long an activity takes does not tell how fast its work item is answered.
        item.place().leave_out(begun.elapsed());
        match ran {
            Ok(Err(Unavailable)) => item.release(self, Duration::ZERO).await,
            // It may have failed because it was told to end.
            Ok(Ok(Err(failure))) if ends.have_come() => {
                log::activity_ended_early(&failure);
                item.release(self, Duration::ZERO).await;
            }
            Ok(Ok(result)) => self.finish_work_item(item, result).await,
            Err(panic) => Box::pin(self.work_item_failed(item, &Trouble::of_panic(&*panic))).await,
        }
    }

    /// A place for an activity that has a limit of its own; `Err` tells for how long its work item goes back.
    async fn place_of(&self, item: &mut Delivery, task: &ActivityTask) -> Result<Option<Place<'_>>, Duration> {
        let Some(throttle) = self.executor.throttles().activity(&task.name) else { return Ok(None) };
        let begun = Instant::now();
        let place = tokio::select! {
            biased;
            () = task.ends.come() => return Err(Duration::ZERO),
            place = throttle.place(!self.hosting.is_by_itself()) => place,
        };
        // How long it waits here does not tell how fast work items are answered.
        item.place().leave_out(begun.elapsed());
        if place.is_err() {
            let (queue, instance_id) = (item.queue, item.message.target.instance_id.as_str());
            let waiting = Waiting { queue, instance_id, since: item.waits_since(), receives: item.dequeue_count };
            self.hosting.note(&self.hub, &Need::new(AwaitedKind::Limit, &task.name, task.version.as_deref()), waiting);
        }
        place.map(Some)
    }

    /// Another worker may have the activity; in the end its call fails.
    async fn serve_missing(&self, item: Delivery, need: &Need) {
        let (queue, instance_id) = (item.queue, item.message.target.instance_id.as_str());
        let waiting = Waiting { queue, instance_id, since: item.waits_since(), receives: item.dequeue_count };
        match self.hosting.failure(&self.hub, need, waiting).await {
            Some(failure) => self.finish_work_item(item, Err(failure)).await,
            None => {
                let pause = self.hosting.pause_of_call(need, &item.id, instance_id);
                item.leave_to_others(self, pause).await;
            }
        }
    }

    /// Answers a call.
    async fn finish_work_item(&self, item: Delivery, result: Answer) {
        let failure = result.as_ref().err().cloned();
        let answer = self.answer(&item.message, result);
        if self.options.fast_path.fuses_answers
            && let Some((reader, place)) = self.hub.queues.readers(answer.queue).place_for(&answer.message)
        {
            failure.iter().for_each(log::activity_failed);
            return reader.take_in(item.into_content().answered_by(answer.message), place);
        }
        match self.hub.queues.send(answer.queue, answer.message.clone(), Duration::ZERO).await {
            Ok(()) => {
                if let Some(failure) = failure {
                    log::activity_failed(&failure);
                }
                self.delete_work_item(item).await;
            }
            // The work item is the durable marker: it runs again.
            Err(error) => Box::pin(self.work_item_failed(item, &Trouble::from(&error))).await,
        }
    }

    /// The completion message. It carries the decision that it answers, recomputed if .NET sent the work item.
    fn answer(&self, item: &Message, result: Answer) -> Outbound {
        let task_id = item.event.event_id;
        let event = HistoryEvent::arriving(self.hub.now(), EventKind::answer(task_id, result));
        let id = self.hub.rng.uuid();
        let InstanceRef { instance_id, execution_id } = item.target.clone();
        let sender = Sender { instance_id, execution_id };
        let decision_id = item.decision_id.clone().or_else(|| recomputed_decision(item));
        let message = Message::from_instance(id, event, item.target.clone(), sender, item.episode.unwrap_or(-1), decision_id);
        Outbound { queue: self.hub.queues.of_instance(&item.target.instance_id), message, delay: Duration::ZERO }
    }

    async fn delete_work_item(&self, item: Delivery) {
        if let Err(undone) = item.done(&self.hub, std::future::pending()).await
            && let Undone { delivery: item, error: Some(error) } = *undone
        {
            tracing::warn!(message_id = item.id, %error, "a work item could not be deleted and will run again");
        }
    }
}

/// The call that a work item is.
pub(super) fn task_of(item: &Message, ends: Ends) -> Option<ActivityTask> {
    let EventKind::TaskScheduled { name, version, input, tags, trace } = &item.event.kind else { return None };
    Some(ActivityTask {
        instance: item.target.clone(),
        task_id: item.event.event_id,
        name: name.clone(),
        version: version.clone().filter(|v| !v.is_empty()),
        input: input.clone(),
        tags: tags.clone().unwrap_or_default(),
        attempt: item.attempt.unwrap_or(1),
        trace: trace.clone(),
        ends,
    })
}

/// Whether the activity of a work item is here and needs no place of its own, so that it is for no other worker to begin.
pub(super) fn begins_at_once(item: &Message, executor: &Executor, hosting: &Hosting) -> bool {
    let EventKind::TaskScheduled { name, version, .. } = &item.event.kind else { return false };
    let version = version.as_deref().filter(|version| !version.is_empty());
    executor.throttles().activity(name).is_none() && hosting.missing_activity(name, version).is_none()
}

fn recomputed_decision(item: &Message) -> Option<String> {
    let EventKind::TaskScheduled { name, input, .. } = &item.event.kind else { return None };
    let execution_id = item.target.execution_id.as_deref()?;
    let decision = DecisionId::new(execution_id, item.event.event_id, DecisionKind::Activity, name, input.as_deref());
    Some(decision.text())
}
