//! Seeded faults around storage calls, for simulation: delays, refusals, lost answers, duplicates, outages and crashes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Call, Class, Layer, Reply};
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};

/// How likely each fault is, for one class of calls; zero is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Odds {
    pub(crate) delay_before: f64,
    pub(crate) delay_after: f64,
    /// Refused before anything happens: throttled or timed out.
    pub(crate) refused: f64,
    /// Done, but the caller learns only that it may have been.
    pub(crate) lost_reply: f64,
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) read: Odds,
    pub(crate) repeatable: Odds,
    pub(crate) once: Odds,
    /// A message is put twice.
    pub(crate) duplicate_put: f64,
    /// An outage begins with this call.
    pub(crate) outage: f64,
    /// The longest delay.
    pub(crate) delay_max: Duration,
    /// The longest outage.
    pub(crate) outage_max: Duration,
}

impl Faults {
    /// The same odds for every class of calls.
    pub(crate) fn everywhere(odds: Odds, delay_max: Duration) -> Self {
        Self { read: odds, repeatable: odds, once: odds, delay_max, ..Self::default() }
    }
}

/// When a call is shown to the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nothing has happened yet.
    Before,
    /// The store has answered; the caller does not know yet.
    After,
}

/// What the hook wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    /// The call never returns: its caller is dead, and whoever simulates it drops its tasks.
    Hang,
}

