//! What a seed stands for: how many of everything, and which classes of faults strike how often.

use std::time::Duration;

use crate::rng::Rng;
use crate::storage::layer::faulty::{Faults, Odds};

/// A class of faults that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Delay,
    Refusal,
    LostReply,
    DuplicatePut,
    Unordered,
    ShortPages,
    Skew,
    Crash,
    Stall,
    Outage,
    /// Workers that stop in an orderly way, and come back.
    Stop,
    /// Clients that suspend, resume and terminate.
    Control,
}

pub(super) const CLASSES: [Class; 12] = [
    Class::Delay,
    Class::Refusal,
    Class::LostReply,
    Class::DuplicatePut,
    Class::Unordered,
    Class::ShortPages,
    Class::Skew,
    Class::Crash,
    Class::Stall,
    Class::Outage,
    Class::Stop,
    Class::Control,
];

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) workers: u32,
    pub(super) partitions: u32,
    pub(super) instances: u32,
    pub(super) steps: u64,
    /// How long faults strike; then they end, and everything must come to its end.
    pub(super) chaos: Duration,
    pub(super) classes: Vec<Class>,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let small = |bound| 1 + u32::try_from(rng.below(bound)).unwrap_or(0);
        Self {
            seed,
            workers: small(4),
            partitions: small(4),
            instances: small(4),
            steps: 3 + rng.below(6),
            chaos: Duration::from_secs(30 + rng.below(120)),
            // One run in ten is without faults, some have only one class, most have about half of them.
            classes: match rng.below(10) {
                0 => Vec::new(),
                1 | 2 => vec![CLASSES[usize::try_from(rng.below(CLASSES.len() as u64)).unwrap_or(0)]],
                _ => CLASSES.into_iter().filter(|_| rng.chance(0.5)).collect(),
            },
        }
    }

    pub(super) fn has(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }

    /// The faults around the calls of one process.
    pub(super) fn faults(&self, rng: &Rng) -> Faults {
        let odds = |class, most: f64| {
            let chance = most * f64::from(u32::try_from(rng.below(100)).unwrap_or(0)) / 100.0;
            if self.has(class) { chance } else { 0.0 }
        };
        let (delay, refused, lost_reply) = (odds(Class::Delay, 0.5), odds(Class::Refusal, 0.15), odds(Class::LostReply, 0.15));
        let all = Odds { delay_before: delay, delay_after: delay, refused, lost_reply };
        let delay_max = [10, 300, 3_000, 15_000][usize::try_from(rng.below(4)).unwrap_or(0)];
        Faults {
            duplicate_put: odds(Class::DuplicatePut, 0.2),
            outage: odds(Class::Outage, 0.002),
            outage_max: Duration::from_secs(40),
            ..Faults::everywhere(all, Duration::from_millis(delay_max))
        }
    }
}
