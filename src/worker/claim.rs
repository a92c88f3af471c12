//! Whether a start of a child may begin: whether the decision behind it stands, and whether its id is free. What a turn sends is
//! out before its history, so a start may come from a turn that was never committed, or from an instance that such a turn has started.

use std::time::Duration;

use super::drop_reason::DropReason;
use super::recorder::{Ended, is_detached};
use super::sort::is_same_decision;
use super::starts::START_TRIES;
use super::step::{EARLY_TRIES, Step};
use crate::error::Result;
use crate::hub::histories::History;
use crate::hub::{Held, Hub};
use crate::ids;
use crate::model::{ExecutionStarted, FailureDetails, ParentInstance, RuntimeStatus, Started, State, TaskKind};
use crate::sabotage::{self, Sabotage};
use crate::storage::table::Etag;

/// Instances are nested no deeper than this, as far as anybody looks.
const DEPTH_MAX: usize = 100;

/// What the histories of the parents say of a start.
#[derive(Debug)]
enum Claim {
    /// Each of these parents waits for its child.
    Stands { parents: Vec<String> },
    /// This parent has continued as new since it asked: if it did, the child shall run, but nobody waits.
    Left { depth: usize },
    /// This parent does not wait for its child, and never will.
    Void { depth: usize, why: DropReason },
    /// A turn of this parent may be about to be committed; the version is that of its history.
    Open { depth: usize, parent_id: String, version: Option<Etag> },
}

