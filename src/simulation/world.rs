//! The simulated world: one account in memory, workers and clients as processes that crash, stall and stop, and one clock.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cast::Cast;
use super::checks::Checks;
use super::ends::{self, End, Ends};
use super::late::Late;
use super::plan::{Class, Plan};
use super::program::{self, Build};
use super::station::{Ambush, Station};
use super::trace;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::layer::faulty::{Faulty, Moment};
use crate::storage::memory::Memory;
use crate::{TaskHub, Worker};

pub(super) const HUB: &str = "Sim";

/// How far the clock of a process may be off: two of them two minutes, four times a lease.
const SKEW_TICKS_MAX: i64 = 600_000_000;

/// The world. Everything in it runs in one task and one thread.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) memory: Memory,
    pub(super) clock: Clock,
    pub(super) checks: Arc<Checks>,
    late: Late,
    /// Draws for the world itself.
    rng: Rng,
    processes: RefCell<Vec<(Station, Faulty)>>,
    /// Since when faults are over: no process begins with any.
    calm: Cell<Option<Timestamp>>,
    /// Workers that have not all of the code.
    bare: RefCell<BTreeSet<usize>>,
    /// Every worker stops for good.
    over: Cell<bool>,
    stop: Vec<Rc<Notify>>,
    /// Workers that were told to stop when the play was over, and stopped in an orderly way.
    left: RefCell<BTreeSet<String>>,
    /// How the instances ended.
    pub(super) ends: RefCell<BTreeMap<String, End>>,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant"));
        let rng = Rng::seeded(plan.seed ^ 0x5eed);
        let memory = Memory::new(clock.clone(), rng.fork());
        memory.set_unordered(plan.has(Class::Unordered));
        if plan.has(Class::ShortPages) {
            memory.set_page_limit(1 + usize::try_from(rng.below(5)).unwrap_or(0));
        }
        let checks = Arc::new(Checks::new(memory.clone(), HUB, &plan));
        let late = Late::new(memory.storage(), Arc::clone(&checks));
        let stop = (0..plan.workers).map(|_| Rc::default()).collect();
        let (processes, left, ends, calm, bare, over) = Default::default();
        Self { plan, memory, clock, checks, late, rng, processes, calm, bare, over, stop, left, ends }
    }

    /// Runs the world to its end. Broken rules are in the trace.
    pub(super) async fn run(self) -> Ends {
        let cast = Cast::of(&self.plan);
        let rngs: Vec<_> = (0..self.plan.workers).map(|_| self.rng.fork()).collect();
        let workers = join_all(rngs.into_iter().enumerate().map(|(number, rng)| self.keep_worker(number, rng)));
        let play = async {
            cast.play(&self).await;
            trace::line(&"the play is over");
            self.over.set(true);
            self.stop.iter().for_each(|stop| stop.notify_one());
            // The workers end now, and this future with them.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            _ = workers => ends::curtain(&self),
            () = play => {}
            () = self.watch_rows() => {}
            () = until_broken() => {}
        }
        Ends { instances: self.ends.take(), next: self.rng.next(), now: self.clock.now() }
    }

    /// A process: its way to the store, with its own clock and faults.
    pub(super) async fn process(&self, name: String, rng: &Rng) -> Result<(TaskHub, Station, Faulty)> {
        let faults = self.plan.faults(rng);
        let faulty = Faulty::new(faults, rng.fork());
        faulty.set_enabled(self.calm.get().is_none());
        let station = Station::new(name, Arc::clone(&self.checks), rng.fork(), self.plan.conflicts(rng));
        station.set_calm(self.calm.get().is_some());
        // Before it opens the hub: the calm may come meanwhile.
        self.processes.borrow_mut().push((station.clone(), faulty.clone()));
        let skew = SKEW_TICKS_MAX - rng.below(2 * SKEW_TICKS_MAX.cast_unsigned()).cast_signed();
        let skew = if self.plan.has(Class::Skew) { skew } else { 0 };
        let storage = self.late.account(rng.fork(), self.plan.late(rng));
        let storage = storage.layered(station.clone()).layered(faulty.clone());
        let clock = self.clock.skewed(skew);
        let opening = TaskHub::builder(storage, HUB).partitions(self.plan.partitions).clock(clock).rng(rng.fork()).open();
        let hub = match opening.await {
            Ok(hub) => hub,
            Err(error) => {
                trace::line(&format_args!("{} cannot open the hub: {error}", station.name()));
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Err(error);
            }
        };
        Ok((hub, station, faulty))
    }

    /// Keeps one worker running: a process after the other, until the play is over.
    async fn keep_worker(&self, number: usize, rng: Rng) {
        for generation in 0.. {
            if self.over.get() {
                return;
            }
            let name = format!("w{number}-{generation}");
            let Ok((hub, station, faulty)) = self.process(name.clone(), &rng).await else { continue };
            let death = self.doom(&rng, &station, &faulty);
            let slots = 1 + usize::try_from(rng.below(12)).unwrap_or(0);
            let second = rng.chance(0.5) && self.plan.has(Class::Upgrade);
            let build = if second { Build::Second } else { Build::First };
            if second && generation > 0 {
                trace::mark("fault upgrade");
            }
            // One has all of the code, so that what needs no partition ends.
            let bare = self.plan.has(Class::Missing) && number > 0 && self.calm.get().is_none() && rng.chance(0.5);
            let build = if bare { Build::Bare } else { build };
            if bare {
                trace::mark("fault missing code");
                self.bare.borrow_mut().insert(number);
            } else {
                self.bare.borrow_mut().remove(&number);
            }
            let worker = Worker::builder(&hub).fail_unhosted_after(Duration::from_secs(24 * 3600));
            let worker = program::register(worker, build).worker_id(name.clone()).max_activities(slots);
            let worker = worker.max_orchestrations(slots * 2).fast_path(self.plan.fast_path);
            trace::line(&format_args!("{name} begins"));
            // One that is told earlier may stall in its stop, and leaves its leases to expire.
            let is_last = Cell::new(false);
            let told = async {
                self.stop[number].notified().await;
                is_last.set(self.over.get());
            };
            tokio::select! {
                biased;
                () = station.crashed() => {}
                () = death => {
                    trace::line(&format_args!("{name} DIES"));
                    trace::mark("crash at a random moment");
                }
                ran = worker.run(told) => {
                    trace::line(&format_args!("{name} ended: {ran:?}"));
                    if is_last.get() {
                        self.left.borrow_mut().insert(name);
                    }
                }
            }
            if !self.over.get() {
                tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_secs(20))).await;
            }
        }
    }

    /// Chooses how the process stalls or dies, if it does: at one of its calls, at a commit, or at any time.
    fn doom(&self, rng: &Rng, station: &Station, faulty: &Faulty) -> impl Future<Output = ()> + use<> {
        let moment = if rng.chance(0.5) { Moment::Before } else { Moment::After };
        let (call, commit) = (1 + rng.below(if rng.chance(0.3) { 1000 } else { 150 }), 1 + rng.below(12));
        let time = rng.between(Duration::ZERO, self.plan.chaos);
        let (at_call, at_commit, doomed) =
            (rng.chance(0.7), rng.chance(0.5), self.plan.has(Class::Crash) && self.calm.get().is_none());
        if doomed && at_call && at_commit {
            station.crash_at(faulty, commit, moment, |call| call.op == "table.transact" && call.target.0.ends_with("History"));
        } else if doomed && at_call {
            station.crash_at(faulty, call, moment, |_| true);
        }
        if self.plan.shares_an_id() && self.plan.has(Class::Refusal) {
            // Others ask for the id meanwhile, which has a history and no row.
            station.deny_row_of(program::SHARED, rng.below(4));
        }
        // About as long as a lease, or anything.
        let (least, most) = if rng.chance(0.5) { (25, 45) } else { (10, 70) };
        let only = [None, Some("History"), Some("Instances")][usize::try_from(rng.below(3)).unwrap_or(0)];
        let write = 1 + rng.below(if only.is_some() { 8 } else { 20 });
        let ambush = Ambush { write, only, time: rng.between(Duration::from_secs(least), Duration::from_secs(most)) };
        if rng.chance(0.7) && self.plan.has(Class::Stall) {
            station.stall_in_commit(ambush);
        }
        async move {
            if !doomed || at_call {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(time).await;
        }
    }

    pub(super) fn has_left(&self, worker: &str) -> bool {
        self.left.borrow().contains(worker)
    }

    /// Stalls, outages and orderly stops, until the time of chaos is over.
    pub(super) async fn torment(&self) {
        let rng = self.rng.fork();
        let end = tokio::time::Instant::now() + self.plan.chaos;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_secs(15))).await;
            let victim = usize::try_from(rng.below(u64::from(self.plan.workers))).unwrap_or(0);
            let time = rng.between(Duration::ZERO, Duration::from_secs(60));
            let recent = usize::try_from(rng.below(u64::from(self.plan.workers) + 1)).unwrap_or(0);
            match rng.below(4) {
                0 if self.plan.has(Class::Stall) => self.stall(recent, time),
                1 if self.plan.has(Class::Stop) => {
                    trace::line(&format_args!("w{victim} is told to stop"));
                    trace::mark("fault stop");
                    self.stop[victim].notify_one();
                }
                2 if self.plan.has(Class::Outage) => {
                    trace::line(&format_args!("outage for {time:?}"));
                    self.set_outage(true);
                    tokio::time::sleep(time / 2).await;
                    self.set_outage(false);
                }
                3 if self.plan.has(Class::Expiry) => {
                    trace::line(&"every held message surfaces");
                    trace::mark("fault expiry");
                    self.memory.surface_held();
                }
                _ => {}
            }
        }
    }

    /// No more faults: from here on everything must come to its end.
    pub(super) fn calm_down(&self) {
        trace::line(&"calm");
        self.calm.set(Some(self.clock.now()));
        // They come back with all of it.
        self.bare.borrow().iter().for_each(|number| self.stop[*number].notify_one());
        self.late.end();
        for (station, faulty) in self.processes.borrow().iter() {
            for (fault, count) in faulty.injected() {
                trace::marks(&format!("fault {fault}"), count);
            }
            faulty.set_enabled(false);
            station.set_calm(true);
            station.resume();
        }
    }

    /// Whether what a worker did at this time, by its own clock, was without faults.
    pub(super) fn was_calm_at(&self, at: Timestamp) -> bool {
        self.calm.get().is_some_and(|since| at > since.plus(Duration::from_secs(5)))
    }

    /// Looks at the instance rows, once what was done under faults has settled.
    async fn watch_rows(&self) {
        while self.calm.get().is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Partitions have found their owners, who may have lost one before they had written its rows.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let settled = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            self.checks.rows_follow(settled);
        }
    }

    fn set_outage(&self, outage: bool) {
        self.processes.borrow().iter().for_each(|(_, faulty)| faulty.set_outage(outage));
    }

    fn stall(&self, recent: usize, time: Duration) {
        if let Some((station, _)) = self.processes.borrow().iter().rev().nth(recent) {
            trace::line(&format_args!("{} stalls for {time:?}", station.name()));
            trace::mark("fault stall");
            station.stall(time);
        }
    }
}

/// Completes when a rule is broken.
async fn until_broken() {
    while !trace::has_failed() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
