//! Workers that come, go and fail, on the memory store under paused time: who owns what, what goes back, and how soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::overheard::Overheard;
use crate::authoring::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::hub::partition_of;
use crate::hub::partitions::PartitionRow;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::faulty::{Faults, Faulty, Moment, Verdict};
use crate::storage::layer::metered::Metered;
use crate::storage::layer::tapped::Tap;
use crate::storage::layer::{Call, Class, Layer, Reply};
use crate::{Client, TaskHub, Worker, WorkerBuilder};

/// Takes so many seconds.
const WORK: Activity<u64, ()> = Activity::new("Work");
pub(super) const DO: Orchestrator<u64, ()> = Orchestrator::new("Do");

async fn work(_: ActivityContext, seconds: u64) -> Result<(), Failure> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(())
}

async fn run_do(ctx: OrchestrationContext, seconds: u64) -> Result<(), Failure> {
    Ok(ctx.call(WORK, seconds).await?)
}

/// One account in memory, and a hub on it for each who asks: every worker may see storage through a layer of its own.
pub(super) struct Account {
    pub(super) storage: Storage,
    clock: Clock,
}

impl Account {
    pub(super) fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        Self { storage: Storage::memory(clock.clone(), Rng::seeded(1)), clock }
    }

    /// With a tap on all that anybody writes.
    pub(super) fn tapped() -> (Self, Tap) {
        let Self { storage, clock } = Self::new();
        let tap = Tap::new(clock.clone());
        (Self { storage: tap.on(storage), clock }, tap)
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) async fn hub_on(&self, storage: Storage, seed: u64) -> TaskHub {
        let (clock, rng) = (self.clock.clone(), Rng::seeded(seed));
        TaskHub::builder(storage, "Test").clock(clock).rng(rng).open().await.unwrap()
    }

    pub(super) async fn hub(&self, seed: u64) -> TaskHub {
        self.hub_on(self.storage.clone(), seed).await
    }
}

pub(super) fn worker(hub: &TaskHub, id: &str) -> WorkerBuilder {
    Worker::builder(hub).worker_id(id).activity(WORK, work).orchestrator(DO, run_do)
}

/// A worker that runs beside the test: completes when it has stopped.
pub(super) struct Running(tokio::task::JoinHandle<()>, Option<oneshot::Sender<()>>);

impl Running {
    #[allow(clippy::disallowed_methods, reason = "a test stands for the process around a worker")]
    pub(super) fn start(worker: WorkerBuilder) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        Self(tokio::spawn(async { worker.run(async { drop(stopped.await) }).await.unwrap() }), Some(stop))
    }

    /// How long stopping took.
    pub(super) async fn stop(mut self) -> Duration {
        let begun = Instant::now();
        drop(self.1.take());
        self.0.await.unwrap();
        begun.elapsed()
    }

    /// Ends the worker where it stands, as a crash does.
    pub(super) fn crash(self) {
        self.0.abort();
    }
}

pub(super) async fn rows(hub: &TaskHub) -> Vec<PartitionRow> {
    hub.0.partitions.read().await.unwrap().into_iter().map(|stored| stored.row).collect()
}

pub(super) async fn owned_by(hub: &TaskHub, id: &str) -> usize {
    rows(hub).await.iter().filter(|row| row.is_listening(id)).count()
}

