//! When to receive next: at once after a message, backing off while there is none, woken by what is known to come.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The shortest wait between two empty receives.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// The doorbell of one queue: senders in this process ring it.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    rung: Notify,
    /// Whether the ring is for a message that is visible already, and not only for a new alarm.
    visible: AtomicBool,
    /// When messages that this process has delayed become visible.
    due: Mutex<BTreeSet<Instant>>,
}

impl Doorbell {
    /// A message is visible now, or will be after `delay`.
    pub(crate) fn ring(&self, delay: Duration) {
        if delay.is_zero() {
            self.visible.store(true, Ordering::Release);
        } else {
            // The service counts in whole seconds, rounded up.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            self.due().insert(Instant::now() + Duration::from_secs(seconds));
        }
        self.rung.notify_one();
    }

    fn due(&self) -> std::sync::MutexGuard<'_, BTreeSet<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_due(&self) -> Option<Instant> {
        self.due().first().copied()
    }

    fn forget_past(&self) -> bool {
        let mut due = self.due();
        let now = Instant::now();
        let later = due.split_off(&now);
        let had_past = !due.is_empty() || later.contains(&now);
        *due = later;
        due.remove(&now);
        had_past
    }
}

/// The back-off of one poller.
#[derive(Debug)]
pub(crate) struct BackOff {
    wait: Duration,
    max: Duration,
}

impl BackOff {
    pub(crate) fn new(max: Duration) -> Self {
        Self { wait: WAIT_MIN.min(max), max }
    }

    /// Something was received: the next receive comes at once.
    pub(crate) fn reset(&mut self) {
        self.wait = WAIT_MIN.min(self.max);
    }

    /// Nothing was received: waits, for longer each time, unless the bell rings or something falls due.
    pub(crate) async fn wait(&mut self, bell: &Doorbell) {
        let deadline = Instant::now() + self.wait;
        loop {
            let until = bell.next_due().map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                biased;
                () = bell.rung.notified() => {
                    if bell.visible.swap(false, Ordering::AcqRel) {
                        self.reset();
                        return;
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    if bell.forget_past() {
                        self.reset();
                        return;
                    }
                    if until == deadline {
                        self.wait = (self.wait * 2).min(self.max);
                        return;
                    }
                }
            }
        }
    }
}
