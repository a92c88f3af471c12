//! The books of one execution: decisions asked for, decisions that history confirms, tasks that are open.

use std::collections::BTreeMap;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::inputs::{Difference, Recorded};
use super::label::{Label, Mismatch};
use super::long_timer::{Decided, LongTimer};
use super::mailbox::Mailbox;
use super::patches::Patches;
use super::retry::{RetryPolicy, Verdict};
use super::turn::{Action, ActionKind, Retrying};
use crate::model::{FailureDetails, Timestamp};
use crate::sabotage::{self, Sabotage};

/// A timer of .NET's engine, made to split a commit: no code asked for it.
const ENGINE_TIMER: i32 = -100;
/// The id of a call that never became a decision.
const REFUSED: i32 = -1;

/// What a call is known by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskName {
    pub(crate) name: String,
    /// The id of the last attempt; -1 if the call never became a decision.
    pub(crate) id: i32,
    pub(crate) is_sub_orchestration: bool,
}

/// How a call ended, and whose end it was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskEnd {
    pub(crate) task: TaskName,
    pub(crate) result: TaskResult,
}

/// What the next generation begins with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Next {
    pub(crate) input: Option<String>,
    /// `None`: the version stays.
    pub(crate) version: Option<String>,
}

pub(crate) type TaskResult = Result<Option<String>, FailureDetails>;

/// What changes while a turn runs.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) now: Option<Timestamp>,
    pub(super) replaying: bool,
    /// The code has been run on the event before, in an earlier turn.
    is_past: bool,
    /// The code is over: what it still asks for, or its destructors, does not count, and nothing is answered any more.
    pub(super) closed: bool,
    /// Why it is over: the next generation begins.
    pub(super) next: Option<Next>,
    pub(super) uuids: u64,
    pub(super) custom_status: Option<String>,
    /// The length of the custom status that code set last, if it was too long to be set.
    pub(super) oversized_status: Option<usize>,
    /// A failure that code cannot catch.
    pub(super) fault: Option<FailureDetails>,
    pub(super) mailbox: Mailbox,
    /// What is tried again because of events that are no replay.
    pub(super) retries: Vec<Retrying>,
    /// Confirmed decisions in which something is not as history has it.
    pub(super) differences: Vec<Difference>,
    pub(super) patches: Patches,
    pub(super) decided: Decided,
    next_id: i32,
    pending: BTreeMap<i32, ActionKind>,
    confirmed: BTreeMap<i32, Label>,
    open: BTreeMap<i32, Open>,
    /// Decisions that are another attempt, and which.
    again: BTreeMap<i32, u32>,
    slots: BTreeMap<u64, Slot>,
    next_slot: u64,
}

/// Whose the answer to a decision is.
#[derive(Clone, Copy, Debug)]
struct Open {
    slot: u64,
    is_timer: bool,
}

/// One call or timer of the code: over all its attempts.
#[derive(Debug)]
struct Slot {
    /// The decision that is under way.
    id: i32,
    label: Label,
    called: Timestamp,
    result: Option<TaskResult>,
    waker: Option<Waker>,
    retry: Option<Retry>,
    long: Option<LongTimer>,
}

#[derive(Debug)]
struct Retry {
    policy: RetryPolicy,
    failed: u32,
    /// What to ask for again; known once history has the first attempt.
    again: Option<ActionKind>,
    /// The last attempt and its failure, while the timer that .NET lets fire after it is under way.
    exhausted: Option<(i32, FailureDetails)>,
}

impl Slot {
    fn name(&self) -> TaskName {
        TaskName { name: self.label.name().to_owned(), id: self.id, is_sub_orchestration: self.label.is_sub_orchestration() }
    }
}

impl State {
    pub(super) fn new(custom_status: Option<String>) -> Self {
        Self { custom_status, ..Self::default() }
    }

    /// An event is next, in a turn that is run again, or that is past.
    pub(super) fn goes_through(&mut self, replaying: bool, is_past: bool) {
        (self.replaying, self.is_past) = (replaying, is_past);
    }

