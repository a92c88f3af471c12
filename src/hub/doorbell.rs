//! The doorbell of a queue: a send wakes the poller of the same process, so that consecutive steps within one process never wait for
//! the polling interval.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Rung by senders, heard by the poller of one queue.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    rung: Notify,
    /// Whether the ring is for a message that is visible already, and not only for a new alarm.
    visible: AtomicBool,
    /// When messages that this process has delayed become visible.
    due: Mutex<BTreeSet<Instant>>,
    listeners: AtomicUsize,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Listening<'a>(&'a Doorbell);

impl Doorbell {
    /// A message is visible now, or will be after `delay`.
    pub(crate) fn ring(&self, delay: Duration) {
        // Alarms of a queue that this process does not poll would pile up.
        if self.listeners.load(Ordering::Acquire) == 0 {
            return;
        }
        if delay.is_zero() {
            self.visible.store(true, Ordering::Release);
        } else {
            // The service counts in whole seconds, rounded up.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            self.due().insert(Instant::now() + Duration::from_secs(seconds));
        }
        self.rung.notify_one();
    }

    /// Starts to record rings.
    pub(crate) fn listen(&self) -> Listening<'_> {
        self.listeners.fetch_add(1, Ordering::AcqRel);
        Listening(self)
    }

    /// Waits for a ring. `true` if it is for a message that is visible, `false` if an alarm was set.
    pub(crate) async fn rung(&self) -> bool {
        self.rung.notified().await;
        self.visible.swap(false, Ordering::AcqRel)
    }

    fn due(&self) -> std::sync::MutexGuard<'_, BTreeSet<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next delayed message becomes visible.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due().first().copied()
    }

    /// Removes the alarms that have gone off; `true` if there were any.
    pub(crate) fn forget_past(&self) -> bool {
        let mut due = self.due();
        let now = Instant::now();
        let later = due.split_off(&now);
        let had_past = !due.is_empty() || later.contains(&now);
        *due = later;
        due.remove(&now);
        had_past
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        if self.0.listeners.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.due().clear();
        }
    }
}
