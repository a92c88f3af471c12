//! What code holds while it waits: to be polled with any waker, and abandoned when dropped.

use std::rc::Rc;
use std::task::{Poll, Waker};

use super::execution::Execution;
use super::mailbox::WaitId;
use super::retry::RetryPolicy;
use super::state::{TaskEnd, TaskName};
use super::turn::ActionKind;
use crate::model::FailureDetails;

/// The wait for an activity or sub-orchestration.
#[derive(Debug)]
pub(crate) struct TaskWait {
    execution: Rc<Execution>,
    key: u64,
}

/// The wait for a timer.
#[derive(Debug)]
pub(crate) struct TimerWait(pub(super) TaskWait);

/// The wait for an external event.
#[derive(Debug)]
pub(crate) struct EventWait {
    execution: Rc<Execution>,
    id: WaitId,
}

impl TaskWait {
    pub(super) fn new(execution: Rc<Execution>, key: u64) -> Self {
        Self { execution, key }
    }

    /// Changes the decision, while history does not have it.
    pub(crate) fn revise(&mut self, change: impl FnOnce(&mut ActionKind)) {
        if let Some(kind) = self.execution.state.borrow_mut().changeable(self.key) {
            change(kind);
        }
    }

    pub(crate) fn retry(&mut self, policy: RetryPolicy) {
        self.execution.state.borrow_mut().set_retry(self.key, policy);
    }

    /// Takes the decision back: the wait fails instead.
    pub(crate) fn withdraw(&mut self, details: FailureDetails) {
        self.execution.state.borrow_mut().withdraw(self.key, details);
    }

    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<TaskEnd> {
        // Dropping a waker can run code that comes back here, so it happens after the borrow.
        let (poll, _replaced) = self.execution.state.borrow_mut().poll(self.key, waker);
        poll
    }

    /// What the call is known by, until it has ended.
    pub(crate) fn name(&self) -> Option<TaskName> {
        self.execution.state.borrow().name_of(self.key)
    }

    pub(crate) fn execution(&self) -> &Rc<Execution> {
        &self.execution
    }
}

impl Drop for TaskWait {
    fn drop(&mut self) {
        let _waker = self.execution.state.borrow_mut().abandon(self.key);
    }
}

impl TimerWait {
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<()> {
        self.0.poll(waker).map(|_| ())
    }
}

impl EventWait {
    pub(super) fn new(execution: Rc<Execution>, id: WaitId) -> Self {
        Self { execution, id }
    }

    /// The payload of the event.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<Option<String>> {
        let (payload, _replaced) = {
            let mut state = self.execution.state.borrow_mut();
            // What comes too late for this generation is for the next one.
            if state.closed { (None, None) } else { state.mailbox.poll(&self.id, waker) }
        };
        payload.map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn execution(&self) -> &Rc<Execution> {
        &self.execution
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        let wakers = self.execution.state.borrow_mut().mailbox.close(&self.id);
        wakers.into_iter().for_each(Waker::wake);
    }
}
