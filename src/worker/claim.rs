//! Whether a child is still asked for. What a turn sends is out before its history, so a start may come from a turn that was never
//! committed, or from an instance that such a turn has started.

use std::time::Duration;

use super::orchestration::{EARLY_TRIES, Pass, START_TRIES};
use super::reconcile::is_same_decision;
use super::turn::{Ended, is_detached};
use crate::error::Result;
use crate::hub::{Held, Hub};
use crate::model::{ExecutionStarted, FailureDetails, RuntimeStatus, State, TaskKind};
use crate::storage::table::Etag;

/// Instances are nested no deeper than this, as far as anybody looks.
const DEPTH_MAX: usize = 100;

/// What the histories of the parents say of a start.
#[derive(Debug)]
enum Claim {
    /// Each parent waits for its child.
    Stands,
    /// This parent has continued as new since it asked: if it did, the child shall run, but nobody waits.
    Left { depth: usize },
    /// This parent does not wait for its child, and never will.
    Void { depth: usize, why: &'static str },
    /// A turn of this parent may be about to be committed; the version is that of its history.
    Open { depth: usize, parent_id: String, version: Option<Etag> },
}

/// What becomes of the start of a child.
#[derive(Debug)]
pub(crate) enum Ruling {
    Begin,
    Wait,
    Drop(&'static str),
}

impl Pass<'_> {
    /// Whether a child may begin. One that has begun for somebody else gives way only to a start for which somebody is known to
    /// wait; if it is running, its parent is told.
    pub(super) async fn rule_on_child(&self, state: &State, held: &Held, start: &ExecutionStarted) -> Result<Ruling> {
        let Some(replaced) = state.started.as_ref().filter(|_| !is_detached(start)) else { return Ok(Ruling::Begin) };
        let (depth, why) = match await_commit(self.hub, self.instance_id, held, start).await? {
            Claim::Stands => {
                if state.completed.is_none() {
                    self.refuse(&replaced.event, replaced.decision_id.as_deref()).await?;
                }
                return Ok(Ruling::Begin);
            }
            Claim::Left { .. } if state.completed.is_some() => return Ok(Ruling::Begin),
            Claim::Left { depth } => (depth, "its parent has continued as new"),
            Claim::Void { depth, why } => (depth, why),
            // As for every message whose decision is nowhere in history.
            Claim::Open { depth, parent_id, version } => {
                let is_over = held.dequeue_count > EARLY_TRIES
                    && match version {
                        Some(version) => self.hub.bump_fence(&parent_id, &version).await?,
                        None => held.dequeue_count > START_TRIES,
                    };
                if !is_over {
                    return Ok(Ruling::Wait);
                }
                (depth, "its decision was never committed")
            }
        };
        if depth > 0 {
            self.refuse(start, held.message.decision_id.as_deref()).await?;
        }
        Ok(Ruling::Drop(why))
    }

    /// Tells a parent that waits, but for which nobody waits, that its child runs for somebody else.
    async fn refuse(&self, start: &ExecutionStarted, decision_id: Option<&str>) -> Result<()> {
        let execution_id = start.instance.execution_id.as_deref().unwrap_or_default();
        let failure = refusal(self.instance_id);
        let result = Some(failure.to_string());
        let end = Ended { execution_id, episode: 0, id: 0, status: RuntimeStatus::Failed, result, failure: Some(failure) };
        self.answer(end, start, decision_id).await
    }
}

/// As [`of_start`], a little later if the commit of the turn that asks may just be under way.
async fn await_commit(hub: &Hub, child_id: &str, held: &Held, start: &ExecutionStarted) -> Result<Claim> {
    for wait_ms in [20, 50, 150] {
        let claim = of_start(hub, child_id, start, held.message.decision_id.as_deref()).await?;
        if !matches!(claim, Claim::Open { .. }) || held.dequeue_count > 1 {
            return Ok(claim);
        }
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    of_start(hub, child_id, start, held.message.decision_id.as_deref()).await
}

/// What a parent is told whose child runs for another one.
fn refusal(child_id: &str) -> FailureDetails {
    let error_message = format!(
        "the instance \"{child_id}\" runs for another parent; a sub-orchestration that several instances may ask for at once needs \
         an id for each"
    );
    FailureDetails { error_type: "InstanceIdInUse".to_owned(), error_message, ..FailureDetails::default() }
}

/// Looks into the histories of the parent (depth 0), of its parent, and so on.
async fn of_start(hub: &Hub, child_id: &str, start: &ExecutionStarted, decision_id: Option<&str>) -> Result<Claim> {
    let (mut child_id, mut decision_id) = (child_id.to_owned(), decision_id.map(str::to_owned));
    let mut parent = start.parent.clone();
    for depth in 0..DEPTH_MAX {
        let Some(asking) = parent else { break };
        let history = hub.load_history(&asking.instance.instance_id).await?;
        let state = State::fold(&history.events);
        let execution_id = asking.instance.execution_id.as_deref().unwrap_or_default();
        if history.sentinel.superseded.iter().any(|superseded| superseded == execution_id) {
            return Ok(Claim::Left { depth });
        }
        let is_current = execution_id.is_empty() || history.execution_id.as_deref() == Some(execution_id);
        let is_settled = state.has_decision(asking.task_id) || state.completed.is_some();
        if !is_current || !is_settled {
            return Ok(Claim::Open { depth, parent_id: asking.instance.instance_id, version: history.etag });
        }
        let waits = state.open_task_of(asking.task_id).is_some_and(|task| {
            let is_same = is_same_decision(task.decision_id.as_deref(), decision_id.as_deref());
            is_same && task.kind == TaskKind::SubOrchestration { instance_id: child_id.clone() }
        });
        let Some(started) = state.started.filter(|_| waits) else {
            return Ok(Claim::Void { depth, why: "its parent does not wait for it" });
        };
        (child_id, decision_id, parent) = (asking.instance.instance_id, started.decision_id, started.event.parent);
    }
    Ok(Claim::Stands)
}
