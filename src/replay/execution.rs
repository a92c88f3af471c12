//! The code's side of a turn: what an orchestrator can ask for.

use std::cell::RefCell;
use std::rc::Rc;

use uuid::Uuid;

use super::state::{Next, State};
use super::turn::ActionKind;
use super::waits::{EventWait, TaskWait, TimerWait};
use crate::limits;
use crate::model::{ExecutionStarted, FailureDetails, Timestamp};

/// The namespace of .NET's `NewGuid`.
const GUIDS: Uuid = Uuid::from_u128(0x9e95_2958_5e33_4daf_827f_2fa1_2937_b875);

/// One execution while it is replayed. The context that users see holds it.
#[derive(Debug)]
pub(crate) struct Execution {
    started: ExecutionStarted,
    pub(super) state: RefCell<State>,
}

impl Execution {
    pub(super) fn new(started: ExecutionStarted, custom_status: Option<String>) -> Rc<Self> {
        Rc::new(Self { started, state: RefCell::new(State::new(custom_status)) })
    }

    /// How the execution was started.
    pub(crate) fn started(&self) -> &ExecutionStarted {
        &self.started
    }

    /// The time of the turn that the code runs in.
    pub(crate) fn now(&self) -> Timestamp {
        self.state.borrow().now()
    }

    pub(crate) fn is_replaying(&self) -> bool {
        self.state.borrow().replaying
    }

    /// Whether it runs with this change of its code.
    pub(crate) fn is_patched(&self, change: &str) -> bool {
        self.state.borrow_mut().is_patched(change)
    }

    /// The formula of .NET's modern SDK: instance, time and a counter.
    pub(crate) fn new_uuid(&self) -> Uuid {
        let mut state = self.state.borrow_mut();
        let name = format!("{}_{}_{}", self.started.instance.instance_id, state.now().to_table_text(), state.uuids);
        state.uuids += 1;
        Uuid::new_v5(&GUIDS, name.as_bytes())
    }

    /// Sets the custom status. One that is too long leaves the earlier one and fails the execution, unless another follows in this turn.
    pub(crate) fn set_custom_status(&self, json: Option<String>) {
        let mut state = self.state.borrow_mut();
        if state.closed {
            return;
        }
        let units = json.as_ref().map_or(0, |status| status.encode_utf16().count());
        state.oversized_status = Some(units).filter(|units| *units > limits::CUSTOM_STATUS_UNITS_MAX);
        if state.oversized_status.is_none() {
            state.custom_status = json;
        }
    }

    /// Ends the execution with a failure that code cannot catch, at the next chance.
    pub(crate) fn fault(&self, failure: FailureDetails) {
        let mut state = self.state.borrow_mut();
        if !state.closed {
            state.fault.get_or_insert(failure);
        }
    }

    /// Puts off that end: whoever takes the failure gives it back.
    pub(crate) fn take_fault(&self) -> Option<FailureDetails> {
        self.state.borrow_mut().fault.take()
    }

    /// Ends the execution with the request for the next generation, which code cannot catch either: from here on it asks for nothing.
    pub(crate) fn continue_as_new(&self, next: Next) {
        let mut state = self.state.borrow_mut();
        if !state.closed {
            state.closed = true;
            state.next = Some(next);
        }
    }

    /// Starts an activity or sub-orchestration; its id is taken now.
    pub(crate) fn call(self: &Rc<Self>, kind: ActionKind) -> TaskWait {
        let key = self.state.borrow_mut().call(kind);
        TaskWait::new(Rc::clone(self), key)
    }

    /// A call that fails at once and leaves no trace in history.
    pub(crate) fn refuse(self: &Rc<Self>, name: &str, details: FailureDetails) -> TaskWait {
        let key = self.state.borrow_mut().refused(name, details);
        TaskWait::new(Rc::clone(self), key)
    }

    /// A decision that nobody waits for: an event to another instance, a child that is left alone. Answers its id.
    pub(crate) fn decide(&self, kind: ActionKind) -> i32 {
        self.state.borrow_mut().decide(kind)
    }

    /// Changes a decision that nobody waits for, while history does not have it.
    pub(crate) fn revise(&self, id: i32, change: impl FnOnce(&mut ActionKind)) {
        if let Some(kind) = self.state.borrow_mut().decided(id) {
            change(kind);
        }
    }

    /// Takes a decision back that nobody waits for and that must not be made: the execution fails instead.
    pub(crate) fn withdraw(&self, id: i32, failure: FailureDetails) {
        if self.state.borrow_mut().take_back(id) {
            self.fault(failure);
        }
    }

    /// Starts a timer. A time that no history can hold is long over: the earliest one that it can hold stands for it.
    pub(crate) fn timer(self: &Rc<Self>, fire_at: Timestamp) -> TimerWait {
        TimerWait(self.call(ActionKind::Timer { fire_at: fire_at.storable() }))
    }

    /// Waits for the next event of that name.
    pub(crate) fn wait_for_event(self: &Rc<Self>, name: &str) -> EventWait {
        let id = self.state.borrow_mut().mailbox.open(name);
        EventWait::new(Rc::clone(self), id)
    }
}