/// Who has the id that a start asks for.
#[derive(Debug)]
enum Holder<'s> {
    /// Nobody, now or ever.
    Nobody,
    /// An instance that has ended.
    Ended,
    /// A child of the same parent, from another decision.
    Sibling(&'s Started),
    /// A child of another parent, which is known not to wait for it.
    Orphan(&'s Started),
    /// A child of another parent, for which this one may or may not have asked once.
    Doubtful(&'s Started, String),
    /// An instance whose first checkpoint was interrupted, and whose start comes again.
    Unborn,
    /// An instance that stays: how it came to run, as the end of a sentence.
    Other(&'static str),
}

/// What becomes of the start of a child.
#[derive(Debug)]
pub(crate) enum Ruling {
    Begin,
    Wait,
    Drop(DropReason),
}

impl Step<'_> {
    /// Whether a child may begin. An instance that has not ended gives way to another decision of its own parent, or if its own
    /// parent is known not to wait for it; otherwise it stays, and whoever asks for its id is told.
    pub(super) async fn rule_on_child(
        &self,
        history: &History,
        state: &State,
        held: &Held,
        start: &ExecutionStarted,
        parent: &ParentInstance,
    ) -> Result<Ruling> {
        let decision_id = held.message.decision_id.as_deref();
        match self.holder(history, state, start, parent).await? {
            Holder::Nobody => Ok(Ruling::Begin),
            Holder::Other(_) if sabotage::is(Sabotage::HolderReplaced) => Ok(Ruling::Begin),
            Holder::Unborn if held.dequeue_count <= START_TRIES => Ok(Ruling::Wait),
            Holder::Other(_) if is_detached(start) => {
                Ok(self.in_use(parent, "it is left to itself, and an instance that has not ended has its id"))
            }
            // Nobody waits for what is left to itself, and nobody looks whether its parent still exists.
            Holder::Unborn | Holder::Ended | Holder::Sibling(_) | Holder::Orphan(_) if is_detached(start) => Ok(Ruling::Begin),
            holder => match (await_commit(self.hub, self.instance_id, held, start).await?, holder) {
                (Claim::Stands { .. }, Holder::Other(why)) => {
                    self.refuse(start, decision_id, why).await?;
                    Ok(self.in_use(parent, why))
                }
                (Claim::Stands { .. }, Holder::Sibling(other)) if self.is_before(parent, other).await? => {
                    self.refuse(start, decision_id, LATER).await?;
                    Ok(Ruling::Drop(DropReason::LaterCall))
                }
                (Claim::Stands { .. }, Holder::Sibling(replaced)) => {
                    self.refuse(&replaced.event, replaced.decision_id.as_deref(), LATER).await?;
                    Ok(Ruling::Begin)
                }
                (Claim::Stands { .. }, Holder::Orphan(replaced)) => {
                    self.refuse(&replaced.event, replaced.decision_id.as_deref(), ANOTHER).await?;
                    Ok(Ruling::Begin)
                }
                // Another turn of an instance above both, which has gone on otherwise, had asked for it.
                (Claim::Stands { parents }, Holder::Doubtful(replaced, parent)) if parents.contains(&parent) => {
                    self.refuse(&replaced.event, replaced.decision_id.as_deref(), ANOTHER).await?;
                    Ok(Ruling::Begin)
                }
                (Claim::Stands { .. }, Holder::Doubtful(..)) => {
                    self.refuse(start, decision_id, ANOTHER).await?;
                    Ok(self.in_use(parent, ANOTHER))
                }
                (Claim::Stands { .. }, _) | (Claim::Left { .. }, Holder::Ended | Holder::Unborn) => Ok(Ruling::Begin),
                (Claim::Left { depth }, _) => self.give_up(start, decision_id, depth, DropReason::ParentContinued).await,
                (Claim::Void { depth, why }, _) => self.give_up(start, decision_id, depth, why).await,
                // As for every message whose decision is nowhere in history.
                (Claim::Open { depth, parent_id, version }, _) => {
                    let is_over = held.dequeue_count > EARLY_TRIES
                        && match version {
                            Some(version) => self.hub.histories.bump_fence(&parent_id, &version).await?,
                            None => held.dequeue_count > START_TRIES,
                        };
                    if !is_over {
                        return Ok(Ruling::Wait);
                    }
                    self.give_up(start, decision_id, depth, DropReason::NeverCommitted).await
                }
            },
        }
    }

    /// Who has the id. Storage is read only for an id that may be used again, which a derived one never is.
    async fn holder<'s>(
        &self,
        history: &History,
        state: &'s State,
        start: &ExecutionStarted,
        parent: &ParentInstance,
    ) -> Result<Holder<'s>> {
        if parent.instance.instance_id == self.instance_id {
            return Ok(Holder::Other("is the one that asks for it"));
        }
        if let Some(started) = state.started.as_ref().filter(|_| state.completed.is_none()) {
            return self.holder_that_runs(started, parent).await;
        }
        let derived_from = parent.instance.execution_id.as_deref().unwrap_or_default();
        if !ids::is_derived(self.instance_id, derived_from) && self.is_pending(history, state).await? {
            return Ok(Holder::Other(CLIENTS));
        }
        if state.completed.is_some() {
            return Ok(Holder::Ended);
        }
        let is_of_another = history.execution_id != start.instance.execution_id;
        Ok(if history.is_torn() && is_of_another { Holder::Unborn } else { Holder::Nobody })
    }

    async fn holder_that_runs<'s>(&self, started: &'s Started, parent: &ParentInstance) -> Result<Holder<'s>> {
        let Some(its_parent) = &started.event.parent else { return Ok(Holder::Other(CLIENTS)) };
        if its_parent.instance.instance_id == parent.instance.instance_id {
            return Ok(Holder::Sibling(started));
        }
        Ok(match of_start(self.hub, self.instance_id, &started.event, started.decision_id.as_deref()).await? {
            Claim::Void { .. } => Holder::Orphan(started),
            // A turn that was never committed may have asked for it; or the parent has continued as new too often to know.
            Claim::Open { parent_id, .. } => Holder::Doubtful(started, parent_id),
            Claim::Stands { .. } | Claim::Left { .. } => Holder::Other(ANOTHER),
        })
    }

    /// Whether the instance row tells of a start by a client that has not begun yet.
    pub(super) async fn is_pending(&self, history: &History, state: &State) -> Result<bool> {
        let row = self.hub.instances.read(self.instance_id, false).await?.map(|stored| stored.row);
        // A row that names an execution which has ended, or which this one has replaced, is not of a new start: its checkpoint was
        // interrupted.
        let ended = history.execution_id.as_ref().filter(|_| state.completed.is_some());
        let known = ended.into_iter().chain(&history.sentinel.superseded);
        Ok(row.is_some_and(|row| {
            let is_new = row.execution_id.as_deref().is_some_and(|id| known.clone().all(|known| !known.eq_ignore_ascii_case(id)));
            is_new && row.status.is_some_and(|status| !status.is_terminal())
        }))
    }

    /// Whether the parent made this decision before the one for which the child runs, and waits for both.
    async fn is_before(&self, parent: &ParentInstance, other: &Started) -> Result<bool> {
        let is_after = |other: &ParentInstance| other.instance == parent.instance && other.task_id > parent.task_id;
        if !other.event.parent.as_ref().is_some_and(is_after) {
            return Ok(false);
        }
        let claim = of_start(self.hub, self.instance_id, &other.event, other.decision_id.as_deref()).await?;
        Ok(matches!(claim, Claim::Stands { .. }))
    }

    /// Nothing that was under way is replaced; who asked should know, and who watches the worker too.
    fn in_use(&self, parent: &ParentInstance, why: &'static str) -> Ruling {
        tracing::warn!(
            parent = parent.instance.instance_id,
            reason = why,
            "a sub-orchestration was not started, because its instance id is in use"
        );
        Ruling::Drop(DropReason::IdInUse)
    }

    /// A start that begins nothing. Its parent is told if it waits, though for it nobody waits.
    async fn give_up(
        &self,
        start: &ExecutionStarted,
        decision_id: Option<&str>,
        depth: usize,
        why: DropReason,
    ) -> Result<Ruling> {
        if depth > 0 {
            self.refuse(start, decision_id, ANOTHER).await?;
        }
        Ok(Ruling::Drop(why))
    }

    /// Tells the parent behind a start that it does not get its child.
    pub(super) async fn refuse(&self, start: &ExecutionStarted, decision_id: Option<&str>, why: &str) -> Result<()> {
        let execution_id = start.instance.execution_id.as_deref().unwrap_or_default();
        let failure = refusal(self.instance_id, why);
        let result = Some(failure.to_column());
        let end = Ended { execution_id, episode: 0, id: 0, status: RuntimeStatus::Failed, result, failure: Some(failure) };
        self.answer(end, start, decision_id).await
    }
}

