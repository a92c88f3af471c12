//! What a seed stands for: how many of everything, and which classes of faults strike how often.

use std::time::Duration;

use crate::rng::Rng;
use crate::sabotage::Sabotage;
use crate::storage::layer::faulty::{Faults, Odds};
use crate::worker::FastPath;

/// A class of faults that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Delay,
    Refusal,
    LostReply,
    /// Writes to tables, and messages, that arrive long after their sender gave up.
    Late,
    DuplicatePut,
    /// A row gets a new version right before a write that was meant for the old one.
    Conflict,
    /// Held messages surface while their holders work on them.
    Expiry,
    Unordered,
    ShortPages,
    Skew,
    Crash,
    Stall,
    Outage,
    /// Workers that stop in an orderly way, and come back.
    Stop,
    /// Workers that come back with other code.
    Upgrade,
    /// Workers that have not all of the code, beside one that has.
    Missing,
    /// Somebody takes partitions, asks for them, or holds their messages.
    Theft,
    /// Clients that suspend, resume and terminate.
    Control,
}

pub(super) const CLASSES: [Class; 18] = [
    Class::Delay,
    Class::Refusal,
    Class::LostReply,
    Class::Late,
    Class::DuplicatePut,
    Class::Conflict,
    Class::Expiry,
    Class::Unordered,
    Class::ShortPages,
    Class::Skew,
    Class::Crash,
    Class::Stall,
    Class::Outage,
    Class::Stop,
    Class::Upgrade,
    Class::Theft,
    Class::Control,
    Class::Missing,
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
    /// The short cuts that workers take.
    pub(super) fast_path: FastPath,
    /// Whether every history that a worker has kept is compared with what is stored.
    pub(super) compares: bool,
    /// The rule that the engine breaks.
    pub(super) sabotage: Option<Sabotage>,
}

impl Plan {
    /// Commits are cut off, but nobody works on an instance beside its owner.
    const ALONE: [Class; 7] =
        [Class::Crash, Class::Refusal, Class::LostReply, Class::DuplicatePut, Class::Conflict, Class::Stop, Class::Skew];
    const HARMLESS: [Class; 4] = [Class::Unordered, Class::ShortPages, Class::Control, Class::Upgrade];

    pub(super) fn of(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let paths = Rng::seeded(!seed);
        let small = |bound| 1 + u32::try_from(rng.below(bound)).unwrap_or(0);
        let plan = Self {
            seed,
            workers: small(4),
            partitions: small(4),
            instances: small(4),
            steps: 3 + rng.below(6),
            chaos: Duration::from_secs(20 + rng.below(100)),
            // One run in ten is without faults, some have only one class, most have about half of them.
            classes: match rng.below(10) {
                0 => Vec::new(),
                1 | 2 => vec![CLASSES[usize::try_from(rng.below(CLASSES.len() as u64)).unwrap_or(0)]],
                _ => CLASSES.into_iter().filter(|_| rng.chance(0.5)).collect(),
            },
            fast_path: FastPath::some(&paths),
            compares: paths.chance(0.25),
            sabotage: None,
        };
        let is_judged = |class: &Class| !plan.shares_an_id() || Self::HARMLESS.contains(class) || Self::ALONE.contains(class);
        Self { classes: plan.classes.iter().copied().filter(is_judged).collect(), ..plan }
    }

    /// The same programs where nothing goes wrong: one worker, one partition, no fault, no short cut.
    pub(super) fn ideal(&self) -> Self {
        let (classes, chaos) = (Vec::new(), Duration::ZERO);
        Self { workers: 1, partitions: 1, chaos, classes, fast_path: FastPath::NONE, sabotage: None, ..self.clone() }
    }

    /// Plans that are smaller by one thing, those that explain most first.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let without = |class: &Class| {
            let classes = self.classes.iter().filter(|other| *other != class).copied().collect();
            Self { classes, ..self.clone() }
        };
        let mut plans: Vec<_> = self.classes.iter().map(without).collect();
        let fewer = |count: u32| count.saturating_sub(1).max(1);
        plans.push(Self { instances: fewer(self.instances), ..self.clone() });
        plans.push(Self { workers: fewer(self.workers), ..self.clone() });
        plans.push(Self { partitions: fewer(self.partitions), ..self.clone() });
        plans.push(Self { steps: (self.steps / 2).max(1), ..self.clone() });
        plans.push(Self { steps: (self.steps - 1).max(1), ..self.clone() });
        plans.push(Self { fast_path: FastPath::NONE, ..self.clone() });
        plans.push(Self { chaos: self.chaos / 2, ..self.clone() });
        plans.retain(|plan| plan != self);
        plans
    }

    pub(super) fn has(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }

    /// Whether instances ask for children under one id. Whose code may run is judged then, which rivals could not know.
    pub(super) fn shares_an_id(&self) -> bool {
        // A source of its own: all other runs are as they would be without.
        Rng::seeded(self.seed ^ 0x5a4e).chance(0.06)
    }

    /// Whether every commit runs to its end the first time: nothing is left by one that was cut off.
    pub(super) fn is_smooth(&self) -> bool {
        self.classes.iter().all(|class| Self::HARMLESS.contains(class))
    }

    /// Whether nobody ever works on an instance beside its owner, although commits are cut off.
    pub(super) fn has_no_rivals(&self) -> bool {
        self.classes.iter().all(|class| Self::HARMLESS.contains(class) || Self::ALONE.contains(class))
    }

    /// Whether messages that one client sends to one instance come in its order: the queue keeps it, and nobody has any in his
    /// hands when another goes on.
    pub(super) fn is_in_order(&self) -> bool {
        let harmless = [Class::ShortPages, Class::Skew, Class::Conflict, Class::Control, Class::Upgrade];
        self.classes.iter().all(|class| harmless.contains(class))
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

    /// How much of what a process sends arrives late.
    pub(super) fn late(&self, rng: &Rng) -> f64 {
        let odds = rng.between(Duration::ZERO, Duration::from_millis(100)).as_secs_f64();
        if self.has(Class::Late) { odds } else { 0.0 }
    }

    /// How often a row changes right before a conditional write.
    pub(super) fn conflicts(&self, rng: &Rng) -> f64 {
        let odds = rng.between(Duration::ZERO, Duration::from_millis(200)).as_secs_f64();
        if self.has(Class::Conflict) { odds } else { 0.0 }
    }
}