pub(super) async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_beyond_the_grace_period_goes_back_at_once() {
    let account = Account::new();
    let hub = account.hub(1).await;
    let running = Running::start(worker(&hub, "a").grace_period(Duration::from_secs(1)));
    Client::new(&hub).start(DO, 3600).await.unwrap();
    seconds(5).await;
    assert!(running.stop().await < Duration::from_secs(3));
    assert_eq!(account.storage.queues.peek("test-workitems", 32).await.unwrap().len(), 1, "the activity is there for others");
    assert!(rows(&hub).await.iter().all(|row| row.current_owner.is_none()), "no partition waits for its lease to expire");
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_although_storage_is_out() {
    let account = Account::new();
    let faulty = Faulty::new(Faults::default(), Rng::seeded(2));
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let running = Running::start(worker(&hub, "a"));
    Client::new(&hub).start(DO, 3600).await.unwrap();
    seconds(5).await;
    faulty.set_outage(true);
    assert!(running.stop().await < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_joins_gets_its_share_and_gives_it_back_when_it_leaves() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let a = Running::start(worker(&hub, "a"));
    seconds(1).await;
    assert_eq!(owned_by(&hub, "a").await, 4);
    let b = Running::start(worker(&other, "b"));
    seconds(15).await;
    assert_eq!((owned_by(&hub, "a").await, owned_by(&hub, "b").await), (2, 2));
    assert!(b.stop().await < Duration::from_secs(1));
    seconds(3).await;
    assert_eq!(owned_by(&hub, "a").await, 4);
    a.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_costs_no_more_than_the_lease_and_its_margin() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let a = Running::start(worker(&hub, "a"));
    let b = Running::start(worker(&other, "b"));
    seconds(25).await;
    assert_eq!((owned_by(&hub, "a").await, owned_by(&hub, "b").await), (2, 2));
    a.crash();
    seconds(36).await;
    assert_eq!(owned_by(&hub, "b").await, 4);
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_for_the_lease_of_a_dead_one_says_so_at_once_and_once() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let a = Running::start(worker(&hub, "a"));
    seconds(25).await;
    let expires = rows(&hub).await.iter().filter_map(|row| row.expires_at).max().unwrap();
    a.crash();
    let heard = Overheard::default();
    let _hears = heard.listen();
    let b = Running::start(worker(&other, "b"));
    seconds(1).await;
    let waits = || heard.with("this worker has no partition yet");
    let told = waits();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("INFO ") && told[0].contains("owner=a partitions=[0, 1, 2, 3] until="), "{told:?}");
    let until = told[0].split("until=").last().and_then(|time| Timestamp::parse(time.trim_matches('"'))).unwrap();
    assert!(until >= expires && until.since(expires) <= Duration::from_secs(15), "{until} for {expires}");
    tokio::time::sleep(until.since(account.now()) - Duration::from_secs(1)).await;
    assert_eq!(owned_by(&other, "b").await, 0);
    seconds(2).await;
    assert_eq!((owned_by(&other, "b").await, waits()), (4, told));
    let expired = heard.with("the lease of another worker had expired");
    assert!(expired.len() == 4 && expired[0].contains("partition=0 owner=a"), "{expired:?}");
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_under_the_same_id_hands_over_what_others_wait_for() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let a = Running::start(worker(&hub, "a"));
    seconds(1).await;
    a.crash();
    // B asks a worker that is gone for its share, and the worker comes back under its old name.
    let b = Running::start(worker(&other, "b"));
    seconds(1).await;
    assert_eq!(rows(&hub).await.iter().filter(|row| row.next_owner.as_deref() == Some("b")).count(), 2);
    let a = Running::start(worker(&hub, "a"));
    seconds(1).await;
    assert_eq!((owned_by(&hub, "a").await, owned_by(&hub, "b").await), (2, 2));
    a.stop().await;
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn workers_beside_each_other_renew_as_seldom_as_one_alone() {
    let account = Account::new();
    let metered = Metered::default();
    let hub = account.hub_on(account.storage.clone().layered(metered.clone()), 1).await;
    let other = account.hub(2).await;
    let a = Running::start(worker(&hub, "a"));
    let b = Running::start(worker(&other, "b"));
    // After a minute without a turn both are at rest.
    seconds(95).await;
    let before = metered.snapshot();
    seconds(60).await;
    let counts = metered.since(&before);
    assert_eq!((counts.of("table.transact"), counts.of("table.replace")), (4, 0), "{counts}");
    assert!(counts.of("table.query") <= 31, "{counts}");
    a.stop().await;
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_received_while_the_lease_cannot_be_renewed() {
    let account = Account::new();
    let (faulty, metered) = (Faulty::new(Faults::default(), Rng::seeded(2)), Metered::default());
    let storage = account.storage.clone().layered(faulty.clone()).layered(metered.clone());
    let (hub, plain) = (account.hub_on(storage, 1).await, account.hub(2).await);
    let a = Running::start(worker(&hub, "a").max_poll_interval(Duration::from_secs(1)));
    seconds(5).await;
    let out = Arc::new(AtomicBool::new(true));
    let is_out = Arc::clone(&out);
    faulty.on_call(move |call, _, moment| {
        let stuck = moment == Moment::Before && call.target.0 == "TestPartitions" && is_out.load(Ordering::Relaxed);
        if stuck { Verdict::Hang } else { Verdict::Proceed }
    });
    seconds(30).await;
    let id = Client::new(&plain).start(DO, 1).await.unwrap();
    let before = metered.snapshot();
    seconds(60).await;
    let counts = metered.since(&before);
    assert_eq!((counts.of("queue.receive"), counts.of("queue.update")), (0, 0), "{counts}");
    out.store(false, Ordering::Relaxed);
    assert!(Client::new(&plain).wait(&id, Duration::from_secs(30)).await.is_ok(), "the worker goes on");
    a.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_hangs_is_dropped_when_its_partition_is_handed_over() {
    let account = Account::new();
    let faulty = Faulty::new(Faults::default(), Rng::seeded(2));
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let other = account.hub(2).await;
    // Nothing of worker A's history gets through.
    faulty.on_call(|call, _, moment| {
        let stuck = moment == Moment::Before && call.op == "table.transact" && call.target.0 == "TestHistory";
        if stuck { Verdict::Hang } else { Verdict::Proceed }
    });
    let a = Running::start(worker(&hub, "a"));
    let client = Client::new(&other);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(client.start(DO, 0).await.unwrap());
    }
    seconds(5).await;
    let b = Running::start(worker(&other, "b").max_poll_interval(Duration::from_secs(1)));
    assert!(a.stop().await < Duration::from_secs(20));
    // Neither a lease nor a hold is waited for.
    for id in ids {
        client.wait(&id, Duration::from_secs(5)).await.unwrap();
    }
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_leaves_while_it_waits_for_a_partition_leaves_no_request_behind() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let a = Running::start(worker(&hub, "a"));
    seconds(1).await;
    let b = Running::start(worker(&other, "b"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rows(&hub).await.iter().filter(|row| row.next_owner.as_deref() == Some("b")).count(), 2);
    b.stop().await;
    assert!(rows(&hub).await.iter().all(|row| row.next_owner.is_none()), "nobody waits for one who has left");
    seconds(15).await;
    assert_eq!(owned_by(&hub, "a").await, 4);
    a.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_poller_breaks_off_begins_anew() {
    let account = Account::new();
    let faulty = Faulty::new(Faults::default(), Rng::seeded(2));
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let client = Client::new(&hub);
    let a = Running::start(worker(&hub, "a"));
    seconds(5).await;
    faulty.on_call(|call, _, _| {
        assert!(!(call.op == "queue.receive" && call.target.0.contains("control")), "a fault of the worker itself");
        Verdict::Proceed
    });
    seconds(60).await;
    faulty.on_call(|_, _, _| Verdict::Proceed);
    let id = client.start(DO, 1).await.unwrap();
    assert!(client.wait(&id, Duration::from_secs(60)).await.is_ok(), "the partition is read again");
    a.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instances_that_hang_in_one_partition_stop_no_other() {
    let account = Account::new();
    let faulty = Faulty::new(Faults::default(), Rng::seeded(2));
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let plain = account.hub(2).await;
    let client = Client::new(&plain);
    let stuck = |id: &str| partition_of(id, 4) == 0;
    faulty.on_call(move |call, _, moment| {
        let hangs = moment == Moment::Before && call.target.0 == "TestHistory" && call.target.1.is_some_and(stuck);
        if hangs { Verdict::Hang } else { Verdict::Proceed }
    });
    let ids: Vec<_> = (0..400).map(|n| format!("i{n}")).collect();
    for id in ids.iter().filter(|id| stuck(id)) {
        client.start(DO, 0).instance_id(id).await.unwrap();
    }
    let a = Running::start(worker(&hub, "a").max_orchestrations(40));
    seconds(20).await;
    for id in ids.iter().filter(|id| !stuck(id)) {
        client.start(DO, 0).instance_id(id).await.unwrap();
    }
    for id in ids.iter().filter(|id| !stuck(id)) {
        client.wait(id, Duration::from_secs(60)).await.unwrap();
    }
    a.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_table_that_hangs_keeps_no_message_from_going_back() {
    let account = Account::new();
    let faulty = Faulty::new(Faults::default(), Rng::seeded(2));
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let a = Running::start(worker(&hub, "a").max_poll_interval(Duration::from_secs(1)));
    seconds(5).await;
    faulty.on_call(|call, _, moment| {
        let hangs = moment == Moment::Before && ["TestPartitions", "TestHistory"].contains(&call.target.0);
        if hangs { Verdict::Hang } else { Verdict::Proceed }
    });
    Client::new(&account.hub(2).await).start(DO, 0).instance_id("i").await.unwrap();
    seconds(6).await;
    // The drain begins two seconds after the table has stopped to answer, and takes ten.
    assert!(a.stop().await < Duration::from_secs(15));
    let queue = format!("test-control-{:02}", partition_of("i", 4));
    assert_eq!(account.storage.queues.peek(&queue, 32).await.unwrap().len(), 1, "the start is there for others");
}

/// Refuses to change leases, as a revoked role does, and counts how often it was asked.
#[derive(Clone, Default)]
struct Denying {
    on: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Layer for Denying {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> crate::storage::error::Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = crate::storage::error::Result<T>> + Send,
    {
        if self.on.load(Ordering::Relaxed) && call.target.0 == "TestPartitions" && call.class == Class::Once {
            self.asked.fetch_add(1, Ordering::Relaxed);
            return Err(crate::storage::Error::new(crate::storage::ErrorKind::Denied, call.op, call.target.to_string()));
        }
        attempt().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_table_that_refuses_is_asked_once_a_second() {
    let account = Account::new();
    let denying = Denying::default();
    let hub = account.hub_on(account.storage.clone().layered(denying.clone()), 1).await;
    let a = Running::start(worker(&hub, "a"));
    seconds(15).await;
    denying.on.store(true, Ordering::Relaxed);
    seconds(120).await;
    let asked = denying.asked.load(Ordering::Relaxed);
    assert!((100..=125).contains(&asked), "asked {asked} times in two minutes");
    a.stop().await;
}
