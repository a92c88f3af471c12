//! When a failed task is tried again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::model::FailureDetails;

/// No back-off is longer than this, whatever the policy says.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

type Predicate = Arc<dyn Fn(&FailureDetails) -> bool + Send + Sync>;

/// How often, and after which pauses, a failed activity or sub-orchestration is tried again.
///
/// The pauses are durable timers: a retry may be days away and survives every restart. A failure that is marked as
/// non-retriable ends the attempts at once.
///
/// ```
/// use std::time::Duration;
/// use taskhub::RetryPolicy;
///
/// let policy = RetryPolicy::exponential(5, Duration::from_secs(2))
///     .max_interval(Duration::from_secs(60))
///     .timeout(Duration::from_secs(600))
///     .only_if(|failure| failure.error_type != "OutOfStock");
/// # let _ = policy;
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    attempts: u32,
    first: Duration,
    coefficient: f64,
    max_interval: Option<Duration>,
    timeout: Option<Duration>,
    predicate: Option<Predicate>,
}

impl RetryPolicy {
    /// At most `attempts` attempts, the first included, with the same pause between them.
    #[must_use]
    pub fn fixed(attempts: u32, interval: Duration) -> Self {
        Self { attempts, first: interval, coefficient: 1.0, max_interval: None, timeout: None, predicate: None }
    }

    /// At most `attempts` attempts, the first included; the pause doubles each time.
    #[must_use]
    pub fn exponential(attempts: u32, first: Duration) -> Self {
        Self::fixed(attempts, first).coefficient(2.0)
    }

    /// By which factor the pause grows each time; less than 1, and what is not a number, counts as 1.
    #[must_use]
    pub fn coefficient(mut self, coefficient: f64) -> Self {
        self.coefficient = if coefficient >= 1.0 { coefficient } else { 1.0 };
        self
    }

    /// No pause is longer than this.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = Some(interval);
        self
    }

    /// A failure that comes this long after the call, or later, is the last one.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Only failures that `predicate` accepts are tried again. It must be deterministic: it runs in every replay.
    #[must_use]
    pub fn only_if(mut self, predicate: impl Fn(&FailureDetails) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// The pause before the next attempt, or `None` if `failure` is final. `failed`: attempts that failed before this one.
    pub(super) fn pause(&self, failure: &FailureDetails, failed: u32, since_call: Duration) -> Option<Duration> {
        let goes_on = !failure.is_non_retriable
            && failed.saturating_add(1) < self.attempts
            && self.timeout.is_none_or(|timeout| since_call < timeout)
            && self.accepts(failure);
        goes_on.then(|| self.interval(failed))
    }

    /// A predicate that panics accepts nothing.
    fn accepts(&self, failure: &FailureDetails) -> bool {
        let Some(predicate) = &self.predicate else { return true };
        catch_unwind(AssertUnwindSafe(|| predicate(failure))).unwrap_or(false)
    }

    fn interval(&self, failed: u32) -> Duration {
        let factor = self.coefficient.powi(i32::try_from(failed).unwrap_or(i32::MAX));
        // Whole milliseconds and exact for a factor of one; what does not fit a duration is clamped below.
        let seconds = self.first.as_secs_f64() * factor;
        let grown = if factor == 1.0 { self.first } else { Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST) };
        grown.min(self.max_interval.unwrap_or(LONGEST)).min(LONGEST)
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("attempts", &self.attempts)
            .field("first", &self.first)
            .field("coefficient", &self.coefficient)
            .field("max_interval", &self.max_interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(policy: &RetryPolicy, failed: u32) -> Option<Duration> {
        policy.pause(&FailureDetails::default(), failed, Duration::from_secs(10))
    }

    #[test]
    fn pauses_grow_up_to_the_maximum_and_attempts_end() {
        let policy = RetryPolicy::exponential(4, Duration::from_secs(2)).max_interval(Duration::from_secs(5));
        let pauses: Vec<_> = (0..4).map(|n| pause(&policy, n).map(|d| d.as_secs())).collect();
        assert_eq!(pauses, [Some(2), Some(4), Some(5), None]);
        assert_eq!(pause(&RetryPolicy::fixed(1, Duration::ZERO), 0), None);
        assert_eq!(pause(&RetryPolicy::fixed(0, Duration::ZERO), 0), None);
    }

    #[test]
    fn nothing_overflows() {
        let policy = RetryPolicy::exponential(u32::MAX, Duration::MAX).coefficient(f64::INFINITY);
        assert_eq!(pause(&policy, u32::MAX - 2), Some(LONGEST));
        assert_eq!(pause(&RetryPolicy::exponential(u32::MAX, Duration::from_secs(1)), 100_000), Some(LONGEST));
        assert_eq!(pause(&RetryPolicy::fixed(3, Duration::ZERO).coefficient(f64::NAN), 1), Some(Duration::ZERO));
    }

    #[test]
    fn the_timeout_is_strict_and_final_failures_are_final() {
        let ten = RetryPolicy::fixed(9, Duration::ZERO).timeout(Duration::from_secs(10));
        assert_eq!(pause(&ten, 0), None);
        assert!(pause(&ten.timeout(Duration::from_secs(11)), 0).is_some());
        let hopeless = FailureDetails { is_non_retriable: true, ..FailureDetails::default() };
        assert_eq!(RetryPolicy::fixed(9, Duration::ZERO).pause(&hopeless, 0, Duration::ZERO), None);
    }

    #[test]
    fn the_predicate_decides_and_may_panic() {
        assert_eq!(pause(&RetryPolicy::fixed(9, Duration::ZERO).only_if(|f| f.error_type == "other"), 0), None);
        assert_eq!(pause(&RetryPolicy::fixed(9, Duration::ZERO).only_if(|_| panic!("oh")), 0), None);
        assert!(pause(&RetryPolicy::fixed(9, Duration::ZERO).only_if(|_| true), 0).is_some());
    }
}
