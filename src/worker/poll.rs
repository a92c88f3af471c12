//! When to receive next: at once after a message, backing off while there is none, woken by what is known to come.

use std::time::Duration;

use tokio::time::Instant;

use crate::hub::Doorbell;

/// The shortest wait between two empty receives, and the longest that can be asked for.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The back-off of one poller.
#[derive(Debug)]
pub(crate) struct BackOff {
    wait: Duration,
    max: Duration,
}

impl BackOff {
    pub(crate) fn new(max: Duration) -> Self {
        Self { wait: WAIT_MIN, max: max.clamp(WAIT_MIN, WAIT_MAX) }
    }

    /// Something was received: the next receive comes at once.
    pub(crate) fn reset(&mut self) {
        self.wait = WAIT_MIN;
    }

    /// What there is, is left to others: the next look is not before this.
    pub(crate) fn at_least(&mut self, wait: Duration) {
        self.wait = self.wait.max(wait).min(self.max);
    }

    /// Nothing was received: waits, for longer each time, unless the bell rings or something falls due.
    pub(crate) async fn wait(&mut self, bell: &Doorbell) {
        let deadline = Instant::now() + self.wait;
        loop {
            let until = bell.next_due().map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                biased;
                visible = bell.rung() => {
                    if visible {
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