    /// Whether the execution runs with a change of its code. Code that is over runs with none.
    pub(super) fn is_patched(&mut self, change: &str) -> bool {
        !self.closed && self.patches.has(change, self.is_past)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Takes the next id for a decision that has no answer.
    pub(super) fn decide(&mut self, kind: ActionKind) -> i32 {
        let id = self.next_id;
        if !self.closed {
            self.next_id = self.next_id.saturating_add(1);
            self.pending.insert(id, kind);
        }
        id
    }

    /// Takes the next id for a decision that is answered, and opens the slot that waits for the answer.
    pub(super) fn call(&mut self, kind: ActionKind) -> u64 {
        let label = Label::of_action(&kind);
        let until = if let ActionKind::Timer { fire_at } = kind { Some(fire_at) } else { None };
        let id = self.decide(kind);
        let called = self.now();
        let long = until.and_then(|until| LongTimer::new(until, called));
        let key = self.add_slot(Slot { id, label, called, result: None, waker: None, retry: None, long });
        if !self.closed {
            self.open.insert(id, Open { slot: key, is_timer: until.is_some() });
        }
        key
    }

    /// A call that failed before it became a decision.
    pub(super) fn refused(&mut self, name: &str, details: FailureDetails) -> u64 {
        let kind = ActionKind::Activity { name: name.to_owned(), version: None, input: None, tags: None, is_local: false };
        let label = Label::of_action(&kind);
        let (called, result) = (self.now(), Some(Err(details)));
        self.add_slot(Slot { id: REFUSED, label, called, result, waker: None, retry: None, long: None })
    }

    fn add_slot(&mut self, slot: Slot) -> u64 {
        let key = self.next_slot;
        self.next_slot += 1;
        self.slots.insert(key, slot);
        key
    }

    /// The decision of a slot, while it can still be changed.
    pub(super) fn changeable(&mut self, key: u64) -> Option<&mut ActionKind> {
        self.pending.get_mut(&self.slots.get(&key)?.id)
    }

    /// A decision, while it can still be changed.
    pub(super) fn decided(&mut self, id: i32) -> Option<&mut ActionKind> {
        self.pending.get_mut(&id)
    }

    /// Sets the retry policy of a slot.
    pub(super) fn set_retry(&mut self, key: u64, policy: RetryPolicy) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.retry = Some(Retry { policy, failed: 0, again: None, exhausted: None });
        }
    }

    /// Takes a decision back that must not be made, unless history has it; its id is given back if it was the last one.
    pub(super) fn take_back(&mut self, id: i32) -> bool {
        let is_made = self.pending.remove(&id).is_none();
        if !is_made && id == self.next_id - 1 {
            self.next_id = id;
        }
        !is_made
    }

    /// Takes the decision of a slot back, which fails instead.
    pub(super) fn withdraw(&mut self, key: u64, details: FailureDetails) {
        let Some(id) = self.slots.get(&key).map(|slot| slot.id).filter(|id| self.take_back(*id)) else { return };
        self.open.remove(&id);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.id = REFUSED;
            slot.result = Some(Err(details));
        }
    }

    /// The result of a slot, once; until then its waker is kept. Answers the waker it replaced, for the caller to drop.
    pub(super) fn poll(&mut self, key: u64, waker: &Waker) -> (Poll<TaskEnd>, Option<Waker>) {
        let Some(slot) = self.slots.get_mut(&key).filter(|_| !self.closed) else { return (Poll::Pending, None) };
        let Some(result) = slot.result.take() else {
            let kept = Some(waker.clone()).filter(|_| !sabotage::is(Sabotage::WakerForgotten));
            return (Poll::Pending, std::mem::replace(&mut slot.waker, kept));
        };
        let end = TaskEnd { task: slot.name(), result };
        (Poll::Ready(end), self.slots.remove(&key).and_then(|slot| slot.waker))
    }

    /// What the call of a slot is known by.
    pub(super) fn name_of(&self, key: u64) -> Option<TaskName> {
        self.slots.get(&key).map(Slot::name)
    }

    /// Nobody waits any more: the decision stands, its answer is ignored, and it is not tried again.
    pub(super) fn abandon(&mut self, key: u64) -> Option<Waker> {
        let slot = self.slots.remove(&key)?;
        self.open.remove(&slot.id);
        slot.waker
    }

    /// Checks a decision of history against what the code asked for.
    pub(super) fn confirm(&mut self, history: Label, recorded: Recorded<'_>) -> Result<(), Mismatch> {
        let id = recorded.id;
        if id == ENGINE_TIMER {
            return Ok(());
        }
        let Some(kind) = self.pending.remove(&id) else {
            // A rewound history can have a decision twice.
            let again = self.confirmed.get(&id);
            return match again {
                Some(first) if first.fits(&history) => Ok(()),
                other => Err(Mismatch { id, history, code: other.cloned() }),
            };
        };
        let code = Label::of_action(&kind);
        if !code.fits(&history) {
            return Err(Mismatch { id, history, code: Some(code) });
        }
        self.differences.extend(recorded.difference(&kind));
        self.confirmed.insert(id, code);
        if let Some(retry) = self.slot_of(id).and_then(|slot| slot.retry.as_mut()).filter(|retry| retry.again.is_none()) {
            retry.again = Some(kind).filter(|kind| !matches!(kind, ActionKind::Timer { .. }));
        }
        Ok(())
    }

    fn slot_of(&mut self, id: i32) -> Option<&mut Slot> {
        self.slots.get_mut(&self.open.get(&id)?.slot)
    }

    /// Takes what waits for decision `id`. A decision that history does not have yet has no answer: what comes under its
    /// id is of a decision that was dropped.
    fn take_open(&mut self, id: i32, is_timer: bool) -> Option<u64> {
        let open = *self.open.get(&id)?;
        if open.is_timer != is_timer || self.pending.contains_key(&id) {
            return None;
        }
        self.open.remove(&id);
        Some(open.slot)
    }

    pub(super) fn succeed(&mut self, id: i32, result: Option<String>) -> Option<Waker> {
        let key = self.take_open(id, false)?;
        self.settle(key, Ok(result))
    }

    pub(super) fn fire(&mut self, id: i32) -> Option<Waker> {
        let key = self.take_open(id, true)?;
        let now = self.now();
        let slot = self.slots.get_mut(&key)?;
        if let Some(fire_at) = slot.long.as_mut().and_then(|long| long.goes_on(id, self.next_id, &self.decided, now)) {
            return self.go_on(key, ActionKind::Timer { fire_at });
        }
        let Some(retry) = &mut slot.retry else { return self.settle(key, Ok(None)) };
        if let Some((last, failure)) = retry.exhausted.take() {
            slot.id = last;
            return self.settle(key, Err(failure));
        }
        // The pause before another attempt is over.
        let kind = retry.again.clone()?;
        self.go_on(key, kind)
    }

    /// What waits goes on to wait, for another decision.
    fn go_on(&mut self, key: u64, kind: ActionKind) -> Option<Waker> {
        let is_timer = matches!(kind, ActionKind::Timer { .. });
        let id = self.decide(kind);
        let slot = self.slots.get_mut(&key)?;
        slot.id = id;
        if let Some(retry) = slot.retry.as_ref().filter(|_| !is_timer) {
            self.again.insert(id, retry.failed.saturating_add(1));
        }
        self.open.insert(id, Open { slot: key, is_timer });
        None
    }

    /// What decides whether a failed task is tried again: its policy, the attempts before, the time since the call.
    pub(super) fn retry_of(&mut self, id: i32) -> Option<(RetryPolicy, u32, Duration)> {
        let now = self.now();
        let slot = self.slot_of(id)?;
        let retry = slot.retry.as_ref().filter(|retry| retry.again.is_some())?;
        Some((retry.policy.clone(), retry.failed, now.since(slot.called)))
    }

    pub(super) fn fail(&mut self, id: i32, details: FailureDetails, verdict: Verdict) -> Option<Waker> {
        let key = self.take_open(id, false)?;
        let slot = self.slots.get_mut(&key)?;
        let pause = match (verdict, &mut slot.retry) {
            (Verdict::Again(pause), Some(retry)) => {
                retry.failed += 1;
                if !self.replaying {
                    let (name, attempt) = (slot.label.name().to_owned(), retry.failed + 1);
                    self.retries.push(Retrying { id, name, attempt, pause });
                }
                pause
            }
            (Verdict::Exhausted, Some(retry)) => {
                retry.exhausted = Some((id, details));
                Duration::ZERO
            }
            (Verdict::Final, _) | (_, None) => return self.settle(key, Err(details)),
        };
        let fire_at = self.now().plus(pause);
        self.go_on(key, ActionKind::Timer { fire_at })
    }

    fn settle(&mut self, key: u64, result: TaskResult) -> Option<Waker> {
        let slot = self.slots.get_mut(&key)?;
        slot.result = Some(result);
        slot.waker.take()
    }

    /// Whether anything that was polled is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.mailbox.is_awaited() || self.slots.values().any(|slot| slot.result.is_none() && slot.waker.is_some())
    }

    /// Decisions that history does not have.
    pub(super) fn actions(&self) -> Vec<Action> {
        let attempt = |id| self.again.get(&id).copied().unwrap_or(1);
        self.pending.iter().map(|(id, kind)| Action { attempt: attempt(*id), id: *id, kind: kind.clone() }).collect()
    }

    /// The first id that the code has not used.
    pub(super) fn next_id(&self) -> i32 {
        self.next_id
    }
}
