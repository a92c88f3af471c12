//! Which sub-orchestrations end with an instance that is terminated: those that its history names, and those of which only their rows tell.

use std::time::Duration;

use super::delivery::Delivery;
use super::fate::{Fate, Sorted};
use super::recorder::Recorder;
use super::step::{Step, names_no_execution};
use crate::error::Result;
use crate::hub::histories::History;
use crate::hub::{Held, InstanceRow};
use crate::ids::{DecisionId, DecisionKind};
use crate::model::{Descendants, EventKind, FIRE_AND_FORGET, HistoryEvent, InstanceRef, Message, Sender, State, StoredEvent};

/// When children are looked for once more that had not begun: by then every partition has an owner, and has taken what had been sent.
const STRAYS_AFTER: Duration = Duration::from_secs(45);

/// What ends with the instance if this turn terminates it.
#[derive(Clone, Debug)]
pub(crate) struct Descent {
    to: Descendants,
    /// Children that the history does not name, unless it has all that the instance has ever started.
    beside: Option<Vec<String>>,
}

impl Step<'_> {
    /// What ends with the instance, if one of these messages asks for that. Children of an earlier generation, and those of a turn that was
    /// never committed, have nothing but their rows, for which the rows of all children are searched; otherwise nothing is read.
    pub(super) async fn descent(&self, history: &History, applied: &[&Delivery]) -> Result<Option<Descent>> {
        let Some(to) = applied.iter().filter_map(|delivery| delivery.message.descendants).max() else { return Ok(None) };
        let is_whole = is_whole(history) && applied.iter().all(|delivery| delivery.dequeue_count <= 1);
        let beside = if is_whole { None } else { Some(self.children_by_rows(to).await?) };
        Ok(Some(Descent { to, beside }))
    }

    async fn children_by_rows(&self, to: Descendants) -> Result<Vec<String>> {
        self.hub.instances.open_children(self.instance_id, to == Descendants::All).await
    }

    /// A recursive termination that finds its execution ended ends what that one, and those before it, have left running, before it goes.
    /// The id may run again by then: what the new execution has started goes on.
    pub(super) async fn end_strays(&self, history: &History, state: &State, sorted: &Sorted<'_>) -> Result<()> {
        let parent = state.started.as_deref().and_then(|started| started.event.parent_id());
        let runs = sorted.start().is_some() || (state.started.is_some() && state.completed.is_none());
        for (_, delivery) in sorted.with(Fate::Drop) {
            let sender = delivery.message.sender.instance_id.as_str();
            let is_heard = sender.is_empty() || sender == self.instance_id || Some(sender) == parent;
            // Of an id that runs again, a copy that names no execution does not tell which one it has ended: the first copy has sent it on.
            let is_clear = !runs || !names_no_execution(delivery);
            if is_heard
                && is_clear
                && let Some((to, reason)) = recursive(delivery)
            {
                let ended = ended_executions(history, delivery.message.target.execution_id.as_deref());
                for child in self.children_by_rows(to).await? {
                    if self.is_started_by(&child, &ended).await? {
                        self.send_on(&child, None, reason, to, Duration::ZERO).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether one of these executions has started the child, as far as its history tells: its row names the parent's id alone.
    async fn is_started_by(&self, child: &str, executions: &[&str]) -> Result<bool> {
        let parent = match self.hub.histories.parent(child).await {
            Ok(parent) => parent,
            // One that is damaged keeps no other.
            Err(error) if error.is_lasting() => {
                tracing::warn!(child, %error, "a sub-orchestration whose history cannot be read is not terminated");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let by = parent.and_then(|parent| parent.instance.execution_id).filter(|id| !id.is_empty());
        Ok(by.is_none_or(|by| executions.iter().any(|id| id.eq_ignore_ascii_case(&by))))
    }

    /// A child whose start is parked has neither row nor history: whoever ends its parent with all that is below it, drops that start.
    pub(super) async fn end_parked(&self, held: &Held) -> Result<()> {
        let parent = held.message.sender.instance_id.as_str();
        let is_of_parent = recursive(held).is_some() && !parent.is_empty();
        if is_of_parent && self.hub.parked.drop_start_of_child(self.instance_id, parent).await? {
            tracing::info!(parent, "a parked start was dropped: its parent was terminated with all that is below it");
        }
        Ok(())
    }

    /// Ends what an instance without history may have started all the same, in a first turn that was never committed.
    pub(super) async fn end_below_pending(&self, row: &InstanceRow, held: &Held) -> Result<()> {
        let Some((to, reason)) = recursive(held) else { return Ok(()) };
        for child in self.children_by_rows(to).await? {
            self.send_on(&child, None, reason, to, Duration::ZERO).await?;
        }
        self.send_on(self.instance_id, row.execution_id.as_deref(), reason, to, STRAYS_AFTER).await
    }

    async fn send_on(
        &self,
        id: &str,
        execution_id: Option<&str>,
        reason: Option<&str>,
        to: Descendants,
        delay: Duration,
    ) -> Result<()> {
        let event = termination(reason, self.hub.now());
        let target = InstanceRef { execution_id: execution_id.map(str::to_owned), ..InstanceRef::current(id) };
        let sender = Sender { instance_id: self.instance_id.to_owned(), execution_id: None };
        let message = Message::from_client(self.hub.rng.uuid(), event, target);
        let message = Message { sender, descendants: Some(to), ..message };
        self.hub.queues.send(self.hub.queues.of_instance(id), message, delay).await
    }
}

/// The execution that a termination names, and those that it had replaced; without a name all that the history knows.
fn ended_executions<'h>(history: &'h History, named: Option<&'h str>) -> Vec<&'h str> {
    let known = history.sentinel.superseded.iter().chain(&history.execution_id).map(String::as_str);
    let mut known: Vec<_> = known.collect();
    let Some(named) = named.filter(|id| !id.is_empty()) else { return known };
    match known.iter().rposition(|id| *id == named) {
        Some(at) => known.truncate(at + 1),
        None => known = vec![named],
    }
    known
}

/// How far a termination goes, and why, if it goes beyond its instance.
fn recursive(held: &Held) -> Option<(Descendants, Option<&str>)> {
    match &held.message.event.kind {
        EventKind::ExecutionTerminated { reason } => Some((held.message.descendants?, reason.as_deref())),
        _ => None,
    }
}

fn termination(reason: Option<&str>, at: crate::model::Timestamp) -> HistoryEvent {
    HistoryEvent::arriving(at, EventKind::ExecutionTerminated { reason: reason.map(str::to_owned) })
}

/// Whether the history has all that the instance has ever started. .NET does not note the generations that it replaces.
fn is_whole(history: &History) -> bool {
    let start = history.events.iter().find_map(|stored| match &stored.event.kind {
        EventKind::ExecutionStarted(start) => Some(start),
        _ => None,
    });
    let is_first = start.is_none_or(|start| start.parent.is_some() || start.generation.is_some());
    is_first && history.sentinel.superseded.is_empty() && (history.sentinel.commit.is_some() || history.etag.is_none())
}

impl Recorder<'_> {
    /// Sends the termination on to the children, before the execution has ended by it as event `id`.
    pub(super) fn end_children(&mut self, id: i32, reason: Option<&str>) {
        let Some(Descent { to, beside }) = self.descent.take() else { return };
        let named: Vec<_> =
            self.past.iter().chain(&self.record.events).filter_map(|stored| self.open_child(stored, to)).collect();
        let is_whole = beside.is_none();
        let beside: Vec<_> = beside.into_iter().flatten().filter(|child| !named.contains(child)).collect();
        for child in named.into_iter().chain(beside) {
            // Whatever generation it is in.
            self.send_on(InstanceRef::current(child), id, reason, to, Duration::ZERO);
        }
        if !is_whole {
            let own = InstanceRef::new(self.instance_id, &self.record.execution_id);
            self.send_on(own, id, reason, to, STRAYS_AFTER);
        }
    }

    fn send_on(&mut self, target: InstanceRef, id: i32, reason: Option<&str>, to: Descendants, delay: Duration) {
        let queue = self.control_queue(&target.instance_id);
        let decision = DecisionId::new(&self.record.execution_id, id, DecisionKind::Terminate, &target.instance_id, reason);
        let mut message = self.message(decision, termination(reason, self.now()), target);
        message.descendants = Some(to);
        self.send(queue, message, delay);
    }

    /// The child that this event has started, if it has not answered.
    fn open_child(&self, stored: &StoredEvent, to: Descendants) -> Option<String> {
        let EventKind::SubOrchestrationCreated { instance_id, tags, .. } = &stored.event.kind else { return None };
        let is_detached = tags.as_ref().is_some_and(|tags| tags.contains_key(FIRE_AND_FORGET));
        let is_open = self.record.state.open_task_of(stored.event.event_id).is_some();
        (is_open && (!is_detached || to == Descendants::All)).then(|| instance_id.clone())
    }
}
