//! The only place where wall-clock time enters: real, or derived from tokio's clock so that tests can pause it.

use std::time::Duration;

use crate::model::Timestamp;

/// A source of UTC wall-clock time.
///
/// Waiting and fencing use [`tokio::time::Instant`], which is monotonic; this clock is only for time that is written down.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Paused { base: Timestamp, since: tokio::time::Instant, skew_ticks: i64 },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that starts at `base` and runs with tokio's clock, so paused time pauses it too.
    #[must_use]
    pub fn paused(base: Timestamp) -> Self {
        Self(Source::Paused { base, since: tokio::time::Instant::now(), skew_ticks: 0 })
    }

    /// Whether this is the machine's clock, so that time passes also while nothing runs.
    pub(crate) fn is_real(&self) -> bool {
        matches!(self.0, Source::System)
    }

    /// The same clock, wrong by `skew_ticks` (100 ns each; negative is behind): another machine of a simulation.
    #[cfg(test)]
    pub(crate) fn skewed(&self, skew_ticks: i64) -> Self {
        match &self.0 {
            Source::System => self.clone(),
            Source::Paused { base, since, .. } => Self(Source::Paused { base: *base, since: *since, skew_ticks }),
        }
    }

    /// The time now, in ticks of 100 ns.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Paused { base, since, skew_ticks } => {
                let elapsed = i64::try_from(since.elapsed().as_nanos() / 100).unwrap_or(i64::MAX);
                base.plus_ticks(elapsed.saturating_add(*skew_ticks))
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
fn system_now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::UNIX_EPOCH.plus(since_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_runs_with_tokio_and_keeps_its_skew() {
        let clock = Clock::paused(Timestamp::UNIX_EPOCH);
        let behind = clock.skewed(-10_000_000);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH.plus(Duration::from_secs(90)));
        assert_eq!(behind.now(), Timestamp::UNIX_EPOCH.plus(Duration::from_secs(89)));
    }
}
