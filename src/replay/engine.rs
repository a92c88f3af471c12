//! Runs one turn: feeds events to the code one at a time, polls it after each, and gathers what it decided.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tracing::Dispatch;

use super::execution::Execution;
use super::failures::{legacy_failure, not_durable, panicked};
use super::inputs::Recorded;
use super::label::Label;
use super::retry::Verdict;
use super::state::Next;
use super::turn::{Completion, Outcome, Turn};
use super::waker::TurnWaker;
use crate::limits;
use crate::model::{EventKind, ExecutionStarted, FailureDetails, StoredEvent};
use crate::sabotage::{self, Sabotage};

/// Polls that follow one event. Combinators wake themselves a few times; code that never stops would hang the worker.
const MOST_POLLS: u32 = 100_000;

/// The code of an orchestrator, bound to its context and input; it gives the output.
pub(crate) type Program = Pin<Box<dyn Future<Output = Result<Option<String>, FailureDetails>>>>;

/// What makes the program of an execution; its failure is that of the execution.
pub(crate) type Start<'a> = &'a dyn Fn(&Rc<Execution>) -> Result<Program, FailureDetails>;

/// Runs one turn from the beginning of its history.
pub(crate) fn run(turn: &Turn<'_>, start: Start<'_>) -> Outcome {
    match Live::begin(turn) {
        Ok(mut live) => live.go_on(turn, start),
        Err(outcome) => outcome,
    }
}

/// The place of the suspension in which the rest of the batch leaves the execution.
fn suspended_at_birth<'a>(events: impl Iterator<Item = (usize, &'a StoredEvent)>) -> Option<usize> {
    let mut suspended = None;
    for (position, stored) in events {
        match stored.event.kind {
            EventKind::ExecutionSuspended { .. } => suspended = Some(position),
            EventKind::ExecutionResumed { .. } => suspended = None,
            EventKind::OrchestratorStarted | EventKind::OrchestratorCompleted => break,
            _ => {}
        }
    }
    suspended
}

/// An execution with its code, which may stay in memory between turns: then a turn costs what is new, and not what has been.
pub(crate) struct Live {
    execution_id: String,
    execution: Rc<Execution>,
    /// Whether the program was made, or could not be.
    has_begun: bool,
    program: Option<Program>,
    /// The custom status before the turn.
    custom_status: Option<String>,
    waker: Arc<TurnWaker>,
    completion: Option<Completion>,
    /// Whether the decisions of this turn stand.
    keeps_actions: bool,
    /// The place of the suspension in effect.
    suspended: Option<usize>,
    /// Events that arrived while suspended, with their positions.
    held: VecDeque<(usize, StoredEvent)>,
    /// The place of the current event in history.
    position: usize,
    /// How many events the execution has gone through.
    gone_through: usize,
    /// The first id that history has not used.
    next_id: i32,
    /// How often decisions were taken back so far, by their ids, and the place of the last one of which that is true.
    taken_back: BTreeMap<i32, u32>,
    rewound_to: usize,
}

impl Live {
    /// An execution whose code has not run yet. If it is not to run at all, what comes of the turn.
    pub(crate) fn begin(turn: &Turn<'_>) -> Result<Self, Outcome> {
        let custom_status = turn.custom_status.map(str::to_owned);
        let nothing = Outcome { custom_status: custom_status.clone(), ..Outcome::default() };
        let is_over = turn.past.iter().any(|stored| matches!(stored.event.kind, EventKind::ExecutionCompleted { .. }));
        let Some(started) = turn.started().filter(|_| !is_over) else { return Err(nothing) };
        if let Some(reason) = turn.terminated_at_birth() {
            return Err(Outcome { completion: Some(Completion::Terminated { reason }), ..nothing });
        }
        Ok(Self {
            execution_id: turn.execution_id.to_owned(),
            execution: Execution::new(started.clone(), custom_status),
            has_begun: false,
            program: None,
            custom_status: None,
            waker: TurnWaker::woken(&started.name),
            completion: None,
            keeps_actions: true,
            suspended: None,
            held: VecDeque::new(),
            position: 0,
            gone_through: 0,
            next_id: 0,
            taken_back: BTreeMap::new(),
            rewound_to: turn.rewound_to(),
        })
    }

