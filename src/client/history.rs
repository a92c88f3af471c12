//! Reading the history of an instance, with what its rows leave out where that can be found.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::Client;
use crate::error::{Error, Result};
use crate::model::{EventKind, HistoryEvent};

/// Children that are looked at at once.
const PARALLEL_MAX: usize = 8;

/// The recorded events of an instance; await it for those of the current execution, in order. Made by
/// [`Instance::history`](super::Instance::history).
///
/// What an event says, whatever its kind, is told by [`HistoryEvent::name`], [`input`](HistoryEvent::input), [`result`](HistoryEvent::result),
/// [`failure`](HistoryEvent::failure) and [`task_id`](HistoryEvent::task_id); large texts are read from their blobs.
///
/// ```no_run
/// # async fn f(order: taskhub::Instance) -> Result<(), taskhub::Error> {
/// for event in order.history().with_inputs().await? {
///     println!("{} {} {:?} {:?}", event.timestamp, event.kind.type_name(), event.name(), event.input().or(event.result()));
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// `Invalid` if no instance can have this id; `Corrupt` if a row cannot be read; `Storage` if storage fails.
#[must_use = "nothing is read until it is awaited"]
pub struct History<'a> {
    client: &'a Client,
    id: &'a str,
    with_inputs: bool,
}

impl<'a> History<'a> {
    pub(super) fn new(client: &'a Client, id: &'a str) -> Self {
        Self { client, id, with_inputs: false }
    }

    /// With the inputs of calls, which rows have only where a worker [stores them](crate::WorkerBuilder::inputs_in_history): of a
    /// sub-orchestration that is still there and in its first generation from its own history, which is one read for each; of an activity
    /// that nobody has taken yet from its message, if it is among the first 32 of the queue. Others have none.
    pub fn with_inputs(mut self) -> Self {
        self.with_inputs = true;
        self
    }

    async fn read(self) -> Result<Vec<HistoryEvent>> {
        let mut events = self.client.history(self.id).await?;
        if self.with_inputs {
            self.add_inputs_of_children(&mut events).await?;
            self.add_inputs_of_activities(&mut events).await?;
        }
        Ok(events)
    }

    async fn add_inputs_of_children(&self, events: &mut [HistoryEvent]) -> Result<()> {
        let lacks = |(place, event): (usize, &HistoryEvent)| match &event.kind {
            EventKind::SubOrchestrationCreated { instance_id, input: None, .. } => {
                Some((place, event.event_id, instance_id.clone()))
            }
            _ => None,
        };
        let lacking: Vec<_> = events.iter().enumerate().filter_map(lacks).collect();
        let reads = lacking.into_iter().map(|(place, task_id, child)| {
            async move { Ok::<_, Error>((place, self.input_of_child(&child, task_id).await?)) }.boxed()
        });
        let found: Vec<_> = stream::iter(reads.collect::<Vec<_>>()).buffered(PARALLEL_MAX).try_collect().await?;
        for (place, found) in found {
            if let EventKind::SubOrchestrationCreated { input, .. } = &mut events[place].kind {
                *input = found;
            }
        }
        Ok(())
    }

    /// What this call has given to its child, as long as that is the execution which the child has now.
    async fn input_of_child(&self, child: &str, task_id: i32) -> Result<Option<String>> {
        let history = match self.client.hub.histories.load(child).await {
            Err(error) if error.is_lasting() => return Ok(None),
            history => history?,
        };
        if !history.sentinel.superseded.is_empty() {
            return Ok(None);
        }
        Ok(history.events.into_iter().find_map(|stored| match stored.event.kind {
            EventKind::ExecutionStarted(start) => {
                let is_ours = start.parent.as_ref().is_some_and(|it| it.instance.instance_id == self.id && it.task_id == task_id);
                start.input.filter(|_| is_ours)
            }
            _ => None,
        }))
    }

    async fn add_inputs_of_activities(&self, events: &mut [HistoryEvent]) -> Result<()> {
        let lacks = |event: &HistoryEvent| matches!(event.kind, EventKind::TaskScheduled { input: None, .. });
        let answered = |id: i32| events.iter().any(|event| event.kind.completes() == Some(id));
        if !events.iter().any(|event| lacks(event) && !answered(event.event_id)) {
            return Ok(());
        }
        for call in self.client.hub.queues.visible_calls(self.id).await? {
            let EventKind::TaskScheduled { input: given, .. } = call.event.kind else { continue };
            let is_it = |event: &&mut HistoryEvent| event.event_id == call.event.event_id;
            for event in events.iter_mut().filter(is_it) {
                if let EventKind::TaskScheduled { input: input @ None, .. } = &mut event.kind {
                    input.clone_from(&given);
                }
            }
        }
        Ok(())
    }
}

impl<'a> IntoFuture for History<'a> {
    type Output = Result<Vec<HistoryEvent>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Vec<HistoryEvent>>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.read())
    }
}

impl fmt::Debug for History<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("id", &self.id).field("with_inputs", &self.with_inputs).finish_non_exhaustive()
    }
}