type Hook = Arc<dyn Fn(&Call<'_>, u64, Moment) -> Verdict + Send + Sync>;

/// Injects faults. Clones share everything, so that a simulation can keep one to steer it.
#[derive(Clone)]
pub(crate) struct Faulty(Arc<Shared>);

struct Shared {
    rng: Rng,
    faults: Mutex<Faults>,
    enabled: AtomicBool,
    outage: AtomicBool,
    outage_until: Mutex<Option<Instant>>,
    calls: AtomicU64,
    hook: Mutex<Option<Hook>>,
    injected: Mutex<BTreeMap<&'static str, u64>>,
}

/// What will happen to one call: all drawn before the first await, so that the draws follow the order of the calls.
#[derive(Default)]
struct Plan {
    delay_before: Option<Duration>,
    refusal: Option<Error>,
    duplicated: bool,
    delay_after: Option<Duration>,
    lost: bool,
}

impl Faulty {
    pub(crate) fn new(faults: Faults, rng: Rng) -> Self {
        Self(Arc::new(Shared {
            rng,
            faults: Mutex::new(faults),
            enabled: AtomicBool::new(true),
            outage: AtomicBool::new(false),
            outage_until: Mutex::default(),
            calls: AtomicU64::new(0),
            hook: Mutex::default(),
            injected: Mutex::default(),
        }))
    }

    /// Turns every fault off (or on again), outages and the hook too: from here on all work must come to its end.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.0.enabled.store(enabled, SeqCst);
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *lock(&self.0.faults) = faults;
    }

    /// Begins or ends an outage: every call is refused without effect.
    pub(crate) fn set_outage(&self, outage: bool) {
        self.0.outage.store(outage, SeqCst);
        if !outage {
            *lock(&self.0.outage_until) = None;
        }
    }

    /// Shows every call to `hook`, with its number (from 1) and before and after its effect.
    pub(crate) fn on_call(&self, hook: impl Fn(&Call<'_>, u64, Moment) -> Verdict + Send + Sync + 'static) {
        *lock(&self.0.hook) = Some(Arc::new(hook));
    }

    /// From the `k`-th on of the calls that count, once that has taken effect, no call returns: whoever makes them is dead. Rings when it
    /// has come.
    pub(crate) fn dies_behind(&self, k: u64, counts: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Arc<Notify> {
        let (calls, died) = (AtomicU64::new(0), Arc::new(Notify::new()));
        let bell = Arc::clone(&died);
        self.on_call(move |call, _, moment| {
            if moment == Moment::After && counts(call) && calls.fetch_add(1, SeqCst) + 1 == k {
                bell.notify_one();
            }
            if calls.load(SeqCst) >= k { Verdict::Hang } else { Verdict::Proceed }
        });
        died
    }

    /// How many calls there have been.
    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(SeqCst)
    }

    /// How often each fault was injected.
    pub(crate) fn injected(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.0.injected).clone()
    }

    fn plan(&self, call: &Call<'_>) -> Plan {
        if !self.0.enabled.load(SeqCst) {
            return Plan::default();
        }
        let faults = *lock(&self.0.faults);
        let odds = match call.class {
            Class::Read => faults.read,
            Class::Repeatable => faults.repeatable,
            Class::Once => faults.once,
        };
        if self.in_outage(&faults) {
            return Plan { refusal: Some(self.refusal(call, "outage")), ..Plan::default() };
        }
        let delay_before = self.delay(odds.delay_before, faults.delay_max, "delay_before");
        if self.strikes(odds.refused, "refused") {
            return Plan { delay_before, refusal: Some(self.refusal(call, "refused")), ..Plan::default() };
        }
        Plan {
            delay_before,
            refusal: None,
            duplicated: call.op == "queue.put" && self.strikes(faults.duplicate_put, "duplicate_put"),
            delay_after: self.delay(odds.delay_after, faults.delay_max, "delay_after"),
            lost: self.strikes(odds.lost_reply, "lost_reply"),
        }
    }

    fn in_outage(&self, faults: &Faults) -> bool {
        let now = Instant::now();
        let mut until = lock(&self.0.outage_until);
        if self.0.rng.chance(faults.outage) {
            *until = Some(now + self.0.rng.between(Duration::ZERO, faults.outage_max));
        }
        let out = self.0.outage.load(SeqCst) || until.is_some_and(|until| now < until);
        if out {
            self.count("outage");
        }
        out
    }

    fn refusal(&self, call: &Call<'_>, message: &str) -> Error {
        let (kind, status, code) = if self.0.rng.chance(0.5) {
            (ErrorKind::Throttled, 503, "ServerBusy")
        } else {
            (ErrorKind::Transient, 500, "OperationTimedOut")
        };
        Error::new(kind, call.op, call.target.to_string()).with_status(status, code).with_message(message)
    }

    fn delay(&self, odds: f64, max: Duration, name: &'static str) -> Option<Duration> {
        self.strikes(odds, name).then(|| self.0.rng.between(Duration::ZERO, max))
    }

    fn strikes(&self, odds: f64, name: &'static str) -> bool {
        let strikes = self.0.rng.chance(odds);
        if strikes {
            self.count(name);
        }
        strikes
    }

    fn count(&self, name: &'static str) {
        *lock(&self.0.injected).entry(name).or_default() += 1;
    }

    async fn show(&self, call: &Call<'_>, number: u64, moment: Moment) {
        let hook = lock(&self.0.hook).clone().filter(|_| self.0.enabled.load(SeqCst));
        if hook.is_some_and(|hook| hook(call, number, moment) == Verdict::Hang) {
            self.count("hang");
            std::future::pending::<()>().await;
        }
    }
}

impl Layer for Faulty {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let number = self.0.calls.fetch_add(1, SeqCst) + 1;
        let plan = self.plan(call);
        pass(plan.delay_before).await;
        self.show(call, number, Moment::Before).await;
        if let Some(refusal) = plan.refusal {
            return Err(refusal);
        }
        if plan.duplicated {
            attempt().await?;
        }
        let reply = attempt().await;
        self.show(call, number, Moment::After).await;
        pass(plan.delay_after).await;
        if plan.lost {
            let kind = if call.class == Class::Read { ErrorKind::Transient } else { ErrorKind::Unknown };
            return Err(Error::new(kind, call.op, call.target.to_string()).with_message("the answer was lost"));
        }
        reply
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("calls", &self.calls()).field("injected", &self.injected()).finish_non_exhaustive()
    }
}

async fn pass(delay: Option<Duration>) {
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
