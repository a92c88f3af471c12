//! Which start of an execution begins, among those that have come for an instance: repeats, rivals and starts before their time do not.

use std::time::Duration;

use super::claim::{CLIENTS, Ruling};
use super::drop_reason::DropReason;
use super::fate::{Fate, Sorted};
use super::loaded::Loaded;
use super::partition::SeenRow;
use super::recorder::Ended;
use super::step::{Step, back_off};
use crate::error::Result;
use crate::hub::histories::History;
use crate::hub::{Held, InstanceRow};
use crate::model::{EventKind, ExecutionStarted, RuntimeStatus, Sender, State, Timestamp};
use crate::storage::table::Etag;

/// How often a start whose instance row is missing is received before it is given up: its client died between the two
/// (docs/storage-layout.md, Starts that a worker takes).
pub(super) const START_TRIES: u32 = 10;

impl Step<'_> {
    /// Accepts the start that opens a new execution, if one of the messages is a valid one. Other starts are sorted here.
    pub(super) async fn accept_start(&self, loaded: &Loaded, sorted: &mut Sorted<'_>) -> Result<()> {
        let Loaded { history, state, .. } = loaded;
        for (at, delivery) in sorted.with(Fate::Open) {
            let EventKind::ExecutionStarted(start) = &delivery.message.event.kind else { continue };
            let known = self.known(history, state);
            let wait = start.scheduled_start.map(|at| at.since(self.hub.now())).filter(|wait| !wait.is_zero());
            let accepted = sorted.start();
            if known.is_repeated_start(start, delivery.message.decision_id.as_deref())
                || accepted.is_some_and(|accepted| accepted.message.target == delivery.message.target)
            {
                self.log_drop(delivery, DropReason::StartRepeated);
                self.answer_again(history, state, start, delivery.message.decision_id.as_deref()).await?;
                sorted.set(at, Fate::Drop);
            } else if let Some(wait) = wait {
                sorted.set(at, Fate::Later(wait));
            } else if accepted.is_some() {
                sorted.set(at, Fate::Early);
            } else {
                match self.fate_of_start(loaded, delivery, start, sorted).await? {
                    Fate::Apply => sorted.accept(at),
                    fate => sorted.set(at, fate),
                }
            }
        }
        Ok(())
    }

    /// What becomes of a start that is no repeat, and whose time has come.
    async fn fate_of_start(&self, loaded: &Loaded, held: &Held, start: &ExecutionStarted, sorted: &Sorted<'_>) -> Result<Fate> {
        let Some(parent) = &start.parent else { return self.fate_of_clients_start(loaded, held, start).await };
        let Loaded { history, state, .. } = loaded;
        // Before anything is done about a rival. No code is needed for one that its parent has terminated meanwhile.
        if !is_terminated_by(&parent.instance.instance_id, sorted)
            && let Some(waits) = self.code_or_limit_keeps(held, start).await
        {
            if state.started.is_none() {
                self.hosting.settle(self.instance_id, false);
            }
            return Ok(waits);
        }
        Ok(match self.rule_on_child(history, state, held, start, parent).await? {
            Ruling::Begin => Fate::Apply,
            Ruling::Wait => Fate::Later(back_off(held.dequeue_count)),
            Ruling::Drop(why) => {
                self.log_drop(held, why);
                Fate::Drop
            }
        })
    }

    /// A parent that starts a child again may have had its answer before it had decided to ask, and dropped it: a child that
    /// has ended answers each start.
    async fn answer_again(
        &self,
        history: &History,
        state: &State,
        start: &ExecutionStarted,
        decision_id: Option<&str>,
    ) -> Result<()> {
        let begun_by = |start: &ExecutionStarted| start.parent.as_ref().map(|parent| (parent.instance.clone(), parent.task_id));
        if state.started.as_ref().is_none_or(|known| begun_by(&known.event) != begun_by(start)) {
            return Ok(());
        }
        let execution_id = history.execution_id.as_deref().unwrap_or_default();
        let end = history.events.iter().rev().find_map(|stored| match &stored.event.kind {
            EventKind::ExecutionCompleted { status, result, failure } => Some(Ended {
                execution_id,
                episode: state.episodes,
                id: stored.event.event_id,
                status: *status,
                result: result.clone(),
                failure: failure.clone(),
            }),
            _ => None,
        });
        match end {
            Some(end) => self.answer(end, start, decision_id).await,
            None => Ok(()),
        }
    }

    /// Tells the parent that sent this start how its execution ended, if it waits.
    pub(super) async fn answer(&self, end: Ended<'_>, start: &ExecutionStarted, decision_id: Option<&str>) -> Result<()> {
        let sender = Sender { instance_id: self.instance_id.to_owned(), execution_id: Some(end.execution_id.to_owned()) };
        let Some(answer) = end.answer(start, decision_id, sender, self.hub.now()) else { return Ok(()) };
        self.hub.queues.send(self.hub.queues.of_instance(&answer.target.instance_id), answer, Duration::ZERO).await
    }

    /// Whether the instance row wants this start of a client, and its code is here. A client that was told to replace what runs does so in
    /// the row; the parent of a child that is replaced must not wait for ever.
    async fn fate_of_clients_start(&self, loaded: &Loaded, held: &Held, start: &ExecutionStarted) -> Result<Fate> {
        let state = &loaded.state;
        let row = match self.row_of_start(loaded, held, start).await? {
            Ok(row) => row,
            Err(fate) => return Ok(fate),
        };
        let waits = match self.drain_keeps(held, start).await? {
            None => self.code_or_limit_keeps(held, start).await,
            waits => waits,
        };
        if let Some(waits) = waits {
            let replaces = state.started.is_some() && state.completed.is_none();
            self.hosting.settle(self.instance_id, replaces);
            return Ok(waits);
        }
        // Not before: as long as the start waits, nobody may write over its row who does not know of it.
        if let Some(version) = row {
            self.partition.saw_row(self.instance_id, SeenRow { version, shown: None });
        }
        if let Some(replaced) = state.started.as_ref().filter(|_| state.completed.is_none()) {
            self.refuse(&replaced.event, replaced.decision_id.as_deref(), CLIENTS).await?;
        }
        Ok(Fate::Apply)
    }

    /// The version of the row that names this start, or what becomes of one that no row names.
    async fn row_of_start(
        &self,
        loaded: &Loaded,
        held: &Held,
        start: &ExecutionStarted,
    ) -> Result<std::result::Result<Option<Etag>, Fate>> {
        if loaded.is_assumed && held.row.is_some() {
            // This process has just written it. Whoever has changed it since is found out when the turn writes over it.
            return Ok(Ok(held.row.clone()));
        }
        let stored = self.hub.instances.await_row_of_start(self.instance_id).await?;
        match wanted(stored.as_ref().map(|stored| &stored.row), start, held.message.event.timestamp) {
            Wanted::Yes => {}
            Wanted::NotYet(why) => return Ok(Err(self.defer_start(held, start, why).await)),
            Wanted::Never(why) => {
                // It may have waited, and kept everything else waiting.
                self.hosting.forget(self.instance_id);
                self.log_drop(held, why);
                return Ok(Err(Fate::Drop));
            }
        }
        if loaded.is_assumed && stored.as_ref().is_some_and(|stored| stored.row.status != Some(RuntimeStatus::Pending)) {
            // A copy of it has begun, or another start: that is for the history to tell.
            return Ok(Err(Fate::Open));
        }
        Ok(Ok(stored.map(|stored| stored.etag)))
    }

    async fn defer_start(&self, held: &Held, start: &ExecutionStarted, why: DropReason) -> Fate {
        if let Some(waits) = self.start_waits(held, start).await {
            return waits;
        }
        let tries = self.hosting.tries(self.hub, held, START_TRIES).await;
        if tries >= START_TRIES {
            self.log_drop(held, why);
            Fate::Drop
        } else {
            Fate::Later(back_off(tries))
        }
    }
}

