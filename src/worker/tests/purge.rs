//! Purging: cut off at every call, beside whoever starts the id again, among ids that look alike, and with children.

mod many;
mod odd_ids;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, try_join_all};

use super::harness::open;
use crate::authoring::{Activity, ActivityContext, Event, Orchestrator};
use crate::clock::Clock;
use crate::hub::instances::Culprit;
use crate::hub::{Purged, keys};
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::size;
use crate::storage;
use crate::storage::layer::faulty::{Faults, Faulty};
use crate::storage::layer::{Call, Layer, Reply};
use crate::storage::memory::Memory;
use crate::storage::memory::dump::Dump;
use crate::{Client, ErrorKind, TaskHub, Worker, WorkerBuilder};

const ECHO: Activity<u32, u32> = Activity::new("Echo");
const FAN: Orchestrator<(u32, String), u32> = Orchestrator::new("Fan");
/// Waits for an event; gives the sizes of input and event.
const WAIT: Orchestrator<String, usize> = Orchestrator::new("Wait");
const PARENT: Orchestrator<(String, String), usize> = Orchestrator::new("Parent");
const GO: Event<String> = Event::new("go");
const LARGE: usize = 100_000;
const MINUTE: Duration = Duration::from_secs(60);

fn worker(hub: &TaskHub) -> WorkerBuilder {
    Worker::builder(hub)
        .poison_after(3)
        .max_poll_interval(Duration::from_secs(1))
        .activity(ECHO, async |_: ActivityContext, n: u32| Ok(n))
        .orchestrator(FAN, async |ctx, (width, _): (u32, String)| {
            Ok(try_join_all((0..width).map(|n| ctx.call(ECHO, n))).await?.iter().sum())
        })
        .orchestrator(WAIT, async |ctx, input: String| Ok(input.len() + ctx.wait_for_event(GO).await.len()))
        .orchestrator(PARENT, async |ctx, (child, payload): (String, String)| {
            let running = ctx.call(WAIT, &payload).instance_id(&child);
            ctx.send_event(&child, GO, "go");
            Ok(running.await?)
        })
}

struct World {
    memory: Memory,
    clock: Clock,
    hub: TaskHub,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        Self::of(Memory::new(clock.clone(), Rng::seeded(1)), clock).await
    }

    /// What another world was.
    async fn like(dump: &Dump) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-02T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(2));
        memory.load(dump);
        Self::of(memory, clock).await
    }

    async fn of(memory: Memory, clock: Clock) -> Self {
        let hub = open(memory.storage(), &clock, 1, 7).await;
        memory.set_page_limit(50);
        Self { client: Client::new(&hub), memory, clock, hub }
    }

    /// The same hub by calls that a layer sees.
    async fn through(&self, layer: impl Layer, seed: u64) -> TaskHub {
        open(self.memory.storage().layered(layer), &self.clock, 1, seed).await
    }

    async fn work<T>(&self, acting: impl Future<Output = T>) -> T {
        beside(worker(&self.hub), acting).await
    }

    /// Rows and blobs of this instance, whose id needs no escape.
    fn left_of(&self, id: &str) -> Vec<String> {
        let tables = ["TestHistory", "TestInstances"].map(|table| self.memory.partition_rows(table, &keys::escape(id)));
        let rows = tables.into_iter().flatten().map(|row| format!("row {}", row.entity.row_key));
        let blobs = self.memory.all_blobs().remove("test-largemessages").unwrap_or_default().into_keys();
        rows.chain(blobs.filter(|name| name.starts_with(&format!("{id}/")))).collect()
    }

    async fn nothing_is_parked(&self, at: &str) {
        let parked = self.client.poison().await.unwrap();
        assert!(parked.is_empty(), "{at}: {parked:?}");
    }

    /// An instance that waits gets its event, and ends as if nothing had been.
    async fn finish(&self, id: &str, input: usize, at: &str) {
        self.work(async {
            self.client.unchecked().raise(id, GO, &"x".repeat(LARGE)).await.unwrap();
            let ended = self.client.wait(id, 10 * MINUTE).await.unwrap();
            assert_eq!(ended.output.as_deref(), Some(&*(input + LARGE).to_string()), "{at}: {:?}", ended.status);
        })
        .await;
        self.nothing_is_parked(at).await;
    }

    async fn purge_to_the_last(&self, id: &str, at: &str) {
        let report = self.client.instance(id).purge().await.unwrap();
        assert!(report.is_complete && report.instances == 1, "{at}: {report:?}");
        assert_eq!(self.left_of(id), [""; 0], "{at}");
    }
}

async fn beside<T>(worker: WorkerBuilder, acting: impl Future<Output = T>) -> T {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = worker.run(async { drop(stopped.await) });
    let acting = async {
        let result = acting.await;
        drop(stop);
        result
    };
    let (ran, result) = tokio::join!(running, acting);
    ran.unwrap();
    result
}

