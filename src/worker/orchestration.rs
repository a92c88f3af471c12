//! The messages of one instance, from load to commit: sort them, run a turn, checkpoint it.

use std::time::Duration;

use super::checkpoint::{Commit, CommitError};
use super::claim::{CLIENTS, Ruling};
use super::delivery::{Delivery, Disposition};
use super::drop_reason::DropReason;
use super::hosting::Hosting;
use super::inbox::Partition;
use super::litter;
use super::log;
use super::reconcile::{Known, Verdict};
use super::sorted::{Fate, Sorted};
use super::turn::{self, Ended, Opened, keep_last};
use super::unhosted::Outlook;
use super::watch::Watch;
use crate::authoring::Registry;
use crate::error::Result;
use crate::hub::histories::History;
use crate::hub::rows::Sentinel;
use crate::hub::{Held, Hub, InstanceRow};
use crate::limits;
use crate::model::{EventKind, ExecutionStarted, HistoryEvent, RuntimeStatus, Sender, State, StoredEvent};
use crate::replay::Completion;
use crate::sabotage::{self, Sabotage};

/// How often a message whose decision is nowhere in history is received before it is given up.
pub(super) const EARLY_TRIES: u32 = 5;
/// How often a start whose instance row is missing is received before it is given up: its client died between the two
/// (docs/storage-layout.md, Starts that a worker takes).
pub(super) const START_TRIES: u32 = 10;

/// Everything that a pass needs beside its messages.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) registry: &'a Registry,
    pub(crate) hosting: &'a Hosting,
    pub(crate) instance_id: &'a str,
    /// Asked right before an effect whether this worker may still write.
    pub(crate) partition: &'a Partition,
    pub(crate) watch: &'a Watch,
}

