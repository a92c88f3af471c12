//! The waker that a turn polls with: it notes that the code wants to go on, and who said so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::thread::{self, ThreadId};

/// The state behind the waker of one turn.
#[derive(Debug)]
pub(super) struct TurnWaker {
    orchestrator: String,
    owner: ThreadId,
    woken: AtomicBool,
    foreign: AtomicBool,
    over: AtomicBool,
    resting: AtomicBool,
}

impl TurnWaker {
    /// A waker that is woken already, so that the first poll happens.
    pub(super) fn woken(orchestrator: &str) -> Arc<Self> {
        Arc::new(Self {
            orchestrator: orchestrator.to_owned(),
            owner: thread::current().id(),
            woken: AtomicBool::new(true),
            foreign: AtomicBool::new(false),
            over: AtomicBool::new(false),
            resting: AtomicBool::new(false),
        })
    }

    /// Whether there was a wake since the last time.
    pub(super) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Whether another thread ever woke the turn, which nothing durable does.
    pub(super) fn was_foreign(&self) -> bool {
        self.foreign.load(Ordering::Acquire)
    }

    /// The turn is over, and the code goes on in the next: until then nobody has a reason to wake it.
    pub(super) fn rest(&self) {
        self.resting.store(true, Ordering::Release);
    }

    /// The next turn begins.
    pub(super) fn wake_again(&self) {
        self.resting.store(false, Ordering::Release);
    }

    /// Ends the turn, when the code is dropped: whoever wakes from now on waits for something that is not durable.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

impl Wake for TurnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.over.load(Ordering::Acquire) {
            let orchestrator = &self.orchestrator;
            tracing::warn!(orchestrator, "an orchestrator was woken after its turn: it waits for something that is not durable");
        }
        if thread::current().id() != self.owner || self.resting.load(Ordering::Acquire) {
            self.foreign.store(true, Ordering::Release);
        }
        self.woken.store(true, Ordering::Release);
    }
}