    /// Runs the code on the events of a turn that it has not gone through.
    pub(crate) fn go_on(&mut self, turn: &Turn<'_>, start: Start<'_>) -> Outcome {
        let turn = turn.behind(self.gone_through);
        self.learn(&turn);
        let Turn { past, new, before, is_repeat, .. } = turn;
        let misses_one = before > 0 && new.len() > 2 && sabotage::is(Sabotage::KeptExecutionMissesEvents);
        let new = if misses_one { &new[..new.len() - 1] } else { new };
        let (behind, played) = turn.seen_before();
        for (place, stored) in past.iter().chain(new).enumerate() {
            let position = before + place;
            self.execution.state.borrow_mut().goes_through(position < behind || is_repeat, position < played);
            if matches!(stored.event.kind, EventKind::ExecutionStarted(_)) && !self.has_begun && self.suspended.is_none() {
                let behind_start = past.iter().chain(new).enumerate().skip(place + 1);
                self.suspended = suspended_at_birth(behind_start.map(|(place, stored)| (before + place, stored)));
            }
            self.take_in(position, stored, start);
            if !self.keeps_actions {
                break;
            }
        }
        self.gone_through = before + past.len() + new.len();
        self.check_that_it_waits();
        self.check_custom_status();
        if !self.may_go_on() {
            self.close();
        }
        self.outcome()
    }

    /// Whether the code can be left as it is and go on in a later turn. What is suspended is not: it has asked for things that are not decided yet.
    pub(crate) fn may_go_on(&self) -> bool {
        self.program.is_some() && self.completion.is_none() && self.suspended.is_none()
    }

    /// How many events it has gone through.
    pub(crate) fn gone_through(&self) -> usize {
        self.gone_through
    }

    /// How it was started.
    pub(crate) fn started(&self) -> &ExecutionStarted {
        self.execution.started()
    }

    /// About how many bytes the code takes up.
    pub(crate) fn bytes(&self) -> usize {
        self.program.as_ref().map_or(0, |program| size_of_val(&**program)) + size_of::<Self>()
    }

    /// Until the next turn nobody may wake the code.
    pub(crate) fn rest(&self) {
        self.waker.rest();
    }

    /// What the events say of decisions and changes of the code, ahead of them.
    fn learn(&mut self, turn: &Turn<'_>) {
        let mut state = self.execution.state.borrow_mut();
        state.decided.learn(turn.events());
        state.patches.learn(turn.past.iter().chain(turn.new));
        self.next_id = self.next_id.max(turn.next_id());
        self.custom_status =
            if self.gone_through == 0 { turn.custom_status.map(str::to_owned) } else { state.custom_status.clone() };
        drop(state);
        self.waker.wake_again();
    }

    fn take_in(&mut self, position: usize, stored: &StoredEvent, start: Start<'_>) {
        match &stored.event.kind {
            EventKind::ExecutionTerminated { reason } => self.terminate(reason.as_ref()),
            EventKind::ExecutionResumed { .. } => {
                self.suspended = None;
                while let Some((position, stored)) = self.held.pop_front().filter(|_| self.keeps_actions) {
                    self.apply(position, &stored, start);
                }
            }
            EventKind::ExecutionSuspended { .. } => self.suspended = self.suspended.or(Some(position)),
            _ if self.suspended.is_some() => self.held.push_back((position, stored.clone())),
            _ => self.apply(position, stored, start),
        }
    }

    fn terminate(&mut self, reason: Option<&String>) {
        if matches!(self.completion, None | Some(Completion::ContinuedAsNew { .. })) {
            self.completion = Some(Completion::Terminated { reason: reason.cloned() });
            self.keeps_actions = false;
        }
    }

    fn apply(&mut self, position: usize, stored: &StoredEvent, start: Start<'_>) {
        self.position = position;
        let event = &stored.event;
        if let Some(label) = Label::of_event(&event.kind) {
            return self.confirm(label, stored);
        }
        match &event.kind {
            EventKind::OrchestratorStarted => self.execution.state.borrow_mut().now = Some(event.timestamp),
            EventKind::ExecutionStarted(_) => self.make_program(start),
            kind if kind.is_taken_back(event.event_id) => *self.taken_back.entry(event.event_id).or_default() += 1,
            kind => {
                let wakers = deliver(&self.execution, position, kind);
                wakers.into_iter().for_each(Waker::wake);
            }
        }
        self.advance();
    }