impl Pass<'_> {
    /// Runs at most one turn over the messages that are still open. On an error nothing has been decided about them.
    pub(super) async fn pass(self, mut sorted: Sorted<'_>) -> Result<Vec<Disposition>> {
        let mut history = self.hub.histories.load(self.instance_id).await?;
        let mut state = State::fold(history.events.iter().chain(&history.late));
        self.accept_start(&history, &state, &mut sorted).await?;
        let start = sorted.start();
        if start.is_none() && !history.unclosed.is_empty() && self.has_continued(&history).await? {
            history.close_first_turn();
            state = State::fold(&history.events);
        }
        if start.is_none() && (state.started.is_none() || self.awaits_restart(&history, &state, &sorted).await?) {
            return self.without_history(&history, sorted).await;
        }
        if start.is_none() {
            self.behind_start(&history, &state, &mut sorted).await?;
        }
        self.sort(&history, &state, &mut sorted);
        let is_torn = (history.is_torn() || !history.late.is_empty()) && state.completed.is_none();
        let ends = match self.outlook(&state, is_torn, &mut sorted).await {
            Outlook::Runs => None,
            Outlook::Ends(completion) => Some(completion),
            Outlook::Waits if is_torn => return Ok(sorted.all_back()),
            Outlook::Waits => None,
        };
        if !sorted.has(Fate::Apply) && !is_torn {
            if start.is_none() && sorted.has(Fate::Drop) {
                let repair = self.repair_row(&history, &state);
                if self.partition.while_ours(repair).await.transpose()? != Some(true) {
                    return Ok(sorted.all_back());
                }
                litter::sweep(self.hub, self.partition, self.instance_id, &history, &sorted.dropped()).await?;
            }
            return self.settle_without_turn(&history, sorted).await;
        }
        self.turn(history, sorted, ends).await
    }

    /// Whether the first turn of this execution was begun by a continue-as-new of .NET that was interrupted, and not by a start that
    /// comes again: the instance row then still shows the execution before it.
    async fn has_continued(&self, history: &History) -> Result<bool> {
        let row = self.hub.instances.read(self.instance_id, false).await?.map(|stored| stored.row);
        let is_of_another = |row: &InstanceRow| row.execution_id != history.execution_id;
        Ok(row.is_some_and(|row| is_of_another(&row) && row.status.is_some_and(|status| !status.is_terminal())))
    }

    /// Whether the instance has ended and was started again, by a start that has not come yet: what has no execution id is for
    /// the new execution.
    async fn awaits_restart(&self, history: &History, state: &State, sorted: &Sorted<'_>) -> Result<bool> {
        let for_any = |(_, delivery): (usize, &Delivery)| !is_start(delivery) && names_no_execution(delivery);
        if state.completed.is_none() || !sorted.with(Fate::Open).into_iter().any(for_any) {
            return Ok(false);
        }
        if self.hosting.awaited_in(self.instance_id).is_some() {
            return Ok(true);
        }
        self.is_pending(history, state).await
    }

    /// Accepts the start that opens a new execution, if one of the messages is a valid one. Other starts are sorted here.
    async fn accept_start(&self, history: &History, state: &State, sorted: &mut Sorted<'_>) -> Result<()> {
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
                match self.fate_of_start(history, state, delivery, start).await? {
                    Fate::Apply => sorted.accept(at),
                    fate => sorted.set(at, fate),
                }
            }
        }
        Ok(())
    }

    /// What becomes of a start that is no repeat, and whose time has come.
    async fn fate_of_start(&self, history: &History, state: &State, held: &Held, start: &ExecutionStarted) -> Result<Fate> {
        let Some(parent) = &start.parent else { return self.fate_of_clients_start(state, held, start).await };
        // Before anything is done about a rival.
        if let Some(waits) = self.start_waits(held, start).await {
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
        self.hub.queues.send(self.hub.queues.of_instance(&answer.target.instance_id), answer, Duration::ZERO).await.map(drop)
    }

    /// Whether the instance row wants this start of a client (docs/storage-layout.md, Starts that a worker takes), and its code is
    /// here. A client that was told to replace what runs does so in the row; the parent of a child that is replaced must not wait
    /// for ever.
    async fn fate_of_clients_start(&self, state: &State, held: &Held, start: &ExecutionStarted) -> Result<Fate> {
        let Some(stored) = self.hub.instances.await_row_of_start(self.instance_id).await? else {
            return Ok(self.defer_start(held, start, DropReason::RowMissing).await);
        };
        let row = &stored.row;
        let same = match (row.execution_id.as_deref(), start.instance.execution_id.as_deref()) {
            (Some(row), Some(start)) => row.eq_ignore_ascii_case(start),
            _ => true,
        };
        let older = || {
            row.generation.unwrap_or(0) >= start.generation.unwrap_or(0)
                && row.created.is_some_and(|created| created >= held.message.event.timestamp)
        };
        let lost_race = || {
            row.generation.unwrap_or(0) == start.generation.unwrap_or(0)
                && row.created.is_some_and(|created| created < held.message.event.timestamp)
                && row.status == Some(RuntimeStatus::Pending)
        };
        // .NET starts an instance that was terminated while it waited; we do not.
        let void = match same {
            true if row.status.is_some_and(RuntimeStatus::is_terminal) => Some(DropReason::EndedBeforeStart),
            false if older() || lost_race() => Some(DropReason::OtherStart),
            _ => None,
        };
        if let Some(why) = void {
            self.log_drop(held, why);
            return Ok(Fate::Drop);
        }
        if !same {
            return Ok(self.defer_start(held, start, DropReason::RowOfOtherExecution).await);
        }
        if let Some(waits) = self.start_waits(held, start).await {
            self.hosting.settle(self.instance_id, true);
            return Ok(waits);
        }
        // Not before: as long as the start waits, nobody may write over its row who does not know of it.
        self.partition.rows.saw(self.instance_id, stored.etag.clone());
        if let Some(replaced) = state.started.as_ref().filter(|_| state.completed.is_none()) {
            self.refuse(&replaced.event, replaced.decision_id.as_deref(), CLIENTS).await?;
        }
        Ok(Fate::Apply)
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

    /// Sorts everything but starts.
    fn sort(&self, history: &History, state: &State, sorted: &mut Sorted<'_>) {
        let start = sorted.start();
        let fresh = State::default();
        let memory = Memory::of(history, start.map(|start| &**start));
        let known = match start {
            None => self.known(history, state),
            Some(start) => {
                let execution_id = start.message.target.execution_id.as_deref().unwrap_or_default();
                let Memory { applied, superseded } = &memory;
                Known { state: &fresh, execution_id, applied, superseded, now: self.hub.now() }
            }
        };
        // Events of this pass with one identity: a message that was put twice.
        let mut seen = std::collections::BTreeSet::new();
        let mut answered = std::collections::BTreeSet::new();
        for (at, delivery) in sorted.with(Fate::Open) {
            let message = &delivery.message;
            match known.verdict(message) {
                Verdict::Apply => {
                    let repeat = match message.event.kind.completes() {
                        Some(task_id) => !answered.insert(task_id),
                        None => !message.activity_id.is_nil() && !seen.insert(message.activity_id),
                    };
                    let repeat = repeat && !sabotage::is(Sabotage::AnswersOfOnePassDoubled);
                    sorted.set(at, if repeat { Fate::Drop } else { Fate::Apply });
                }
                Verdict::Drop(why) => {
                    self.log_drop(delivery, why);
                    sorted.set(at, Fate::Drop);
                }
                Verdict::Early => sorted.wait(at),
                Verdict::NotBefore(wait) => sorted.set(at, Fate::Later(wait)),
            }
        }
    }

    fn known<'k>(&self, history: &'k History, state: &'k State) -> Known<'k> {
        Known {
            state,
            execution_id: history.execution_id.as_deref().unwrap_or_default(),
            applied: &history.sentinel.applied,
            superseded: &history.sentinel.superseded,
            now: self.hub.now(),
        }
    }

    /// Runs and commits the turn.
    async fn turn(self, history: History, sorted: Sorted<'_>, ends: Option<Completion>) -> Result<Vec<Disposition>> {
        let (start, applied, repeats) = (sorted.start(), sorted.applied(), sorted.dropped());
        let mut opened = self.open(&history, start.map(|start| &**start), &applied);
        if ends.is_some() && start.is_none() {
            // Only the code knows the custom status; what the row shows stays.
            opened.custom_status =
                self.hub.instances.read(self.instance_id, false).await?.and_then(|stored| stored.row.custom_status);
        }
        let without_code = ends.is_some();
        opened.ends = ends;
        let name = log::orchestrator(opened.past.iter().chain(&opened.inputs)).unwrap_or_default();
        let code = self.code(&opened.execution_id, name);
        let busy = self.watch.enter(&code);
        let record = turn::run(self.registry, &self.hub.clock, self.hub.partition_count, opened);
        std::mem::drop(busy);
        self.log_differences(&code, &record.differences);
        if !self.partition.may_commit() {
            tracing::info!(
                hub = self.hub.names_hub(),
                partition = self.partition.id,
                instance = self.instance_id,
                "the partition was lost during the turn; its messages go back"
            );
            return Ok(sorted.all_back());
        }
        let (hub, instance_id, partition) = (self.hub, self.instance_id, self.partition);
        let litter = litter::suspected(hub, instance_id, &history, applied.iter().chain(&repeats)).await?;
        let (history, applied, repeats, litter) = (&history, &applied, &repeats, &litter);
        let commit = Commit { hub, instance_id, history, partition, applied, repeats, litter, without_code };
        match commit.run(&record).await {
            Ok(()) => Ok(sorted.settled()),
            Err(CommitError::Storage(error)) => Err(error),
            Err(lost) => {
                commit.log_loss(&lost);
                Ok(sorted.all_back())
            }
        }
    }

    fn open(&self, history: &History, start: Option<&Held>, applied_now: &[&Delivery]) -> Opened {
        let Memory { applied, superseded } = Memory::of(history, start);
        let known = |stored: &StoredEvent| stored.message_id.is_some_and(|id| applied.contains(&id) || history.has_message(id));
        let late = history.late.iter().filter(|stored| start.is_none() && !known(stored)).cloned();
        let inputs = late.chain(applied_now.iter().map(|delivery| stored(delivery))).collect();
        let (execution_id, past, custom_status) = match start {
            Some(start) => (start.message.target.execution_id.clone(), Vec::new(), None),
            None => (history.execution_id.clone(), history.events.clone(), history.sentinel.custom_status.clone()),
        };
        Opened {
            instance_id: self.instance_id.to_owned(),
            execution_id: execution_id.unwrap_or_default(),
            past,
            inputs,
            custom_status,
            applied,
            superseded,
            ends: None,
        }
    }

    /// Nothing to apply: drop what is void, and postpone what is early until its decision may be in history.
    pub(super) async fn settle_without_turn(&self, history: &History, mut sorted: Sorted<'_>) -> Result<Vec<Disposition>> {
        for (at, delivery) in sorted.with(Fate::Early) {
            let tries = self.hosting.tries(self.hub, delivery, EARLY_TRIES + 1).await;
            if tries <= EARLY_TRIES {
                let delay = back_off(tries);
                tracing::debug!(
                    hub = self.hub.names_hub(),
                    instance = self.instance_id,
                    ?delay,
                    "a message is early and waits for its decision"
                );
                sorted.set(at, Fate::Later(delay));
                continue;
            }
            // A slow owner may still be committing the decision under the version it loaded. After the bump it cannot, so
            // nothing can make this message matter: whoever decides it again sends it again.
            if self.fence_off(history).await? {
                self.log_drop(delivery, DropReason::NeverCommitted);
                sorted.set(at, Fate::Drop);
            } else {
                sorted.set(at, Fate::Later(Duration::ZERO));
            }
        }
        Ok(sorted.settled())
    }

    /// Makes sure that nobody who loaded this history commits any more. `false` if somebody has.
    pub(super) async fn fence_off(&self, history: &History) -> Result<bool> {
        match &history.etag {
            Some(etag) => self.hub.histories.bump_fence(self.instance_id, etag).await,
            None => Ok(true),
        }
    }

    pub(super) fn log_drop(&self, held: &Held, why: DropReason) {
        tracing::debug!(
            hub = self.hub.names_hub(),
            instance = self.instance_id,
            execution = held.message.target.execution_id.as_deref(),
            event = held.message.event.kind.type_name(),
            reason = why.label(),
            "message dropped: {why}"
        );
    }
}

/// What an execution remembers of those that it has replaced, so that nothing meant for them is applied to it.
struct Memory {
    applied: Vec<uuid::Uuid>,
    superseded: Vec<String>,
}

impl Memory {
    /// `start`: the one that replaces the execution of this history, if there is one.
    fn of(history: &History, start: Option<&Held>) -> Self {
        let Sentinel { mut applied, mut superseded, .. } = history.sentinel.clone();
        let replaced = history.execution_id.clone();
        if let (Some(replaced), Some(start)) = (replaced, start)
            && start.message.target.execution_id.as_ref() != Some(&replaced)
        {
            superseded.push(replaced);
            applied.extend(history.events.iter().filter_map(|stored| stored.message_id));
        }
        keep_last(&mut superseded, limits::REMEMBERED_EXECUTIONS_MAX);
        keep_last(&mut applied, limits::REMEMBERED_MESSAGES_MAX);
        Self { applied, superseded }
    }
}

/// Whether a message starts an execution.
pub(super) fn is_start(held: &Held) -> bool {
    matches!(held.message.event.kind, EventKind::ExecutionStarted(_))
}

/// Whether a message is for whatever execution the instance has.
pub(super) fn names_no_execution(held: &Held) -> bool {
    held.message.target.execution_id.as_deref().is_none_or(str::is_empty)
}

/// A received event as it enters history.
fn stored(held: &Held) -> StoredEvent {
    let message = &held.message;
    let event = HistoryEvent { event_id: -1, ..message.event.clone() };
    let is_start = matches!(event.kind, EventKind::ExecutionStarted(_));
    let external = !is_start && event.kind.completes().is_none() && !message.activity_id.is_nil();
    StoredEvent {
        event,
        message_id: external.then_some(message.activity_id),
        decision_id: message.decision_id.clone().filter(|_| is_start),
        blobs: Vec::new(),
    }
}

/// One second, two, four, ... ten minutes.
pub(crate) fn back_off(dequeue_count: u32) -> Duration {
    Duration::from_secs((1_u64 << dequeue_count.saturating_sub(1).min(10)).min(600))
}