/// Whether one of the messages is a termination by this parent.
fn is_terminated_by(parent: &str, sorted: &Sorted<'_>) -> bool {
    let ends = |held: &Held| matches!(held.message.event.kind, EventKind::ExecutionTerminated { .. });
    sorted.with(Fate::Open).iter().any(|(_, delivery)| ends(delivery) && delivery.message.sender.instance_id == parent)
}

/// Whether an instance row wants a start of a client (docs/storage-layout.md, Starts that a worker takes).
#[derive(Debug)]
enum Wanted {
    Yes,
    /// Its client may still be writing the row.
    NotYet(DropReason),
    Never(DropReason),
}

/// `sent`: when the client made the start.
fn wanted(row: Option<&InstanceRow>, start: &ExecutionStarted, sent: Timestamp) -> Wanted {
    let Some(row) = row else { return Wanted::NotYet(DropReason::RowMissing) };
    let is_of_row = match (row.execution_id.as_deref(), start.instance.execution_id.as_deref()) {
        (Some(row), Some(start)) => row.eq_ignore_ascii_case(start),
        _ => true,
    };
    // .NET starts an instance that was terminated while it waited; we do not.
    if is_of_row && row.status.is_some_and(RuntimeStatus::is_terminal) {
        return Wanted::Never(DropReason::EndedBeforeStart);
    }
    if is_of_row {
        return Wanted::Yes;
    }
    let (row_generation, generation) = (row.generation.unwrap_or(0), start.generation.unwrap_or(0));
    let is_older = row_generation >= generation && row.created.is_some_and(|created| created >= sent);
    let lost_race = row_generation == generation
        && row.created.is_some_and(|created| created < sent)
        && row.status == Some(RuntimeStatus::Pending);
    if is_older || lost_race { Wanted::Never(DropReason::OtherStart) } else { Wanted::NotYet(DropReason::RowOfOtherExecution) }
}
