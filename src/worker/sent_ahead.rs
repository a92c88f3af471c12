//! What an orchestration sends to an instance that does not run: it may be for a child whose start comes behind it.

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
use crate::storage::table::Etag;

/// What the history of the sender tells of a child to come.
enum Prospect {
    /// The sender has asked for a child that has not begun.
    Asked {
        sender_runs: bool,
    },
    /// The turn that asks for one may be about to be committed; the version is that of the history which it would be added to.
    Open {
        version: Option<Etag>,
    },
    None,
}

impl Step<'_> {
    /// Keeps what may be for a child that is to run under this id next. The start of that child may wait for the commit of the turn that
    /// asks for it, or be in the hands of a worker that died.
    pub(super) async fn keep_for_child(&self, history: &History, state: &State, sorted: &mut Sorted<'_>) -> Result<()> {
        let known = self.known(history, state);
        for (at, delivery) in sorted.with(Fate::Open) {
            let id = &delivery.message.activity_id;
            let is_applied = state.has_applied(id) || history.sentinel.applied.contains(id);
            let may_be_for_next = match known.order_of_call(&delivery.message) {
                Some(order) => order.is_gt(),
                None => state.completed.is_some(),
            };
            if may_be_for_next
                && !is_applied
                && let Some(delay) = self.waits_for_child(state, delivery).await?
            {
                sorted.set(at, Fate::Later(delay));
            }
        }
        Ok(())
    }

    /// How long a message waits for the start of the child that it may be for; `None` if no such start comes any more. `state`: of the
    /// execution that has ended, if there is one.
    pub(super) async fn waits_for_child(&self, state: &State, delivery: &Delivery) -> Result<Option<Duration>> {
        if !may_be_for_child(delivery) {
            return Ok(None);
        }
        let sender = &delivery.message.sender.instance_id;
        let (waits, tries) = match self.prospect(state, delivery).await? {
            Prospect::None => return Ok(None),
            Prospect::Asked { sender_runs } => {
                // A sender that has ended is not told that it does not get its child, so that its call stays open.
                let tries = self.hosting.tries(self.hub, delivery, START_TRIES + 1).await;
                (sender_runs || tries <= START_TRIES, tries)
            }
            Prospect::Open { version } => {
                let tries = self.hosting.tries(self.hub, delivery, EARLY_TRIES + 1).await;
                let is_over = tries > EARLY_TRIES
                    && match version {
                        // Whoever runs that turn again sends the message again.
                        Some(version) => self.hub.histories.bump_fence(sender, &version).await?,
                        None => true,
                    };
                (!is_over, tries)
            }
        };
        if !waits {
            return Ok(None);
        }
        let delay = back_off(tries).min(PAUSE_MAX);
        tracing::debug!(?delay, sender, "a message waits for the start of a sub-orchestration, which may come behind it");
        Ok(Some(delay))
    }

    async fn prospect(&self, state: &State, held: &Held) -> Result<Prospect> {
        let (message, sender) = (&held.message, &held.message.sender);
        let history = match self.hub.histories.load(&sender.instance_id).await {
            Ok(history) => history,
            // One that is damaged keeps no other.
            Err(error) if error.is_lasting() && error.unknown_event().is_none() => return Ok(Prospect::Open { version: None }),
            Err(error) => return Err(error),
        };
        let its = State::fold(&history.events);
        let is_to_come = |(task_id, child, decision_id): (i32, &str, Option<&str>)| {
            child == self.instance_id && !has_run(state, &history, task_id, decision_id)
        };
        if its.open_children().any(is_to_come) {
            return Ok(Prospect::Asked { sender_runs: its.completed.is_none() });
        }
        let execution_id = sender.execution_id.as_deref().unwrap_or_default();
        if history.sentinel.superseded.iter().any(|superseded| superseded == execution_id) {
            // What it has asked for is not known any more, and nothing can be added to it.
            return Ok(Prospect::Open { version: None });
        }
        let is_committed =
            history.events.iter().any(|stored| stored.decision_id.is_some() && stored.decision_id == message.decision_id);
        let is_current = execution_id.is_empty() || history.execution_id.as_deref() == Some(execution_id);
        Ok(if is_current && (is_committed || its.completed.is_some()) {
            Prospect::None
        } else {
            Prospect::Open { version: history.etag }
        })
    }
}

/// Whether an orchestration has sent this to whatever runs under the id.
fn may_be_for_child(held: &Held) -> bool {
    let message = &held.message;
    let by_instance = !message.sender.instance_id.is_empty();
    by_instance && !is_start(held) && message.event.kind.completes().is_none() && names_no_execution(held)
}

/// Whether the execution that has ended is what this call of a parent asked for.
fn has_run(state: &State, parents: &History, task_id: i32, decision_id: Option<&str>) -> bool {
    let Some(started) = state.started.as_deref() else { return false };
    started.event.parent.as_ref().is_some_and(|parent| {
        let by = parent.instance.execution_id.as_deref().unwrap_or_default();
        let is_of_history = by.is_empty() || parents.execution_id.as_deref() == Some(by);
        is_of_history && parent.task_id == task_id && is_same_decision(started.decision_id.as_deref(), decision_id)
    })
}