/// A hub in which `i` has ended in one of the ways that leave something, beside a neighbour.
async fn ended(how: usize) -> Dump {
    let world = World::new().await;
    let client = &world.client;
    client.start(WAIT, "n".repeat(LARGE)).instance_id("i2").await.unwrap();
    world
        .work(async {
            match how {
                0 => drop(client.start(FAN, (120, "i".repeat(LARGE))).instance_id("i").await.unwrap()),
                1 => drop(client.start(FAN, (2, String::new())).instance_id("i").await.unwrap()),
                _ => {
                    client.start(WAIT, "i".repeat(LARGE)).after(60 * MINUTE).instance_id("i").await.unwrap();
                    client.instance("i").terminate("not now").await.unwrap();
                }
            }
            client.wait("i", 10 * MINUTE).await.unwrap();
            tokio::time::sleep(MINUTE).await;
        })
        .await;
    assert!(world.left_of("i").len() > [240, 10, 2, 2][how], "{:?}", world.left_of("i"));
    let mut dump = world.memory.dump();
    if how == 3 {
        // As .NET leaves what it terminates before its start: nothing is fenced.
        dump.tables.get_mut("TestHistory").unwrap().retain(|row| row.entity.partition_key != "i");
    }
    dump
}

/// Stops a purge behind its `k`-th call. `false` if it did not make as many.
async fn is_cut_off(world: &World, k: u64) -> bool {
    let faulty = Faulty::new(Faults::default(), Rng::seeded(3));
    let hub = world.through(faulty.clone(), 8).await;
    let killed = faulty.dies_behind(k, |_| true);
    tokio::select! {
        biased;
        () = killed.notified() => true,
        purged = hub.0.purge("i") => {
            assert!(matches!(purged, Ok(Purged::Gone(_))), "{purged:?}");
            false
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_is_cut_off_at_any_call_is_finished_by_the_next_and_an_instance_that_comes_between_runs() {
    for how in 0..3 {
        let dump = ended(how).await;
        for k in 1.. {
            let at = format!("way {how}, cut off behind call {k}");
            let world = World::like(&dump).await;
            let neighbour = world.left_of("i2");
            let was_cut_off = is_cut_off(&world, k).await;
            let between = world.memory.dump();
            // A late message finds nobody, and wakes nobody.
            world.client.unchecked().raise("i", GO, &"late".repeat(LARGE)).await.unwrap();
            world.work(tokio::time::sleep(10 * MINUTE)).await;
            world.nothing_is_parked(&at).await;
            let status = world.client.status("i").await.unwrap();
            assert!(status.as_ref().is_none_or(|i| i.status.is_terminal()), "{at}: {status:?}");
            if status.is_some() {
                world.purge_to_the_last("i", &at).await;
            }
            let left = world.left_of("i");
            assert!(left.is_empty(), "{at}: {left:?}");
            assert_eq!(world.left_of("i2"), neighbour, "{at}");

            let world = World::like(&between).await;
            world.client.start(WAIT, "again".repeat(LARGE)).instance_id("i").await.unwrap();
            world.finish("i", 5 * LARGE, &at).await;
            world.purge_to_the_last("i", &at).await;
            if !was_cut_off {
                assert!(k > [12, 5, 5][how], "only {k} calls");
                break;
            }
        }
    }
}

type Act = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Does something before one of the calls.
#[derive(Clone)]
pub(super) struct Between {
    calls: Arc<AtomicU64>,
    at: u64,
    act: Act,
}

impl Between {
    pub(super) fn new(at: u64, act: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self { calls: Arc::new(AtomicU64::new(u64::MAX / 2)), at, act: Arc::new(act) }
    }

    /// The next call is the first.
    pub(super) fn count(&self) {
        self.calls.store(0, SeqCst);
    }

    pub(super) fn has_acted(&self) -> bool {
        self.calls.load(SeqCst) >= self.at
    }
}

impl Layer for Between {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> storage::error::Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = storage::error::Result<T>> + Send,
    {
        // Polls come whether or not anything happens.
        let counts = !matches!(call.op, "queue.get" | "queue.receive" | "queue.peek" | "queue.count")
            && !call.target.0.ends_with("Partitions");
        if counts && self.calls.fetch_add(1, SeqCst) + 1 == self.at {
            (self.act)().await;
        }
        attempt().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_started_at_any_call_of_a_purge_loses_nothing() {
    for how in 0..3 {
        let dump = ended(how).await;
        for begins in [false, true] {
            for k in (1..).step_by(size::of(5, 1)) {
                let at = format!("way {how}, started before call {k}, begins: {begins}");
                let world = World::like(&dump).await;
                let hub = world.hub.clone();
                let between = Between::new(k, move || {
                    let hub = hub.clone();
                    async move {
                        let client = Client::new(&hub);
                        client.start(WAIT, "again".repeat(LARGE)).tag("large", "t".repeat(LARGE)).instance_id("i").await.unwrap();
                        if begins {
                            beside(worker(&hub), tokio::time::sleep(Duration::from_secs(5))).await;
                            assert_eq!(client.status("i").await.unwrap().unwrap().status, RuntimeStatus::Running);
                        }
                    }
                    .boxed()
                });
                let purging = world.through(between.clone(), 9).await;
                between.count();
                let purged = purging.0.purge("i").await.unwrap();
                if !between.has_acted() {
                    assert!(k > [12, 5, 5][how], "only {k} calls");
                    break;
                }
                let is_there = world.client.status("i").await.unwrap().is_some_and(|i| !i.status.is_terminal());
                assert!(is_there, "{at}: {purged:?}");
                world.finish("i", 5 * LARGE, &at).await;
                world.purge_to_the_last("i", &at).await;
            }
        }
    }
}

/// Purges `id` whatever comes of it.
fn purging(hub: TaskHub, id: &'static str) -> impl Fn() -> BoxFuture<'static, ()> {
    move || {
        let hub = hub.clone();
        async move { assert!(hub.0.purge(id).await.is_ok()) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_at_any_call_of_a_start_costs_the_start_nothing_but_another_try() {
    for how in 0..3 {
        let dump = ended(how).await;
        for k in 1.. {
            let at = format!("way {how}, purged before call {k}");
            let world = World::like(&dump).await;
            let between = Between::new(k, purging(world.hub.clone(), "i"));
            let client = Client::new(&world.through(between.clone(), 9).await);
            between.count();
            let start = || async { client.start(WAIT, "again".repeat(LARGE)).instance_id("i").await };
            match start().await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => drop(start().await.unwrap()),
                started => drop(started.unwrap()),
            }
            if !between.has_acted() {
                assert!(k > 4, "only {k} calls");
                break;
            }
            world.finish("i", 5 * LARGE, &at).await;
            world.purge_to_the_last("i", &at).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_at_any_call_of_a_worker_costs_neither_the_child_that_has_the_id_again_nor_its_parent_anything() {
    for how in 0..4 {
        let dump = ended(how).await;
        for k in (1..).step_by(size::of(if how == 3 { 5 } else { 13 }, 1)) {
            let at = format!("way {how}, purged before call {k}");
            let world = World::like(&dump).await;
            let between = Between::new(k, purging(world.hub.clone(), "i"));
            let hub = world.through(between.clone(), 9).await;
            world.client.start(PARENT, ("i".to_owned(), "again".repeat(LARGE))).instance_id("p").await.unwrap();
            let parent = beside(worker(&hub), async {
                between.count();
                let ended = world.client.wait("p", 60 * MINUTE).await.unwrap();
                let has_acted = between.has_acted();
                tokio::time::sleep(MINUTE).await;
                (ended, has_acted)
            });
            let (parent, has_acted) = parent.await;
            assert_eq!(parent.output.as_deref(), Some(&*(5 * LARGE + 2).to_string()), "{at}: {:?}", parent.status);
            world.nothing_is_parked(&at).await;
            // Whatever it refers to is there.
            world.client.history("i").await.unwrap();
            if world.client.status("i").await.unwrap().is_some() {
                world.purge_to_the_last("i", &at).await;
            }
            assert_eq!(world.left_of("i"), [""; 0], "{at}");
            if !has_acted {
                assert!(k > 20, "only {k} calls");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_is_not_purged_in_whatever_status_it_shows() {
    let world = World::new().await;
    let kind = async |id: &str| world.client.instance(id).purge().await.unwrap_err().kind();
    world.client.start(WAIT, "x".repeat(LARGE)).instance_id("i").await.unwrap();
    assert_eq!(kind("i").await, ErrorKind::Open, "pending");
    world.work(tokio::time::sleep(Duration::from_secs(5))).await;
    assert_eq!(kind("i").await, ErrorKind::Open, "running");
    world.hub.0.instances.show_as_failed(Culprit::Any("i"), "a message of it is parked").await.unwrap();
    assert_eq!(world.client.status("i").await.unwrap().unwrap().status, RuntimeStatus::Failed);
    assert_eq!(kind("i").await, ErrorKind::Open, "shown as failed");
    assert_eq!(
        (kind("nobody").await, kind("@counter@a").await, kind("").await),
        (ErrorKind::NotFound, ErrorKind::Invalid, ErrorKind::Invalid)
    );
    world.client.raise("i", GO, &"x".repeat(LARGE)).await.unwrap();
    world.work(tokio::time::sleep(MINUTE)).await;
    assert_eq!(world.client.status("i").await.unwrap().unwrap().output, Some((2 * LARGE).to_string()));
    world.purge_to_the_last("i", "ended").await;
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_purged_instance_whose_body_is_gone_is_dropped_and_not_parked() {
    let world = World::new().await;
    world.client.start(WAIT, String::new()).instance_id("i").await.unwrap();
    world.finish("i", 0, "first").await;
    world.client.unchecked().raise("i", GO, &"x".repeat(LARGE)).await.unwrap();
    world.purge_to_the_last("i", "with the body of a message that waits").await;
    assert_eq!(world.memory.all_messages()["test-control-00"].len(), 1);
    world.work(tokio::time::sleep(10 * MINUTE)).await;
    world.nothing_is_parked("purged").await;
    assert_eq!(world.memory.all_messages()["test-control-00"], []);
}
