//! For how long a worker leases its partitions, when it renews the leases, and when it looks at the table again.

use std::time::Duration;

use tokio::time::Instant;

use super::Ownership;
use crate::hub::partitions::Judge;

/// Between two passes of which the first failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

impl Ownership {
    pub(super) fn pause(&self) -> Duration {
        let options = &self.shared.options;
        if self.failed {
            return PAUSE_AFTER_ERROR;
        }
        let until_renewal = self.renewal_pause().saturating_sub(self.renewed.elapsed());
        let pause = if self.expecting {
            options.handover_poll
        } else if self.alone {
            until_renewal
        } else {
            options.ownership_poll.min(until_renewal)
        };
        pause.min(self.next_expiry.unwrap_or(pause)).max(Duration::from_millis(50))
    }

    pub(super) fn is_due(&self) -> bool {
        self.renewed.elapsed() + Duration::from_millis(100) >= self.renewal_pause()
    }

    /// The time between two renewals of the leases as they were written last.
    fn renewal_pause(&self) -> Duration {
        let options = &self.shared.options;
        match (self.is_busy, self.has_much_to_do()) {
            // Those that it has are too long.
            (false, true) => Duration::ZERO,
            // Whoever owns everything does not read the table. That somebody asks for a partition shows in a renewal.
            (true, true) if self.alone => options.ownership_poll,
            _ => self.longest_pause(),
        }
    }

    /// The longest time between two renewals of leases such as were written last.
    pub(super) fn longest_pause(&self) -> Duration {
        let options = &self.shared.options;
        match self.is_busy {
            true => options.busy_lease_renewal,
            // Storage that nobody asks for anything else answers soon, and a renewal that fails is tried again well before the lease ends.
            false if self.shared.traffic.is_at_rest() => options.rest_lease_renewal,
            false => options.lease_renewal,
        }
    }

    pub(super) fn has_much_to_do(&self) -> bool {
        self.shared.options.fast_path.leases_briefly && !self.owned.is_empty() && self.shared.traffic.is_much()
    }

    /// By what rows are judged now, and with which lease they are written.
    pub(super) fn judging<'a>(&self, me: &'a str) -> Judge<'a> {
        let options = &self.shared.options;
        let (now, usual, margin) = (self.shared.hub.now(), options.lease, options.lease_margin);
        Judge { me, now, lease: self.lease(), usual, margin }
    }

    fn lease(&self) -> Duration {
        let options = &self.shared.options;
        if self.is_busy { options.busy_lease.min(options.lease) } else { options.lease }
    }

    /// Until when a lease that was renewed at `before` keeps others away, by the monotonic clock.
    pub(super) fn fence_from(&self, before: Instant) -> Instant {
        before + self.lease().saturating_sub(self.shared.options.lease_margin)
    }
}
