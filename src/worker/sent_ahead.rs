//! What an orchestration sends ahead of the start of its child: it may meet an instance that had the id before, or none.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::aside::PAUSE_MAX;
use super::delivery::Delivery;
use super::fate::{Fate, Sorted};
use super::sort::is_same_decision;
use super::starts::START_TRIES;
use super::step::{EARLY_TRIES, Step, back_off, is_start, names_no_execution};
use crate::error::Result;
use crate::hub::Held;
use crate::hub::histories::History;
use crate::model::State;

/// The histories of senders, as they were read in one step; `None` of one that is damaged.
#[derive(Default)]
pub(super) struct Senders(BTreeMap<String, Option<(History, State)>>);

/// What the history of the sender tells of a child to come.
enum Prospect {
    /// The sender has asked for a child that has not begun.
    Asked {
        sender_runs: bool,
    },
    /// The turn that asks for one may be about to be committed.
    Open,
    None,
}

impl Step<'_> {
    /// Keeps what may be for a child that is to run under this id next. The start of that child may wait for the commit of the turn that
    /// asks for it, or be in the hands of a worker that died.
    pub(super) async fn keep_for_child(&self, history: &History, state: &State, sorted: &mut Sorted<'_>) -> Result<()> {
        let (known, mut senders) = (self.known(history, state), Senders::default());
        for (at, delivery) in sorted.with(Fate::Open) {
            let may_be_for_next = match known.order_of_call(&delivery.message) {
                Some(order) => order.is_gt(),
                None => state.completed.is_some(),
            };
            if may_be_for_next
                && !known.has_applied(&delivery.message)
                && let Some(delay) = self.waits_for_child(state, delivery, &mut senders).await?
            {
                sorted.set(at, Fate::Later(delay));
            }
        }
        Ok(())
    }

    /// How long a message waits for the start of the child that it may be for; `None` if no such start comes any more. `state`: of the
    /// execution that has had the id last, if there is one.
    pub(super) async fn waits_for_child(
        &self,
        state: &State,
        delivery: &Delivery,
        senders: &mut Senders,
    ) -> Result<Option<Duration>> {
        if !may_be_for_child(delivery) {
            return Ok(None);
        }
        let sender = &delivery.message.sender.instance_id;
        let read = self.sender(sender, senders).await?;
        let (waits, tries) = match self.prospect(state, delivery, read.as_ref()) {
            Prospect::None => return Ok(None),
            Prospect::Asked { sender_runs } => {
                // A sender that has ended is not told that it does not get its child, so that its call stays open.
                let tries = self.hosting.tries(self.hub, delivery, START_TRIES + 1).await;
                (sender_runs || tries <= START_TRIES, tries)
            }
            Prospect::Open => {
                let tries = self.hosting.tries(self.hub, delivery, EARLY_TRIES + 1).await;
                (tries <= EARLY_TRIES || !self.fence_off_sender(sender, read).await?, tries)
            }
        };
        if !waits {
            return Ok(None);
        }
        let delay = back_off(tries).min(PAUSE_MAX);
        tracing::debug!(?delay, sender, "a message waits for the start of a sub-orchestration, which may come behind it");
        Ok(Some(delay))
    }

    async fn sender<'s>(&self, id: &str, senders: &'s mut Senders) -> Result<&'s mut Option<(History, State)>> {
        let place = match senders.0.entry(id.to_owned()) {
            Entry::Occupied(read) => return Ok(read.into_mut()),
            Entry::Vacant(place) => place,
        };
        match self.hub.histories.load(id).await {
            Ok(history) => {
                let state = State::fold(&history.events);
                Ok(place.insert(Some((history, state))))
            }
            // One that is damaged keeps no other.
            Err(error) if error.is_lasting() && error.unknown_event().is_none() => Ok(place.insert(None)),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that no turn of the sender is committed that was run over what has been read. Whoever runs it again sends its messages
    /// again. `false` if one has been committed since.
    async fn fence_off_sender(&self, id: &str, read: &mut Option<(History, State)>) -> Result<bool> {
        let Some((history, _)) = read else { return Ok(true) };
        let Some(version) = &history.etag else { return Ok(true) };
        let is_fenced = self.hub.histories.bump_fence(id, version).await?;
        if is_fenced {
            // What else it has sent needs no other fence.
            history.etag = None;
        }
        Ok(is_fenced)
    }

    fn prospect(&self, state: &State, held: &Held, sender: Option<&(History, State)>) -> Prospect {
        let Some((history, its)) = sender else { return Prospect::Open };
        let is_to_come = |(task_id, child, decision_id): (i32, &str, Option<&str>)| {
            child == self.instance_id && !has_run(state, history, task_id, decision_id)
        };
        if its.open_children().any(is_to_come) {
            return Prospect::Asked { sender_runs: its.completed.is_none() };
        }
        let is_current = history.has_execution(held.message.sender.execution_id.as_deref());
        let is_decided = |id: &Option<String>| id.is_some() && *id == held.message.decision_id;
        let is_committed = history.events.iter().any(|stored| is_decided(&stored.decision_id));
        // What an execution has asked for that was replaced since is not known any more.
        if is_current && (is_committed || its.completed.is_some()) { Prospect::None } else { Prospect::Open }
    }
}

/// Whether an orchestration has sent this to whatever runs under the id.
fn may_be_for_child(held: &Held) -> bool {
    let message = &held.message;
    let by_instance = !message.sender.instance_id.is_empty();
    by_instance && !is_start(held) && message.event.kind.completes().is_none() && names_no_execution(held)
}

/// Whether the execution that has had the id last is what this call of a parent asked for.
fn has_run(state: &State, parents: &History, task_id: i32, decision_id: Option<&str>) -> bool {
    let Some(started) = state.started.as_deref() else { return false };
    started.event.parent.as_ref().is_some_and(|parent| {
        parents.has_execution(parent.instance.execution_id.as_deref())
            && parent.task_id == task_id
            && is_same_decision(started.decision_id.as_deref(), decision_id)
    })
}
