//! A step of an instance whose code this worker does not have: what is for it waits, and it ends only where no code is needed.

use std::time::Duration;

use super::aside::{LONGEST_PAUSE, PAUSE_MAX};
use super::delivery::{Delivery, Disposition};
use super::fate::{Fate, Sorted};
use super::hosting::Waiting;
use super::log;
use super::step::{Step, names_no_execution};
use crate::error::Result;
use crate::hub::histories::History;
use crate::hub::instances::StoredRow;
use crate::hub::{AwaitedKind, Held, Need};
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

impl Step<'_> {
    /// Runs at most one turn over the messages, if their code is here. On an error nothing has been decided about them.
    pub(crate) async fn run(self, messages: &[Delivery]) -> Result<Vec<Disposition>> {
        let mut sorted = Sorted::new(messages);
        if let Some(entity) = Need::of_entity(self.instance_id) {
            self.wait_for(&entity, &mut sorted, |_| true);
            return Ok(sorted.settled());
        }
        let is_rewind = |held: &Held| matches!(held.message.event.kind, EventKind::ExecutionRewound { .. });
        self.wait_for(&Need::new(AwaitedKind::Event, "ExecutionRewound", None), &mut sorted, is_rewind);
        if !sorted.has(Fate::Open) {
            return Ok(sorted.settled());
        }
        if let Some(need) = self.all_waits(&sorted).await {
            let waiting = sorted.with(Fate::Open);
            self.postpone(&need, &mut sorted, &waiting);
            return Ok(sorted.settled());
        }
        match self.step(sorted.clone()).await {
            Err(error) => match error.unknown_event() {
                // An event in a history that this version does not know is no damage: another version goes on with it.
                Some(kind) => {
                    self.wait_for(&Need::new(AwaitedKind::Event, kind, None), &mut sorted, |_| true);
                    Ok(sorted.settled())
                }
                None => Err(error),
            },
            decided => decided,
        }
    }

    /// What all of the messages wait for, as an earlier step has found; nothing is read for that.
    async fn all_waits(&self, sorted: &Sorted<'_>) -> Option<Need> {
        let need = self.hosting.whole(self.instance_id)?;
        let waits = |held: &Held| match &held.message.event.kind {
            EventKind::ExecutionStarted(start) => self.hosting.missing_orchestrator(start).as_ref() == Some(&need),
            EventKind::ExecutionTerminated { .. } => false,
            _ => true,
        };
        let messages = sorted.with(Fate::Open);
        let all_wait = messages.iter().all(|(_, delivery)| waits(delivery));
        let (_, oldest) = messages.iter().min_by_key(|(_, delivery)| delivery.waits_since()).filter(|_| all_wait)?;
        self.hosting.failure(self.hub, &need, self.waiting(oldest)).await.is_none().then_some(need)
    }

    /// Those of the open messages go back together, so that their order stays.
    fn wait_for(&self, need: &Need, sorted: &mut Sorted<'_>, which: impl Fn(&Held) -> bool) {
        let waiting: Vec<_> = sorted.with(Fate::Open).into_iter().filter(|(_, delivery)| which(delivery)).collect();
        for (_, delivery) in &waiting {
            self.hosting.note(self.hub, need, self.waiting(delivery));
        }
        self.postpone(need, sorted, &waiting);
    }

    /// The messages go back with the one pause that all of them have.
    fn postpone(&self, need: &Need, sorted: &mut Sorted<'_>, waiting: &[(usize, &Delivery)]) {
        let most = waiting.iter().max_by_key(|(_, delivery)| delivery.dequeue_count);
        let Some(pause) = most.map(|(_, delivery)| self.hosting.pause(need, self.waiting(delivery), waiting.len())) else {
            return;
        };
        waiting.iter().for_each(|(at, _)| sorted.set(*at, Fate::Later(pause)));
    }

    fn waiting<'a>(&'a self, held: &Held) -> Waiting<'a> {
        let (queue, instance_id) = (held.queue, self.instance_id);
        Waiting { queue, instance_id, since: held.waits_since(), receives: held.dequeue_count }
    }

    /// How a start waits for a worker that has its code. `None` if its code is here, or has been waited for long enough.
    pub(super) async fn start_waits(&self, held: &Held, start: &ExecutionStarted) -> Option<Fate> {
        let need = self.hosting.missing_orchestrator(start)?;
        match self.hosting.failure(self.hub, &need, self.waiting(held)).await {
            Some(_) => None,
            None => Some(Fate::Later(self.hosting.pause(&need, self.waiting(held), 1))),
        }
    }

    /// How a start waits for a worker that has its code, or because more instances of its orchestrator begin than may.
    pub(super) async fn code_or_limit_keeps(&self, held: &Held, start: &ExecutionStarted) -> Option<Fate> {
        match self.start_waits(held, start).await {
            None => self.limit_keeps(held, start),
            waits => waits,
        }
    }

    /// How a start waits because more instances of its orchestrator begin than may.
    fn limit_keeps(&self, held: &Held, start: &ExecutionStarted) -> Option<Fate> {
        let pause = self.executor.throttles().orchestrator(&start.name)?.begin_now().err()?;
        let need = Need::new(AwaitedKind::Limit, &start.name, start.version.as_deref());
        self.hosting.note(self.hub, &need, self.waiting(held));
        self.hosting.away(&need, self.waiting(held), pause);
        Some(Fate::Later(pause))
    }

    /// How a start waits because its orchestrator is drained. Children begin: their parents have begun, and are waited for.
    pub(super) async fn drain_keeps(&self, held: &Held, start: &ExecutionStarted) -> Result<Option<Fate>> {
        let Some(drain) = self.hosting.drain(self.hub, start).await? else { return Ok(None) };
        self.hosting.note(self.hub, &drain, self.waiting(held));
        Ok(Some(Fate::Later(self.hosting.pause(&drain, self.waiting(held), 1))))
    }

    /// While a start waits for its code that is to replace what runs, nothing of the replaced execution goes on, and what names no
    /// execution is for the new one. A termination ends both: those are left to be sorted.
    pub(super) async fn behind_start(&self, history: &History, state: &State, sorted: &mut Sorted<'_>) -> Result<()> {
        if state.completed.is_some() {
            return Ok(());
        }
        let delay = match self.hosting.replaced_in(self.instance_id) {
            Some(delay) => delay,
            None if self.has_unseen_start(history, sorted).await? => UNSEEN_PAUSE,
            None => return Ok(()),
        };
        for (at, delivery) in sorted.with(Fate::Open) {
            let EventKind::ExecutionTerminated { reason } = &delivery.message.event.kind else {
                sorted.set(at, Fate::Later(delay));
                continue;
            };
            let is_of_client = delivery.message.sender.instance_id.is_empty();
            let is_for_both = is_of_client && delivery.message.target.execution_id != history.execution_id;
            if is_for_both && !self.end_waiting_start(history, reason.as_deref(), delivery.message.event.timestamp).await? {
                sorted.set(at, Fate::Later(Duration::ZERO));
            }
        }
        Ok(())
    }

    /// Whether a start is to replace what runs that would not yet have come by since the partition was taken.
    async fn has_unseen_start(&self, history: &History, sorted: &Sorted<'_>) -> Result<bool> {
        let for_any = sorted.messages().iter().any(|delivery| names_no_execution(delivery));
        // What waits is known, unless it has yet to come by, or there is too much of it.
        let may_be_unknown = self.is_new_here() && !self.partition.knows_row(self.instance_id) || self.hosting.forgets_some();
        if !may_be_unknown || !for_any {
            return Ok(false);
        }
        let Some(StoredRow { row, .. }) = self.hub.instances.read(self.instance_id, false).await? else { return Ok(false) };
        let known = history.execution_id.iter().chain(&history.sentinel.superseded);
        let is_unknown = |id: &str| known.clone().all(|known| !known.eq_ignore_ascii_case(id));
        // One whose time has not come does not wait for its code, and keeps nothing from what runs until then.
        let is_due = row.scheduled_start.is_none_or(|at| at <= self.hub.now());
        Ok(is_due && row.status == Some(RuntimeStatus::Pending) && row.execution_id.as_deref().is_some_and(is_unknown))
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
            log::terminated_before_start(&row.row, reason);
        }
        Ok(is_ended)
    }

    /// What becomes of the turn that the sorted messages ask for. What waits is put aside.
    pub(super) async fn outlook(&self, state: &State, is_torn: bool, sorted: &mut Sorted<'_>) -> Outlook {
        let started = match sorted.start().map(|start| &start.message.event.kind) {
            Some(EventKind::ExecutionStarted(start)) => Some(&**start),
            _ => state.started.as_ref().filter(|_| state.completed.is_none()).map(|started| &started.event),
        };
        let Some(need) = started.and_then(|started| self.hosting.missing_orchestrator(started)) else {
            if sorted.has(Fate::Apply) {
                self.hosting.forget(self.instance_id);
            }
            return Outlook::Runs;
        };
        if let Some((at, reason)) = termination(sorted) {
            // The others find that the instance has ended.
            sorted.change(Fate::Apply, Fate::Later(Duration::ZERO));
            sorted.change(Fate::Twin, Fate::Later(Duration::ZERO));
            sorted.change(Fate::Early, Fate::Later(Duration::ZERO));
            sorted.apply_alone(at);
            self.hosting.forget(self.instance_id);
            tracing::debug!("an instance ends without its code");
            return Outlook::Ends(Completion::Terminated { reason });
        }
        if is_torn {
            // Nothing can be said to be void before the checkpoint has been made whole.
            sorted.change(Fate::Drop, Fate::Early);
        }
        let (mut waiting, early) = (sorted.with(Fate::Apply), sorted.with(Fate::Early));
        let awaiting = if waiting.is_empty() && is_torn { &early } else { &waiting };
        if let Some((_, oldest)) = awaiting.iter().min_by_key(|(_, delivery)| delivery.waits_since())
            && let Some(failure) = self.hosting.failure(self.hub, &need, self.waiting(oldest)).await
        {
            return Outlook::Ends(Completion::Failed { failure });
        }
        for (at, delivery) in early {
            // What answers nothing that is in history is not waited for longer than all else: its decision was never committed.
            let has_waited = !is_torn && self.hosting.failure(self.hub, &need, self.waiting(delivery)).await.is_some();
            if !has_waited {
                waiting.push((at, delivery));
            }
        }
        waiting.extend(sorted.with(Fate::Twin));
        self.postpone(&need, sorted, &waiting);
        if sorted.start().is_none() && !is_torn {
            self.hosting.settle(self.instance_id, false);
        }
        Outlook::Waits
    }

    /// How long something waits for an instance that has no history yet, when its start is known to wait for need, or would not yet
    /// have come by since the partition was taken, or may be one of too many to remember: then nobody can say that there is no such
    /// instance.
    pub(super) fn waits_with_start(&self, held: &Held) -> Option<Duration> {
        let may_follow = !held.message.sender.instance_id.is_empty() && (self.is_new_here() || self.hosting.forgets_some());
        let unknown = || may_follow.then(|| super::step::back_off(held.dequeue_count).min(PAUSE_MAX));
        self.hosting.awaited_in(self.instance_id).or_else(unknown)
    }
}

/// The message that terminates the execution, and its reason.
fn termination(sorted: &Sorted<'_>) -> Option<(usize, Option<String>)> {
    let terminates = |(at, delivery): (usize, &Delivery)| match &delivery.message.event.kind {
        EventKind::ExecutionTerminated { reason } => Some((at, reason.clone())),
        _ => None,
    };
    sorted.with(Fate::Apply).into_iter().find_map(terminates)
}
