//! Messages for an instance that has no history, and no start among them: they wait for one, or there is no such instance.

use std::sync::Arc;
use std::time::Duration;

use super::log;
use super::orchestration::{EARLY_TRIES, Pass, Passed, Sorted, back_off};
use crate::error::Result;
use crate::hub::history::History;
use crate::hub::{Held, StoredRow};
use crate::model::EventKind;

impl Pass<'_> {
    /// Messages for an instance that has no history, and no start among them. The instance row tells what is to come.
    pub(super) async fn without_history(&self, history: &History, messages: &[Arc<Held>], mut sorted: Sorted) -> Result<Passed> {
        let row = self.hub.instances.read(self.instance_id, false).await?;
        let alive = row.as_ref().is_some_and(|r| r.row.status.is_none_or(|s| !s.is_terminal()));
        let others = messages.iter().filter(|m| !matches!(m.message.event.kind, EventKind::ExecutionStarted(_)));
        let mut terminated = None;
        for held in others {
            // One whose first checkpoint was interrupted has yet to begin: what answers it is early.
            let has_begun = history.execution_id.is_some() && !history.is_torn();
            let for_replaced = has_begun && held.message.target.execution_id == history.execution_id;
            match &held.message.event.kind {
                _ if for_replaced => {
                    self.log_drop(held, "the execution has ended");
                    sorted.drop.push(Arc::clone(held));
                }
                EventKind::ExecutionTerminated { reason } if alive => {
                    terminated = Some((reason.clone(), held.message.event.timestamp));
                    sorted.drop.push(Arc::clone(held));
                }
                kind if alive || kind.completes().is_some() || may_have_overtaken(held) => sorted.wait(Arc::clone(held)),
                _ => match self.waits_with_start(held) {
                    Some(delay) => sorted.postponed.push((Arc::clone(held), delay)),
                    // Neither is a loss: nobody has the id, or the instance was terminated before it began, as its row tells.
                    None => {
                        let why = if row.is_some() { "the instance has ended" } else { "there is no such instance" };
                        self.log_drop(held, why);
                        sorted.drop.push(Arc::clone(held));
                    }
                },
            }
        }
        if let (Some((reason, at)), Some(row)) = (terminated, &row) {
            let is_terminated = self.fence_pending(history, row).await?
                && self.hub.instances.terminate_pending(self.instance_id, row, reason.as_deref(), at).await?;
            if !is_terminated {
                // History or row have changed under us: it may have started. Look again.
                let all = messages.iter().map(|held| (Arc::clone(held), Duration::ZERO)).collect();
                return Ok(Passed { postponed: all, ..Passed::default() });
            }
            self.hosting.forget(self.instance_id);
            log::terminated_before_start(self, &row.row, reason.as_deref());
        }
        if alive {
            // The start is on its way (scheduled, deferred, or held by a worker that died): what follows it must wait for it.
            let waiting = std::mem::take(&mut sorted.early);
            sorted.postponed.extend(waiting.into_iter().map(|held| {
                let delay = self.hosting.awaited_in(self.instance_id);
                let delay = delay.unwrap_or_else(|| back_off(held.dequeue_count.min(5)));
                (held, delay)
            }));
        }
        self.settle_without_turn(history, sorted).await
    }

    /// A slow owner may still be committing the first turn of an instance that is to end without one.
    async fn fence_pending(&self, history: &History, row: &StoredRow) -> Result<bool> {
        if history.etag.is_some() {
            return self.fence_off(history).await;
        }
        self.hub.histories.insert_fence(self.instance_id, row.row.execution_id.as_deref().unwrap_or_default()).await
    }
}

/// An orchestration may send to the child that it has started before; a child has no row that would tell of its start, which
/// may be in the hands of a worker that died.
fn may_have_overtaken(held: &Held) -> bool {
    !held.message.sender.instance_id.is_empty() && held.dequeue_count <= EARLY_TRIES
}
