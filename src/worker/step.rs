//! One step of an instance: load its history, sort its messages, run a turn over them and commit it.

use std::time::Duration;

use super::checkpoint::{Commit, CommitError};
use super::delivery::{Delivery, Disposition};
use super::drop_reason::DropReason;
use super::executor::{Executor, Unavailable};
use super::fast_path::FastPath;
use super::fate::{Fate, Sorted};
use super::hosting::Hosting;
use super::litter;
use super::loaded::{Loaded, Memory};
use super::local::{LocalActivities, Unfinished};
use super::log;
use super::measures::Source;
use super::outbox::Outbox;
use super::partition::Partition;
use super::recorder::{Opened, Recorder};
use super::sort::{Known, Verdict};
use super::spans;
use super::unhosted::Outlook;
use super::watch::{Code, What};
use crate::error::Result;
use crate::hub::histories::History;
use crate::hub::{Held, Hub, InstanceRow};
use crate::model::{EventKind, ExecutionStarted, HistoryEvent, ParentInstance, State, StoredEvent};
use crate::replay::Completion;
use crate::sabotage::{self, Sabotage};
use crate::usage;

/// How often a message whose decision is nowhere in history is received before it is given up.
pub(super) const EARLY_TRIES: u32 = 5;

/// One step of an instance: its messages are sorted, at most one turn is run over them and committed, and each gets its disposition.
/// These are the things that a step needs beside the messages.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) executor: &'a Executor,
    pub(crate) local: &'a LocalActivities,
    pub(crate) hosting: &'a Hosting,
    pub(crate) instance_id: &'a str,
    /// Asked right before an effect whether this worker may still write.
    pub(crate) partition: &'a Partition,
    /// Whether history rows have the inputs of calls.
    pub(crate) stores_inputs: bool,
    pub(crate) fast_path: FastPath,
    /// Whether what a turn sends may have been sent before.
    pub(crate) sends_again: bool,
    pub(crate) outbox: &'a Outbox,
}

/// What came of a step over one reading of the history.
enum Passed {
    /// What becomes of each message.
    Decided(Vec<Disposition>),
    /// The history is another by now.
    Outdated,
}