    fn confirm(&mut self, label: Label, stored: &StoredEvent) {
        let StoredEvent { event, decision_id, .. } = stored;
        let (execution_id, decision_id) = (&*self.execution_id, decision_id.as_deref());
        let times = self.taken_back.get(&event.event_id).copied().unwrap_or(0);
        let recorded = Recorded { execution_id, id: event.event_id, kind: &event.kind, decision_id, times };
        let confirmed = self.execution.state.borrow_mut().confirm(label, recorded);
        if let Err(mismatch) = confirmed
            && !(mismatch.code.is_none() && self.is_left_behind())
        {
            let failure = mismatch.failure(&self.execution.started().name, self.position);
            self.execution.set_custom_status(self.custom_status.take());
            // This is not the code that history is of.
            drop(self.execution.state.borrow_mut().patches.take_new());
            self.break_off(failure);
        }
    }

    /// Whether a rewind may have left the current decision of history behind, though it was made because of what was taken back.
    fn is_left_behind(&self) -> bool {
        !self.taken_back.is_empty() && self.position < self.rewound_to
    }

    fn make_program(&mut self, start: Start<'_>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        match guarded(&self.execution, || start(&self.execution)) {
            Ok(Ok(program)) => self.program = Some(program),
            Ok(Err(failure)) | Err(failure) => self.completion = Some(Completion::Failed { failure }),
        }
    }

    /// Polls the code until it has nothing more to do with what it knows.
    fn advance(&mut self) {
        let waker = Waker::from(Arc::clone(&self.waker));
        let mut polls = 0;
        while let Some(program) = self.program.as_mut().filter(|_| self.completion.is_none()) {
            if !self.waker.take() {
                return;
            }
            polls += 1;
            let polled = guarded(&self.execution, || program.as_mut().poll(&mut Context::from_waker(&waker)));
            let mut state = self.execution.state.borrow_mut();
            let (fault, next) = (state.fault.take(), state.next.take());
            drop(state);
            match (fault, next, polled) {
                (Some(failure), ..) | (None, _, Err(failure)) => self.completion = Some(Completion::Failed { failure }),
                // Whatever the code made of it, or waits for.
                (None, Some(Next { input, version }), Ok(_)) => {
                    self.completion = Some(Completion::ContinuedAsNew { input, version, carry: Vec::new() });
                }
                (None, None, Ok(Poll::Ready(Ok(output)))) => self.completion = Some(Completion::Completed { output }),
                (None, None, Ok(Poll::Ready(Err(failure)))) => self.completion = Some(Completion::Failed { failure }),
                (None, None, Ok(Poll::Pending)) if self.waker.was_foreign() => {
                    let failure = self.not_durable("was woken from another thread");
                    return self.break_off(failure);
                }
                (None, None, Ok(Poll::Pending)) if polls == MOST_POLLS => {
                    let failure = self.not_durable("wakes itself without end");
                    return self.break_off(failure);
                }
                (None, None, Ok(Poll::Pending)) => {}
            }
        }
    }

    /// Code that is pending must be pending on something that history can bring.
    fn check_that_it_waits(&mut self) {
        let is_pending = self.program.is_some() && self.completion.is_none();
        if is_pending && (self.waker.was_foreign() || !self.execution.state.borrow().is_waiting()) {
            let failure = self.not_durable("has stopped, but not at a task, timer or event of its context");
            self.break_off(failure);
        }
    }

    /// The instance row holds the custom status inline, so it has a limit. An execution that is terminated or broken off stays so.
    fn check_custom_status(&mut self) {
        let oversized = self.execution.state.borrow().oversized_status;
        let Some(units) = oversized.filter(|_| self.keeps_actions) else { return };
        let error_message = format!(
            "The orchestrator \"{}\" set a custom status of {units} UTF-16 units of JSON; at most {} fit. Keep it short, and put large \
             data into the output.",
            self.execution.started().name,
            limits::CUSTOM_STATUS_UNITS_MAX
        );
        let error_type = "CustomStatusTooLarge".to_owned();
        self.break_off(FailureDetails { error_type, error_message, is_non_retriable: true, ..FailureDetails::default() });
    }

    fn not_durable(&self, what: &str) -> FailureDetails {
        not_durable(&self.execution.started().name, what)
    }

    /// Ends the execution with nothing but a failure: what the code decided in this turn cannot be trusted.
    fn break_off(&mut self, failure: FailureDetails) {
        self.completion = Some(Completion::Failed { failure });
        self.keeps_actions = false;
    }

    /// Ends the code where it stands.
    fn close(&mut self) {
        let mut state = self.execution.state.borrow_mut();
        state.closed = true;
        state.replaying = true;
        drop(state);
        let program = self.program.take();
        // Destructors of code that is still under way may run at every turn: they must not log, nor may their panics count.
        let _ = tracing::dispatcher::with_default(&Dispatch::none(), || catch_unwind(AssertUnwindSafe(|| drop(program))));
        self.waker.end();
    }

    fn outcome(&mut self) -> Outcome {
        let mut state = self.execution.state.borrow_mut();
        let actions = state.actions();
        let next_id = if self.keeps_actions { state.next_id().max(self.next_id) } else { self.next_id };
        // What was asked for in a turn that ends suspended is asked for again in the turn that resumes.
        let holds = !self.keeps_actions || (self.suspended.is_some() && self.completion.is_none());
        let mut completion = self.completion.take();
        if let Some(Completion::ContinuedAsNew { carry, .. }) = &mut completion {
            // The suspension first: a checkpoint that is interrupted keeps the first rows of the next generation.
            carry.extend(self.suspended);
            carry.extend(std::mem::take(&mut state.mailbox).into_unconsumed());
            let held = self.held.iter().filter(|(_, stored)| matches!(stored.event.kind, EventKind::EventRaised { .. }));
            carry.extend(held.map(|(position, _)| position));
        }
        let actions = if holds { Vec::new() } else { actions };
        // Unlike decisions they are not asked for again when the instance is resumed: the code is past them then.
        // Nor do they go with decisions that cannot be trusted: a rewind may lead past them.
        let patches = state.patches.take_new();
        // Whoever has ended tries nothing again.
        let retries = std::mem::take(&mut state.retries).into_iter().filter(|_| completion.is_none()).collect();
        let (custom_status, differences) = (state.custom_status.clone(), std::mem::take(&mut state.differences));
        Outcome { actions, patches, completion, custom_status, next_id, retries, differences }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("execution_id", &self.execution_id).finish_non_exhaustive()
    }
}

