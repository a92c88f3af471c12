//! When a failed task is tried again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::model::FailureDetails;

/// No back-off is longer than this, whatever the policy says.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What becomes of a task that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another attempt after this pause.
    Again(Duration),
    /// That was the last attempt. .NET then lets one more timer fire, at once, before it gives the failure to the code; since that
    /// timer is in its histories, and takes an id, it is in ours.
    Exhausted,
    /// No attempt could help, or the policy wants none.
    Final,
}

type Predicate = Arc<dyn Fn(&FailureDetails) -> bool + Send + Sync>;

/// How often, and after which pauses, a failed activity or sub-orchestration is tried again.
///
/// The pauses are durable timers: a retry may be days away and survives every restart. A failure that is marked as
/// non-retriable ends the attempts at once. When the attempts run out, one more timer fires at once before the failure is there, as
/// in .NET, whose workers may take the instance over.
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

    /// What follows a failure, decided in the order of .NET. `failed`: attempts that failed before this one.
    pub(super) fn verdict(&self, failure: &FailureDetails, failed: u32, since_call: Duration) -> Verdict {
        if failure.is_non_retriable {
            Verdict::Final
        } else if failed.saturating_add(1) >= self.attempts {
            Verdict::Exhausted
        } else if self.timeout.is_some_and(|timeout| since_call >= timeout) || !self.accepts(failure) {
            Verdict::Final
        } else {
            Verdict::Again(self.interval(failed))
        }
    }

    /// A predicate that panics accepts nothing.
    fn accepts(&self, failure: &FailureDetails) -> bool {
        let Some(predicate) = &self.predicate else { return true };
        catch_unwind(AssertUnwindSafe(|| predicate(failure))).unwrap_or(false)
    }

    fn interval(&self, failed: u32) -> Duration {
        let factor = self.coefficient.powi(i32::try_from(failed).unwrap_or(i32::MAX));
        // Exact for a factor of one, and none remains none however large the factor; what does not fit a duration is clamped below.
        let seconds = self.first.as_secs_f64() * factor;
        let grown = if factor == 1.0 || self.first.is_zero() {
            self.first
        } else {
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST)
        };
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

    fn after(policy: &RetryPolicy, failed: u32) -> Verdict {
        policy.verdict(&FailureDetails::default(), failed, Duration::from_secs(10))
    }

    #[test]
    fn pauses_grow_up_to_the_maximum_and_attempts_end() {
        let policy = RetryPolicy::exponential(4, Duration::from_secs(2)).max_interval(Duration::from_secs(5));
        for (failed, seconds) in [(0, 2), (1, 4), (2, 5)] {
            assert_eq!(after(&policy, failed), Verdict::Again(Duration::from_secs(seconds)));
        }
        assert_eq!(after(&policy, 3), Verdict::Exhausted);
        assert_eq!(after(&RetryPolicy::fixed(1, Duration::ZERO), 0), Verdict::Exhausted);
        assert_eq!(after(&RetryPolicy::fixed(0, Duration::ZERO), 0), Verdict::Exhausted);
    }

    #[test]
    fn nothing_overflows() {
        let policy = RetryPolicy::exponential(u32::MAX, Duration::MAX).coefficient(f64::INFINITY);
        assert_eq!(after(&policy, u32::MAX - 2), Verdict::Again(LONGEST));
        assert_eq!(after(&RetryPolicy::exponential(u32::MAX, Duration::from_secs(1)), 100_000), Verdict::Again(LONGEST));
        for coefficient in [2.0, f64::INFINITY] {
            let at_once = RetryPolicy::fixed(u32::MAX, Duration::ZERO).coefficient(coefficient);
            assert_eq!(after(&at_once, 100_000), Verdict::Again(Duration::ZERO), "{coefficient}");
        }
        let not_a_number = RetryPolicy::fixed(3, Duration::ZERO).coefficient(f64::NAN);
        assert_eq!(after(&not_a_number, 1), Verdict::Again(Duration::ZERO));
    }

    #[test]
    fn the_timeout_is_strict_and_final_failures_are_final() {
        let ten = RetryPolicy::fixed(9, Duration::ZERO).timeout(Duration::from_secs(10));
        assert_eq!(after(&ten, 0), Verdict::Final);
        assert_eq!(after(&ten.timeout(Duration::from_secs(11)), 0), Verdict::Again(Duration::ZERO));
        let hopeless = FailureDetails { is_non_retriable: true, ..FailureDetails::default() };
        for attempts in [1, 9] {
            assert_eq!(RetryPolicy::fixed(attempts, Duration::ZERO).verdict(&hopeless, 0, Duration::ZERO), Verdict::Final);
        }
    }

    #[test]
    fn the_predicate_decides_and_may_panic_but_is_not_asked_about_the_last_attempt() {
        let nine = RetryPolicy::fixed(9, Duration::ZERO);
        assert_eq!(after(&nine.clone().only_if(|f| f.error_type == "other"), 0), Verdict::Final);
        assert_eq!(after(&nine.clone().only_if(|_| panic!("oh")), 0), Verdict::Final);
        assert_eq!(after(&nine.clone().only_if(|_| true), 0), Verdict::Again(Duration::ZERO));
        assert_eq!(after(&nine.only_if(|_| false), 8), Verdict::Exhausted);
    }
}