impl Step<'_> {
    /// Runs at most one turn over the messages that are still open. On an error nothing has been decided about them.
    pub(super) async fn step(self, sorted: Sorted<'_>) -> Result<Vec<Disposition>> {
        let known = self.known_history(&sorted).await;
        let measures = self.executor.measures();
        known.iter().for_each(|known| measures.history(if known.is_assumed { Source::Assumed } else { Source::Cache }));
        // A turn over what was known may have sent its messages.
        let over_stored = Step { sends_again: known.is_some(), ..self };
        if let Some(known) = known
            && let Passed::Decided(decided) = self.step_over(known, sorted.clone()).await?
        {
            return Ok(decided);
        }
        measures.history(Source::Storage);
        match over_stored.step_over(self.load().await?, sorted.clone()).await? {
            Passed::Decided(decided) => Ok(decided),
            Passed::Outdated => {
                tracing::info!("another worker committed first; the messages go back");
                Ok(sorted.all_back())
            }
        }
    }

    async fn step_over(self, loaded: Loaded, mut sorted: Sorted<'_>) -> Result<Passed> {
        self.accept_start(&loaded, &mut sorted).await?;
        let Loaded { mut history, mut state, bytes, kept, is_assumed } = loaded;
        if is_assumed && sorted.start().is_none() {
            // Only a beginning can be assumed.
            return Ok(Passed::Outdated);
        }
        let start = sorted.start();
        if start.is_none() && !history.unclosed.is_empty() && self.has_continued(&history).await? {
            history.close_first_turn();
            state = State::fold(&history.events);
        }
        if start.is_none() && (state.started.is_none() || self.awaits_restart(&history, &state, &sorted).await?) {
            return self.without_history(&history, sorted).await.map(Passed::Decided);
        }
        if start.is_none() {
            self.behind_start(&history, &state, &mut sorted).await?;
            self.keep_for_child(&history, &state, &mut sorted).await?;
        }
        self.sort(&history, &state, &mut sorted);
        self.end_strays(&history, &state, &sorted).await?;
        let is_torn = (history.is_torn() || !history.late.is_empty()) && state.completed.is_none();
        let ends = match self.outlook(&state, is_torn, &mut sorted).await {
            Outlook::Runs => None,
            Outlook::Ends(completion) => Some(completion),
            Outlook::Waits if is_torn => return Ok(Passed::Decided(sorted.all_back())),
            Outlook::Waits => None,
        };
        if sorted.has(Fate::Apply) || is_torn {
            return self.turn(Loaded { history, state, bytes, kept, is_assumed }, sorted, ends).await;
        }
        if start.is_none() && sorted.has(Fate::Drop) {
            let repair = self.repair_row(&history, &state);
            if self.partition.while_ours(repair).await.transpose()? != Some(true) {
                return Ok(Passed::Decided(sorted.all_back()));
            }
            litter::sweep(self.hub, self.partition, self.instance_id, &history, &sorted.dropped()).await?;
        }
        self.settle_without_turn(&history, sorted).await.map(Passed::Decided)
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
                Known { state: &fresh, execution_id, applied, superseded, call: call_of(start), now: self.hub.now() }
            }
        };
        // Events of this step with one identity: a message that was put twice.
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
                    sorted.set(at, if repeat { Fate::Twin } else { Fate::Apply });
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

    pub(super) fn known<'k>(&self, history: &'k History, state: &'k State) -> Known<'k> {
        Known {
            state,
            execution_id: history.execution_id.as_deref().unwrap_or_default(),
            applied: &history.sentinel.applied,
            superseded: &history.sentinel.superseded,
            call: state.started.as_deref().and_then(|started| started.event.parent.as_ref()),
            now: self.hub.now(),
        }
    }

    /// Runs and commits the turn.
    async fn turn(self, loaded: Loaded, sorted: Sorted<'_>, ends: Option<Completion>) -> Result<Passed> {
        let Loaded { history, state, bytes, kept, .. } = loaded;
        let (start, applied, repeats) = (sorted.start(), sorted.applied(), sorted.dropped());
        let mut opened = self.open(&history, state, start.map(|start| &**start), &applied);
        opened.descent = self.descent(&history, &applied).await?;
        if ends.is_some() && start.is_none() {
            self.leave_custom_status(&mut opened).await?;
        }
        let without_code = ends.is_some();
        let name = log::orchestrator(opened.past.iter().chain(&opened.inputs)).unwrap_or_default();
        usage::bill(name);
        let measured = self.executor.measures().turn(name);
        let code = Code::new(spans::orchestrator(&opened.execution_id, name), What::Turn);
        let mut recorder = Recorder::new(&self.hub.clock, self.hub.partition_count, opened);
        let mut unfinished = Unfinished::default();
        // It is that of this history, unless another execution begins.
        let mut kept = kept.filter(|_| start.is_none());
        match ends {
            Some(completion) => recorder.end_without_code(completion),
            None => {
                if let Err(Unavailable) = self.play(&mut recorder, &code, &mut kept, &mut unfinished).await {
                    return Ok(Passed::Decided(sorted.all_back()));
                }
            }
        }
        let record = recorder.finish().with_paired_local_calls(&history);
        log::differences(&code, &record.differences);
        if !self.partition.may_commit() {
            tracing::info!("the partition was lost during the turn; its messages go back");
            return Ok(Passed::Decided(sorted.all_back()));
        }
        let Self { hub, instance_id, partition, outbox, .. } = self;
        let may_be_cut_off = litter::is_suspected(&history, applied.iter().chain(&repeats));
        let litter = if may_be_cut_off { hub.histories.blobs(instance_id).await? } else { Vec::new() };
        let (applied, repeats, litter) = (&applied, &repeats, &litter);
        let commit = Commit {
            hub,
            instance_id,
            history: &history,
            partition,
            applied,
            repeats,
            litter,
            without_code,
            coalesces_rows: self.fast_path.coalesces_rows,
            sends_again: self.sends_again || may_be_cut_off,
            outbox,
            measured,
        };
        match commit.run(&record).await {
            Ok(committed) => {
                self.keep(Loaded::after(history, bytes, record, committed, kept));
                self.local.adopt(unfinished, outbox);
                outbox.hand_over();
                Ok(Passed::Decided(sorted.settled()))
            }
            Err(CommitError::Fenced) => {
                outbox.withdraw(hub).await;
                Ok(Passed::Outdated)
            }
            Err(CommitError::Torn) => {
                outbox.let_go(hub).await;
                Ok(Passed::Outdated)
            }
            Err(CommitError::Storage(error)) => Err(error),
            Err(lost) => {
                commit.log_loss(&lost);
                Ok(Passed::Decided(sorted.all_back()))
            }
        }
    }

    /// Keeps a history for the next turn.
    fn keep(&self, left: Option<Loaded>) {
        if let Some(left) = left.filter(|_| self.fast_path.keeps_histories) {
            self.partition.keep_history(self.instance_id, left);
        }
    }

    /// Only the code knows the custom status. Where it does not run, what the row shows stays, if it shows this execution.
    async fn leave_custom_status(&self, opened: &mut Opened<'_>) -> Result<()> {
        let row = self.hub.instances.read(self.instance_id, false).await?.map(|stored| stored.row);
        if let Some(row) = row.filter(|row| row.execution_id.as_ref() == Some(&opened.execution_id)) {
            opened.custom_status = row.custom_status;
        }
        Ok(())
    }

    /// `state`: what the history and what comes late amount to.
    fn open<'h>(&'h self, history: &'h History, state: State, start: Option<&Held>, applied_now: &[&Delivery]) -> Opened<'h> {
        let Memory { applied, superseded } = Memory::of(history, start);
        let known = |stored: &StoredEvent| stored.message_id.is_some_and(|id| applied.contains(&id) || history.has_message(id));
        let late = history.late.iter().filter(|stored| start.is_none() && !known(stored)).cloned();
        let inputs = late.chain(applied_now.iter().map(|delivery| stored(delivery))).collect();
        let (execution_id, past, custom_status) = match start {
            Some(start) => (start.message.target.execution_id.clone(), &[] as &[_], None),
            None => (history.execution_id.clone(), &*history.events, history.sentinel.custom_status.clone()),
        };
        let state = if start.is_none() && history.late.is_empty() { state } else { State::fold(past) };
        Opened {
            instance_id: self.instance_id,
            execution_id: execution_id.unwrap_or_default(),
            past,
            state,
            inputs,
            custom_status,
            applied,
            superseded,
            descent: None,
            stores_inputs: self.stores_inputs,
            exports: self.hub.tracer.is_on(),
        }
    }

    /// Nothing to apply: drop what is void, and postpone what is early until its decision may be in history.
    pub(super) async fn settle_without_turn(&self, history: &History, mut sorted: Sorted<'_>) -> Result<Vec<Disposition>> {
        for (at, delivery) in sorted.with(Fate::Early) {
            let tries = self.hosting.tries(self.hub, delivery, EARLY_TRIES + 1).await;
            if tries <= EARLY_TRIES {
                let delay = back_off(tries);
                tracing::debug!(?delay, "a message is early and waits for its decision");
                sorted.set(at, Fate::Later(delay));
                continue;
            }
            // A slow owner may still be committing the decision under the version it loaded. After the bump it cannot, so
            // nothing can make this message matter: whoever decides it again sends it again.
            if self.fence_off(history).await? {
                if history.execution_id.is_none() {
                    self.end_parked(delivery).await?;
                }
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
        self.executor.measures().dropped(why);
        tracing::debug!(
            execution = held.message.target.execution_id.as_deref(),
            event = held.message.event.kind.type_name(),
            reason = why.label(),
            "message dropped: {why}"
        );
    }
}

/// What a message starts, if it is a start.
pub(super) fn start_of(held: &Held) -> Option<&ExecutionStarted> {
    match &held.message.event.kind {
        EventKind::ExecutionStarted(start) => Some(start),
        _ => None,
    }
}

/// The call behind this start, if it is that of a child.
fn call_of(start: &Held) -> Option<&ParentInstance> {
    start_of(start)?.parent.as_ref()
}

/// Whether a message starts an execution.
pub(super) fn is_start(held: &Held) -> bool {
    start_of(held).is_some()
}

/// Whether a message is for whatever execution the instance has.
pub(super) fn names_no_execution(held: &Held) -> bool {
    held.message.target.execution_id.as_deref().is_none_or(str::is_empty)
}

/// A received event as it enters history.
fn stored(held: &Held) -> StoredEvent {
    let message = &held.message;
    let event = HistoryEvent { event_id: -1, ..message.event.clone() };
    let is_start = is_start(held);
    let external = !is_start && event.kind.completes().is_none() && !message.activity_id.is_nil();
    StoredEvent {
        event,
        message_id: external.then_some(message.activity_id),
        decision_id: message.decision_id.clone().filter(|_| is_start),
        taken_back: None,
        blobs: Vec::new(),
    }
}

/// One second, two, four, ... ten minutes.
pub(crate) fn back_off(dequeue_count: u32) -> Duration {
    Duration::from_secs((1_u64 << dequeue_count.saturating_sub(1).min(10)).min(600))
}