/// Brings one event to the books; answers whom to wake.
fn deliver(execution: &Execution, position: usize, kind: &EventKind) -> Vec<Waker> {
    let waker = match kind {
        EventKind::EventRaised { .. } => return execution.state.borrow_mut().mailbox.deliver(position, kind),
        EventKind::TaskCompleted { task_id, result } | EventKind::SubOrchestrationCompleted { task_id, result } => {
            execution.state.borrow_mut().succeed(*task_id, result.clone())
        }
        EventKind::TaskFailed { task_id, reason, details, failure }
        | EventKind::SubOrchestrationFailed { task_id, reason, details, failure } => {
            let failure = failure.clone().unwrap_or_else(|| legacy_failure(reason.as_deref(), details.as_deref()));
            let retry = execution.state.borrow_mut().retry_of(*task_id);
            // The policy's predicate is code of the user, so nothing is borrowed here.
            let verdict =
                retry.map_or(Verdict::Final, |(policy, failed, since_call)| policy.verdict(&failure, failed, since_call));
            execution.state.borrow_mut().fail(*task_id, failure, verdict)
        }
        EventKind::TimerFired { timer_id, .. } => execution.state.borrow_mut().fire(*timer_id),
        _ => None,
    };
    waker.into_iter().collect()
}

/// Runs code of the user: a panic is a failure, and lines that were logged when the code ran first are not logged again.
fn guarded<T>(execution: &Execution, code: impl FnOnce() -> T) -> Result<T, FailureDetails> {
    let replaying = execution.is_replaying();
    let code = || catch_unwind(AssertUnwindSafe(code));
    let result = if replaying { tracing::dispatcher::with_default(&Dispatch::none(), code) } else { code() };
    result.map_err(|panic| panicked("The orchestrator", &execution.started().name, &*panic))
}
