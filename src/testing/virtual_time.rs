//! The clock of a test: tokio's, stopped, which goes forward when everybody waits.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

/// tokio counts in these.
const TICK: Duration = Duration::from_millis(1);

/// Stops the clock of the runtime, on a whole tick.
///
/// # Panics
/// Where virtual time cannot be had, with the remedy.
pub(super) async fn begin() {
    check_runtime();
    if !is_stopped() {
        tokio::time::pause();
    }
    align().await;
}

fn check_runtime() {
    let remedy = "write the test as `#[tokio::test] async fn ...`, without a flavor";
    let Ok(runtime) = Handle::try_current() else { panic!("a test host needs a runtime of tokio: {remedy}") };
    assert!(
        runtime.runtime_flavor() == RuntimeFlavor::CurrentThread,
        "a test host needs a runtime with one thread, because only its time can be stopped: {remedy}"
    );
}

/// Whether somebody has stopped the clock already, such as `start_paused`.
fn is_stopped() -> bool {
    let before = Instant::now();
    // A clock that runs shows nanoseconds.
    (0..1000).all(|_| Instant::now() == before)
}

/// Sleeps end on whole ticks: from between two of them each would take a fraction longer than it should. How far behind a tick the
/// clock stands is found by how long sleeps of less than a tick take: one tick if the rest of the tick is long enough, else two.
async fn align() {
    if fits(TICK).await {
        return;
    }
    let (mut least, mut most) = (Duration::ZERO, TICK);
    while most - least > Duration::from_nanos(1) {
        let middle = least + (most - least) / 2;
        if fits(TICK - middle).await { most = middle } else { least = middle }
    }
    tokio::time::advance(TICK - most).await;
}

/// Whether a sleep ends with the next tick.
async fn fits(sleep: Duration) -> bool {
    let before = Instant::now();
    tokio::time::sleep(sleep).await;
    before.elapsed() <= TICK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_take_exactly_what_they_should_wherever_the_clock_was_stopped() {
        begin().await;
        for nanos in [0, 1, 250_000, 499_999, 500_000, 999_999] {
            tokio::time::advance(Duration::from_nanos(nanos)).await;
            align().await;
            let before = Instant::now();
            for _ in 0..10 {
                tokio::time::sleep(TICK).await;
            }
            assert_eq!(before.elapsed(), TICK * 10, "{nanos}");
        }
    }
}
