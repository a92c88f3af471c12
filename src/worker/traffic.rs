//! Whether a worker has much to do. While it has, it leases its partitions for a shorter time and looks more often whether others ask for
//! them: who joins has its share soon, and what a crash leaves behind waits for less.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// So many turns in so long a time are much. An orchestration now and then is not: it would pay for looking and gain nothing.
pub(crate) const TURNS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(5);
/// Without a turn for so long a worker is at rest.
const REST: Duration = Duration::from_secs(60);

/// The turns of a worker in this window and in the one before.
#[derive(Debug)]
pub(crate) struct Traffic {
    windows: Mutex<Windows>,
    begins: Notify,
}

#[derive(Debug)]
struct Windows {
    begun: Instant,
    turns: u32,
    before: u32,
    /// When the last turn had got somewhere, or the worker began.
    last: Instant,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let windows = Windows { begun: now, turns: 0, before: 0, last: now };
        Self { windows: Mutex::new(windows), begins: Notify::new() }
    }

    /// A turn has got somewhere: what only waits for code is no work.
    pub(crate) fn note_turn(&self) {
        let mut windows = self.windows();
        let was_much = windows.is_much();
        windows.last = Instant::now();
        windows.turns = windows.turns.saturating_add(1);
        if !was_much && windows.is_much() {
            self.begins.notify_one();
        }
    }

    pub(crate) fn is_much(&self) -> bool {
        self.windows().is_much()
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.windows().last.elapsed() >= REST
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when there begins to be much to do.
    pub(crate) async fn begins(&self) {
        self.begins.notified().await;
    }
}

impl Windows {
    fn is_much(&mut self) -> bool {
        let elapsed = self.begun.elapsed();
        if elapsed >= WINDOW {
            self.before = if elapsed < 2 * WINDOW { self.turns } else { 0 };
            (self.begun, self.turns) = (Instant::now(), 0);
        }
        self.turns.max(self.before) >= TURNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_turns_within_a_window_are_much_until_a_window_has_passed_with_fewer() {
        let traffic = Traffic::new();
        for _ in 1..TURNS {
            traffic.note_turn();
        }
        assert!(!traffic.is_much());
        traffic.note_turn();
        assert!(traffic.is_much());
        tokio::time::timeout(WINDOW, traffic.begins()).await.unwrap();
        tokio::time::sleep(WINDOW).await;
        assert!(traffic.is_much(), "the window before had many");
        tokio::time::sleep(WINDOW).await;
        assert!(!traffic.is_much());
        tokio::time::timeout(WINDOW, traffic.begins()).await.unwrap_err();
        for _ in 0..3 {
            for _ in 1..TURNS {
                traffic.note_turn();
            }
            tokio::time::sleep(2 * WINDOW).await;
        }
        assert!(!traffic.is_much(), "what is long ago does not count");
        tokio::time::sleep(REST - 2 * WINDOW).await;
        assert!(traffic.is_at_rest());
        traffic.note_turn();
        assert!(!traffic.is_at_rest());
    }
}
