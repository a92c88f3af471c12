//! The innermost layer of a worker or client: its calls as lines of the trace, its stalls and conflicts, the checks after its writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::checks::Checks;
use super::trace;
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::layer::faulty::{Faulty, Moment, Verdict};
use crate::storage::layer::{Call, Layer, Reply};

/// One process of the simulated world, as far as storage sees it. Clones share everything.
#[derive(Clone)]
pub(super) struct Station(Arc<Inner>);

struct Inner {
    name: String,
    checks: Arc<Checks>,
    stalled_until: Mutex<Option<Instant>>,
    ambush: Mutex<Option<Ambush>>,
    /// The instance whose row cannot be made, and how often.
    denied: Mutex<Option<(&'static str, u64)>>,
    crashed: AtomicBool,
    crash: Notify,
    rng: Rng,
    conflicts: f64,
    calm: AtomicBool,
}

/// A stall in the middle of a commit: right before one of all the writes that commits make.
#[derive(Clone, Copy)]
pub(super) struct Ambush {
    /// Which of them.
    pub(super) write: u64,
    /// Only those to this table count. Before the history: what was sent is on its way, and nothing says that it was decided.
    /// Before the row: the next owner has gone on meanwhile.
    pub(super) only: Option<&'static str>,
    pub(super) time: Duration,
}

impl Station {
    /// `conflicts`: how often the row of a conditional write changes right before it.
    pub(super) fn new(name: String, checks: Arc<Checks>, rng: Rng, conflicts: f64) -> Self {
        let (stalled_until, ambush, denied, crashed, crash, calm) = Default::default();
        Self(Arc::new(Inner { name, checks, stalled_until, ambush, denied, crashed, crash, rng, conflicts, calm }))
    }

    /// Ends conflicts, or lets them begin.
    pub(super) fn set_calm(&self, calm: bool) {
        self.0.calm.store(calm, SeqCst);
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Every call hangs for this long; then those that still wait proceed.
    pub(super) fn stall(&self, time: Duration) {
        *self.0.stalled_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }

    pub(super) fn stall_in_commit(&self, ambush: Ambush) {
        *self.0.ambush.lock().unwrap_or_else(PoisonError::into_inner) = Some(ambush);
    }

    /// So often the row of this instance cannot be made: its history is stored then, and its turn fails.
    pub(super) fn deny_row_of(&self, instance: &'static str, times: u64) {
        *self.0.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some((instance, times));
    }

    fn denial(&self, call: &Call<'_>) -> Option<Error> {
        let mut guard = self.0.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let (instance, times) = guard.as_mut()?;
        let is_it = call.op == "table.insert" && call.target.0.ends_with("Instances") && call.target.1 == Some(*instance);
        if !is_it || *times == 0 || self.0.calm.load(SeqCst) {
            return None;
        }
        *times -= 1;
        trace::mark("fault denied");
        trace::line(&format_args!("{} denied {} {}", self.0.name, call.op, call.target));
        Some(Error::new(ErrorKind::Denied, call.op, call.target.to_string()))
    }

    fn spring_ambush(&self, call: &Call<'_>) {
        let is_history = call.op == "table.transact" && call.target.0.ends_with("History");
        let is_row = matches!(call.op, "table.merge" | "table.insert") && call.target.0.ends_with("Instances");
        let mut guard = self.0.ambush.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ambush) = guard.as_mut() else { return };
        let is_write = is_history || is_row || call.op == "queue.put";
        let counts = is_write && ambush.only.is_none_or(|table| call.target.0.ends_with(table));
        if self.0.calm.load(SeqCst) || !counts {
            return;
        }
        ambush.write = ambush.write.saturating_sub(1);
        if ambush.write == 0 {
            let time = ambush.time;
            *guard = None;
            trace::line(&format_args!("{} stalls for {time:?} before {}", self.0.name, call.op));
            trace::mark("fault stall in a commit");
            self.stall(time);
        }
    }

    /// Lets calls proceed again.
    pub(super) fn resume(&self) {
        *self.0.stalled_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Dies at the call with this number among those that count; from then on nothing of it reaches the store.
    pub(super) fn crash_at(&self, faulty: &Faulty, number: u64, moment: Moment, counts: fn(&Call<'_>) -> bool) {
        let (inner, calls) = (Arc::clone(&self.0), AtomicU64::new(0));
        faulty.on_call(move |call, _, when| {
            let is_it = when == moment && counts(call) && calls.fetch_add(1, SeqCst) + 1 == number;
            if is_it && !inner.crashed.swap(true, SeqCst) {
                trace::line(&format_args!("{} CRASH {moment:?} {}", inner.name, call.op));
                trace::mark(&format!("crash at {}", call.op));
                inner.crash.notify_one();
            }
            if inner.crashed.load(SeqCst) { Verdict::Hang } else { Verdict::Proceed }
        });
    }

    /// Completes when the process has to be dropped.
    pub(super) async fn crashed(&self) {
        self.0.crash.notified().await;
    }

    async fn gate(&self) {
        loop {
            let until = *self.0.stalled_until.lock().unwrap_or_else(PoisonError::into_inner);
            match until.filter(|until| Instant::now() < *until) {
                // A short nap, so that a stall can be ended early.
                Some(until) => tokio::time::sleep_until(until.min(Instant::now() + Duration::from_secs(1))).await,
                None => return,
            }
        }
    }
}

impl Layer for Station {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        trace::call();
        self.spring_ambush(call);
        self.gate().await;
        if let Some(denial) = self.denial(call) {
            return Err(denial);
        }
        if matches!(call.op, "table.transact" | "table.merge" | "table.replace")
            && self.0.rng.chance(self.0.conflicts)
            && !self.0.calm.load(SeqCst)
        {
            trace::mark("fault conflict");
            trace::line(&format_args!("{} conflict {}", self.0.name, call.target));
            self.0.checks.touch(call);
        }
        let reply = attempt().await;
        let quiet = reply.as_ref().is_ok_and(Reply::is_empty_receive);
        if !quiet {
            let result = reply.as_ref().map_or_else(|e| format!("{:?}", e.kind), |_| "ok".to_owned());
            trace::line(&format_args!("{} {} {} {result}", self.0.name, call.op, call.target));
        }
        if reply.is_ok() && (call.op == "queue.put" || call.op.starts_with("table.")) {
            self.0.checks.after(call);
        }
        self.gate().await;
        reply
    }
}