/// Whose an instance is for which a start does not begin, as the end of a sentence.
pub(super) const CLIENTS: &str = "was started by a client";
const ANOTHER: &str = "runs for another parent";
const LATER: &str = "runs for a later call of the same parent";

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

/// What a parent is told that does not get its child.
fn refusal(child_id: &str, why: &str) -> FailureDetails {
    let error_message = format!(
        "the instance \"{child_id}\" {why}; a sub-orchestration needs an id that no other instance has until it has ended, or none, \
         to have one derived"
    );
    FailureDetails { error_type: "InstanceIdInUse".to_owned(), error_message, ..FailureDetails::default() }
}

/// Looks into the histories of the parent (depth 0), of its parent, and so on.
async fn of_start(hub: &Hub, child_id: &str, start: &ExecutionStarted, decision_id: Option<&str>) -> Result<Claim> {
    let (mut child_id, mut decision_id) = (child_id.to_owned(), decision_id.map(str::to_owned));
    let (mut parent, mut parents) = (start.parent.clone(), Vec::new());
    for depth in 0..DEPTH_MAX {
        let Some(asking) = parent else { break };
        let history = hub.histories.load(&asking.instance.instance_id).await?;
        let state = State::fold(&history.events);
        let execution_id = asking.instance.execution_id.as_deref().unwrap_or_default();
        if history.sentinel.superseded.iter().any(|superseded| superseded == execution_id) {
            return Ok(Claim::Left { depth });
        }
        let is_settled = state.has_decision(asking.task_id) || state.completed.is_some();
        if !history.has_execution(Some(execution_id)) || !is_settled {
            return Ok(Claim::Open { depth, parent_id: asking.instance.instance_id, version: history.etag });
        }
        let waits = state.open_task_of(asking.task_id).is_some_and(|task| {
            let is_same = is_same_decision(task.decision_id.as_deref(), decision_id.as_deref());
            is_same && task.kind == TaskKind::SubOrchestration { instance_id: child_id.clone() }
        });
        let Some(started) = state.started.as_deref().filter(|_| waits) else {
            return Ok(Claim::Void { depth, why: DropReason::ParentDoesNotWait });
        };
        (child_id, decision_id, parent) =
            (asking.instance.instance_id, started.decision_id.clone(), started.event.parent.clone());
        parents.push(child_id.clone());
    }
    Ok(Claim::Stands { parents })
}
