//! The only place where randomness enters: seeded by the system, or by a number so that a run repeats.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

/// A shared source of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(Arc<Mutex<fastrand::Rng>>);

impl Rng {
    /// Seeded by the system.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn system() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// Seeded by a number: the same seed gives the same sequence.
    #[must_use]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// An independent source whose seed comes from this one.
    #[must_use]
    pub(crate) fn fork(&self) -> Self {
        Self::seeded(self.next())
    }

    /// Sixty-four random bits.
    #[must_use]
    pub(crate) fn next(&self) -> u64 {
        self.with(|rng| rng.u64(..))
    }

    /// A number from zero to `bound`, without `bound`; zero if `bound` is zero.
    #[must_use]
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.with(|rng| if bound == 0 { 0 } else { rng.u64(..bound) })
    }

    /// True with probability `p`.
    #[must_use]
    pub(crate) fn chance(&self, p: f64) -> bool {
        self.with(|rng| rng.f64()) < p
    }

    /// A duration from `low` to `high`.
    #[must_use]
    pub(crate) fn between(&self, low: Duration, high: Duration) -> Duration {
        low + high.saturating_sub(low).mul_f64(self.with(fastrand::Rng::f64))
    }

    /// A random (version 4) UUID.
    #[must_use]
    pub(crate) fn uuid(&self) -> Uuid {
        let bits = self.with(|rng| rng.u128(..));
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    fn with<T>(&self, f: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        for _ in 0..100 {
            assert_eq!((a.next(), a.uuid(), a.below(10)), (b.next(), b.uuid(), b.below(10)));
        }
        assert_ne!(Rng::seeded(7).next(), Rng::seeded(8).next());
    }
}
