//! A pass over an instance whose code this worker does not have: what is for it waits, and it ends only where no code is needed.

use std::sync::Arc;
use std::time::Duration;

use super::aside::{LONGEST_PAUSE, PAUSE_MAX};
use super::hosting::Waiting;
use super::log;
use super::orchestration::{Pass, Passed, Sorted};
use crate::error::{Error, Result};
use crate::hub::history::History;
use crate::hub::{AwaitedKind, Held, Need, StoredRow};
use crate::model::{EventKind, ExecutionStarted, RuntimeStatus, State, Timestamp};
use crate::replay::Completion;

/// How long messages wait for a start that a new owner has yet to see.
const UNSEEN_PAUSE: Duration = Duration::from_secs(15);

/// What becomes of a turn.
#[derive(Debug)]
pub(super) enum Outlook {
    /// Its code runs.
    Runs,
    /// It ends the execution without its need.
    Ends(Completion),
    /// Not here and now.
    Waits,
}

impl Pass<'_> {
    /// Runs at most one turn over the messages, if their code is here. On an error all of them are still held.
    pub(crate) async fn run(self, messages: Vec<Arc<Held>>) -> Result<Passed> {
        if let Some(entity) = Need::of_entity(self.instance_id) {
            return Ok(self.wait_for(&entity, messages));
        }
        let is_rewind = |held: &Arc<Held>| matches!(held.message.event.kind, EventKind::ExecutionRewound { .. });
        let (rewinds, messages): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_rewind);
        let rewinds = self.wait_for(&Need::new(AwaitedKind::Event, "ExecutionRewound", None), rewinds);
        if messages.is_empty() {
            return Ok(rewinds);
        }
        if let Some(need) = self.all_waits(&messages).await {
            return Ok(Passed { postponed: [self.postponed(&need, messages), rewinds.postponed].concat(), ..Passed::default() });
        }
        let mut passed = match self.pass(messages.clone()).await {
            Ok(passed) => passed,
            Err(error) => self.unless_unknown(error, messages)?,
        };
        passed.postponed.extend(rewinds.postponed);
        Ok(passed)
    }

    /// What all of the messages wait for, as an earlier pass has found; nothing is read for that.
    async fn all_waits(&self, messages: &[Arc<Held>]) -> Option<Need> {
        let need = self.hosting.whole(self.instance_id)?;
        let waits = |held: &Arc<Held>| match &held.message.event.kind {
            EventKind::ExecutionStarted(start) => self.hosting.missing_orchestrator(start).as_ref() == Some(&need),
            EventKind::ExecutionTerminated { .. } => false,
            _ => true,
        };
        let oldest = messages.iter().min_by_key(|held| held.waits_since()).filter(|_| messages.iter().all(waits))?;
        self.hosting.failure(self.hub, &need, self.waiting(oldest)).await.is_none().then_some(need)
    }

    /// Everything goes back together, so that its order stays.
    pub(super) fn wait_for(&self, need: &Need, messages: Vec<Arc<Held>>) -> Passed {
        for held in &messages {
            self.hosting.note(self.hub, need, self.waiting(held));
        }
        Passed { postponed: self.postponed(need, messages), ..Passed::default() }
    }

    /// The messages with the one pause that all of them have.
    fn postponed(&self, need: &Need, messages: Vec<Arc<Held>>) -> Vec<(Arc<Held>, Duration)> {
        let most = messages.iter().max_by_key(|held| held.dequeue_count);
        let Some(pause) = most.map(|held| self.hosting.pause(need, self.waiting(held), messages.len())) else {
            return Vec::new();
        };
        messages.into_iter().map(|held| (held, pause)).collect()
    }

    fn waiting<'a>(&'a self, held: &Held) -> Waiting<'a> {
        let (queue, instance_id) = (held.queue, self.instance_id);
        Waiting { queue, instance_id, since: held.waits_since(), receives: held.dequeue_count }
    }

    /// An event in a history that this version does not know is no damage: another version goes on with it.
    pub(super) fn unless_unknown(&self, error: Error, messages: Vec<Arc<Held>>) -> Result<Passed> {
        match error.unknown_event() {
            Some(kind) => Ok(self.wait_for(&Need::new(AwaitedKind::Event, kind, None), messages)),
            None => Err(error),
        }
    }

    /// Whether a start waits for a worker that has its need; then it is put aside here.
    pub(super) async fn start_waits(&self, held: &Arc<Held>, start: &ExecutionStarted, sorted: &mut Sorted) -> bool {
        let Some(need) = self.hosting.missing_orchestrator(start) else { return false };
        if self.hosting.failure(self.hub, &need, self.waiting(held)).await.is_some() {
            return false;
        }
        sorted.postponed.extend(self.postponed(&need, vec![Arc::clone(held)]));
        true
    }

    /// While a start waits for its code that is to replace what runs, nothing of the replaced execution goes on, and what names no
    /// execution is for the new one. A termination ends both: those are left to be sorted.
    pub(super) async fn behind_start(
        &self,
        history: &History,
        state: &State,
        messages: Vec<Arc<Held>>,
        sorted: &mut Sorted,
    ) -> Result<Vec<Arc<Held>>> {
        if state.completed.is_some() {
            return Ok(messages);
        }
        let delay = match self.hosting.replaced_in(self.instance_id) {
            Some(delay) => delay,
            None if self.has_unseen_start(history, &messages).await? => UNSEEN_PAUSE,
            None => return Ok(messages),
        };
        let mut ends = Vec::new();
        for held in messages {
            match &held.message.event.kind {
                EventKind::ExecutionStarted(_) => {}
                EventKind::ExecutionTerminated { reason } => {
                    let is_for_both = held.message.target.execution_id != history.execution_id;
                    if is_for_both && !self.end_waiting_start(history, reason.as_deref(), held.message.event.timestamp).await? {
                        sorted.postponed.push((held, Duration::ZERO));
                    } else {
                        ends.push(held);
                    }
                }
                _ => sorted.postponed.push((held, delay)),
            }
        }
        Ok(ends)
    }

    /// Whether a start is to replace what runs that would not yet have come by since the partition was taken.
    async fn has_unseen_start(&self, history: &History, messages: &[Arc<Held>]) -> Result<bool> {
        let for_any = |held: &Arc<Held>| held.message.target.execution_id.as_deref().is_none_or(str::is_empty);
        if !self.is_new_here() || self.partition.rows.knows(self.instance_id) || !messages.iter().any(for_any) {
            return Ok(false);
        }
        let Some(StoredRow { row, .. }) = self.hub.instances.read(self.instance_id, false).await? else { return Ok(false) };
        let known = history.execution_id.iter().chain(&history.sentinel.superseded);
        let is_unknown = |id: &str| known.clone().all(|known| !known.eq_ignore_ascii_case(id));
        Ok(row.status == Some(RuntimeStatus::Pending) && row.execution_id.as_deref().is_some_and(is_unknown))
    }

    /// Whether what waits need not all have come by since the partition was taken.
    fn is_new_here(&self) -> bool {
        self.partition.since.elapsed() < LONGEST_PAUSE + PAUSE_MAX
    }

    /// Ends the start for which the instance row stands. `false` if the row has changed meanwhile.
    async fn end_waiting_start(&self, history: &History, reason: Option<&str>, at: Timestamp) -> Result<bool> {
        let Some(row) = self.hub.instances.read(self.instance_id, false).await? else { return Ok(true) };
        if row.row.status != Some(RuntimeStatus::Pending) || row.row.execution_id == history.execution_id {
            return Ok(true);
        }
        let is_ended = self.hub.instances.terminate_pending(self.instance_id, &row, reason, at).await?;
        if is_ended {
            self.hosting.forget(self.instance_id);
            log::terminated_before_start(self, &row.row, reason);
        }
        Ok(is_ended)
    }

    /// What becomes of the turn that the sorted messages ask for. What waits is put aside.
    pub(super) async fn outlook(&self, state: &State, start: Option<&Held>, is_torn: bool, sorted: &mut Sorted) -> Outlook {
        let started = match start.map(|start| &start.message.event.kind) {
            Some(EventKind::ExecutionStarted(start)) => Some(&**start),
            _ => state.started.as_ref().filter(|_| state.completed.is_none()).map(|started| &started.event),
        };
        let Some(need) = started.and_then(|started| self.hosting.missing_orchestrator(started)) else {
            if !sorted.apply.is_empty() {
                self.hosting.forget(self.instance_id);
            }
            return Outlook::Runs;
        };
        let terminates = |held: &Arc<Held>| matches!(held.message.event.kind, EventKind::ExecutionTerminated { .. });
        if start.is_none()
            && let Some(position) = sorted.apply.iter().position(terminates)
        {
            let terminated = sorted.apply.remove(position);
            // They find that the instance has ended.
            let rest = sorted.apply.drain(..).chain(sorted.early.drain(..)).map(|held| (held, Duration::ZERO));
            sorted.postponed.extend(rest);
            let EventKind::ExecutionTerminated { reason } = &terminated.message.event.kind else { unreachable!("it terminates") };
            tracing::debug!(instance = self.instance_id, "an instance ends without its code");
            let ends = Outlook::Ends(Completion::Terminated { reason: reason.clone() });
            sorted.apply.push(terminated);
            self.hosting.forget(self.instance_id);
            return ends;
        }
        if is_torn {
            // Nothing can be said to be void before the checkpoint has been made whole.
            sorted.early.append(&mut sorted.drop);
        }
        let awaiting = if sorted.apply.is_empty() && is_torn { &sorted.early } else { &sorted.apply };
        if let Some(oldest) = awaiting.iter().min_by_key(|held| held.waits_since())
            && let Some(failure) = self.hosting.failure(self.hub, &need, self.waiting(oldest)).await
        {
            return Outlook::Ends(Completion::Failed { failure });
        }
        let mut waits = std::mem::take(&mut sorted.apply);
        for held in std::mem::take(&mut sorted.early) {
            // What answers nothing that is in history is not waited for longer than all else: its decision was never committed.
            let has_waited = !is_torn && self.hosting.failure(self.hub, &need, self.waiting(&held)).await.is_some();
            if has_waited { &mut sorted.early } else { &mut waits }.push(held);
        }
        sorted.postponed.extend(self.postponed(&need, waits));
        if start.is_none() && !is_torn {
            self.hosting.settle(self.instance_id, false);
        }
        Outlook::Waits
    }

    /// How long something waits for an instance that has no history yet, when its start is known to wait for need, or would not yet
    /// have come by since the partition was taken: then nobody can say that there is no such instance.
    pub(super) fn waits_with_start(&self, held: &Held) -> Option<Duration> {
        let may_follow = !held.message.sender.instance_id.is_empty() && self.is_new_here();
        let unknown = || may_follow.then(|| super::orchestration::back_off(held.dequeue_count).min(PAUSE_MAX));
        self.hosting.awaited_in(self.instance_id).or_else(unknown)
    }
}
