//! Messages for an instance that has no history, and no start among them: they wait for one, or there is no such instance.

use std::time::Duration;

use super::delivery::{Delivery, Disposition};
use super::drop_reason::DropReason;
use super::fate::{Fate, Sorted};
use super::log;
use super::sent_ahead::Senders;
use super::step::{EARLY_TRIES, Step, back_off};
use crate::error::Result;
use crate::hub::Held;
use crate::hub::histories::History;
use crate::hub::instances::StoredRow;
use crate::model::{EventKind, RuntimeStatus, State};

impl Step<'_> {
    /// Messages for an instance that has no history, and no start among them. The instance row tells what is to come.
    pub(super) async fn without_history(&self, history: &History, mut sorted: Sorted<'_>) -> Result<Vec<Disposition>> {
        let row = self.hub.instances.read(self.instance_id, false).await?;
        let alive = row.as_ref().is_some_and(|r| r.row.status.is_none_or(|s| !s.is_terminal()));
        let may_end = alive || row.as_ref().is_some_and(|r| r.row.behind_mark == Some(RuntimeStatus::Pending));
        let (mut terminated, mut senders) = (None, Senders::default());
        for (at, delivery) in sorted.with(Fate::Open) {
            // One whose first checkpoint was interrupted has yet to begin: what answers it is early.
            let has_begun = history.execution_id.is_some() && !history.is_torn();
            let for_replaced = has_begun && delivery.message.target.execution_id == history.execution_id;
            match &delivery.message.event.kind {
                _ if for_replaced => {
                    self.log_drop(delivery, DropReason::ExecutionEnded);
                    sorted.set(at, Fate::Drop);
                }
                // What a parent ends has been started by it, and such an instance has no row before it has a history.
                EventKind::ExecutionTerminated { reason } if may_end && delivery.message.sender.instance_id.is_empty() => {
                    terminated = Some((reason.clone(), delivery));
                    sorted.set(at, Fate::Drop);
                }
                kind if alive || kind.completes().is_some() || may_have_overtaken(delivery) => sorted.wait(at),
                _ => match self.waits_behind_start(delivery, &mut senders).await? {
                    Some(delay) => sorted.set(at, Fate::Later(delay)),
                    // Neither is a loss: nobody has the id, or the instance was terminated before it began, as its row tells.
                    None => {
                        let why = if row.is_some() { DropReason::InstanceEnded } else { DropReason::NoInstance };
                        if row.is_none() {
                            self.end_parked(delivery).await?;
                        }
                        self.log_drop(delivery, why);
                        sorted.set(at, Fate::Drop);
                    }
                },
            }
        }
        if !alive {
            self.end_strays(history, &State::default(), &sorted).await?;
        }
        if let (Some((reason, delivery)), Some(row)) = (terminated, &row) {
            self.end_below_pending(&row.row, delivery).await?;
            let at = delivery.message.event.timestamp;
            let is_terminated = self.fence_pending(history, row).await?
                && self.hub.instances.terminate_pending(self.instance_id, row, reason.as_deref(), at).await?;
            if !is_terminated {
                // History or row have changed under us: it may have started. Look again.
                return Ok(sorted.all_back_now());
            }
            self.hosting.forget(self.instance_id);
            log::terminated_before_start(&row.row, reason.as_deref());
        }
        if alive {
            // The start is on its way (scheduled, deferred, or held by a worker that died): what follows it must wait for it.
            for (at, delivery) in sorted.with(Fate::Early) {
                let delay = self.hosting.awaited_in(self.instance_id);
                sorted.set(at, Fate::Later(delay.unwrap_or_else(|| back_off(delivery.dequeue_count.min(5)))));
            }
        }
        self.settle_without_turn(history, sorted).await
    }

    /// How long something waits for the start of the instance, if one may come.
    async fn waits_behind_start(&self, delivery: &Delivery, senders: &mut Senders) -> Result<Option<Duration>> {
        match self.waits_with_start(delivery) {
            None => self.waits_for_child(&State::default(), delivery, senders).await,
            waits => Ok(waits),
        }
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
