//! Workers come, go and change builds between a start and its code: nothing that has its code is kept waiting by what once waited.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::crash_points::{ECHO, TRANSACTIONS, World as Killed, nothing_left, worker};
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{EventKind, RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::{Client, TaskHub, Worker, WorkerBuilder};

const WAIT: Orchestrator<u32, String> = Orchestrator::new("Wait");
const PARENT: Orchestrator<(), String> = Orchestrator::new("Parent");
const GO: Event<String> = Event::new("go");
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

type Build = fn(WorkerBuilder) -> WorkerBuilder;

/// Waits for so many events.
async fn wait(ctx: OrchestrationContext, count: u32) -> Result<String, Failure> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(ctx.wait_for_event(GO).await);
    }
    Ok(all.join(" "))
}

fn old(worker: WorkerBuilder) -> WorkerBuilder {
    worker.orchestrator(WAIT, wait).orchestrator(PARENT, async |ctx: OrchestrationContext, ()| {
        let child = ctx.call(WAIT, 1).version("2.0").instance_id("child");
        ctx.timer(30 * MINUTE).await;
        ctx.send_event("child", GO, "from its parent");
        Ok(child.await?)
    })
}

fn new(worker: WorkerBuilder) -> WorkerBuilder {
    old(worker).orchestrator_version(WAIT, "2.0", wait)
}

struct World {
    clock: Clock,
    storage: Storage,
    partitions: u32,
    client: Client,
}

struct Running(oneshot::Sender<()>, JoinHandle<crate::error::Result<()>>);

impl Running {
    async fn stop(self) {
        drop(self.0);
        self.1.await.unwrap().unwrap();
    }
}

impl World {
    async fn new(partitions: u32) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let storage = Storage::memory(clock.clone(), Rng::seeded(1));
        let hub = Self::open(&clock, &storage, partitions, 2).await;
        Self { clock, storage, partitions, client: Client::new(&hub) }
    }

    async fn open(clock: &Clock, storage: &Storage, partitions: u32, seed: u64) -> TaskHub {
        let builder = TaskHub::builder(storage.clone(), "Test").partitions(partitions);
        builder.clock(clock.clone()).rng(Rng::seeded(seed)).open().await.unwrap()
    }

    /// A worker in a process of its own, with the limits of hubs that others can share.
    async fn run(&self, id: &str, build: Build) -> Running {
        let seed = id.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        let hub = Self::open(&self.clock, &self.storage, self.partitions, seed).await;
        let builder = Worker::builder(&hub).worker_id(id).max_poll_interval(SECOND);
        let worker = build(builder.fail_unhosted_alone_after(10 * MINUTE)).build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Running(stop, spawn(worker.run(async { drop(stopped.await) })))
    }

    async fn has_ended(&self, id: &str) -> bool {
        let history = self.client.history(id).await.unwrap();
        history.iter().any(|event| matches!(event.kind, EventKind::ExecutionCompleted { .. }))
    }

    async fn status(&self, id: &str) -> RuntimeStatus {
        self.client.status(id).await.unwrap().unwrap().status
    }
}

#[allow(clippy::disallowed_methods, reason = "a process of its own, as far as its worker can tell")]
fn spawn(running: impl Future<Output = crate::error::Result<()>> + Send + 'static) -> JoinHandle<crate::error::Result<()>> {
    tokio::spawn(running)
}

/// A canary is taken back: what was started as 2.0 is started again as what every worker has.
#[tokio::test(start_paused = true)]
async fn an_instance_whose_code_is_here_goes_on_where_another_of_its_id_once_waited() {
    let world = World::new(2).await;
    let _old = world.run("a", old).await;
    tokio::time::sleep(MINUTE).await;
    let ids: Vec<_> = (0..12).map(|n| format!("i{n}")).collect();
    for id in &ids {
        world.client.start(WAIT, 1).version("2.0").instance_id(id).await.unwrap();
    }
    tokio::time::sleep(10 * SECOND).await;
    let canary = world.run("b", new).await;
    tokio::time::sleep(40 * SECOND).await;
    let mut moved = Vec::new();
    for id in &ids {
        if world.status(id).await == RuntimeStatus::Running {
            moved.push(id);
        }
    }
    assert!(!moved.is_empty(), "the canary has begun some");
    for id in &moved {
        world.client.terminate(id.as_str(), "the canary is taken back").await.unwrap();
    }
    tokio::time::sleep(3 * SECOND).await;
    for id in &moved {
        assert_eq!(world.status(id).await, RuntimeStatus::Terminated);
        world.client.start(WAIT, 1).instance_id(id.as_str()).replacing([RuntimeStatus::Terminated]).await.unwrap();
    }
    tokio::time::sleep(5 * SECOND).await;
    for id in &moved {
        assert_eq!(world.status(id).await, RuntimeStatus::Running, "the first version runs");
    }
    canary.stop().await;
    tokio::time::sleep(15 * SECOND).await;
    for id in &moved {
        world.client.raise(id.as_str(), GO, &"go".to_owned()).await.unwrap();
    }
    // Where other workers are alive it is a day, and not ten minutes.
    tokio::time::sleep(8 * MINUTE).await;
    let mut stuck = Vec::new();
    for id in &moved {
        if world.status(id).await != RuntimeStatus::Completed {
            stuck.push(id);
        }
    }
    assert!(stuck.is_empty(), "of {moved:?}, whose code every worker has, minutes later still wait: {stuck:?}");
}

/// A new build is deployed, and six minutes after it left a newer one in its place: never was the old worker alone for ten minutes.
#[tokio::test(start_paused = true)]
async fn who_was_not_alone_until_just_now_does_not_fail_what_waits() {
    let world = World::new(1).await;
    let _owner = world.run("owner", old).await;
    tokio::time::sleep(HOUR).await;
    let guest = world.run("guest", new).await;
    tokio::time::sleep(MINUTE).await;
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(6 * MINUTE).await;
    assert_eq!(world.status("i").await, RuntimeStatus::Pending);
    guest.stop().await;
    tokio::time::sleep(6 * MINUTE).await;
    let _guest = world.run("its successor", new).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.status("i").await, RuntimeStatus::Pending, "another worker was there but for six minutes");
}

/// What is to replace an execution tomorrow is no reason to keep its mail from it today.
#[tokio::test(start_paused = true)]
async fn an_execution_gets_its_events_until_a_scheduled_start_replaces_it() {
    for moves in [false, true] {
        let world = World::new(1).await;
        let mut worker = world.run("first", old).await;
        world.client.start(WAIT, 1).instance_id("i").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        let tomorrow = world.client.start(WAIT, 1).instance_id("i").after(24 * HOUR);
        tomorrow.replacing([RuntimeStatus::Running]).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        if moves {
            worker.stop().await;
            worker = world.run("second", old).await;
        }
        tokio::time::sleep(MINUTE).await;
        world.client.raise("i", GO, &"go".to_owned()).await.unwrap();
        tokio::time::sleep(5 * MINUTE).await;
        let ended = world.has_ended("i").await;
        assert!(ended, "moved to another worker: {moves}; the execution has not got its event within five minutes");
        worker.stop().await;
    }
}

const NEWS: Event<(usize, String)> = Event::new("news");
const SEQUENCE: Orchestrator<(usize, Vec<usize>), Vec<usize>> = Orchestrator::new("Deletes");

/// Takes so many events, ten a generation.
async fn sequence(ctx: OrchestrationContext, (count, mut taken): (usize, Vec<usize>)) -> Result<Vec<usize>, Failure> {
    for _ in 0..10.min(count - taken.len()) {
        taken.push(ctx.wait_for_event(NEWS).await.0);
    }
    ctx.call(ECHO, 1).await?;
    if taken.len() == count { Ok(taken) } else { ctx.continue_as_new(SEQUENCE, (count, taken)) }
}

/// The worker dies at a transaction of the continue-as-new: all events are in history since long, in their order. Small events, and behind them events of characters that a row counts as six bytes, and continue-as-new as two.
#[tokio::test(start_paused = true)]
async fn carried_events_of_control_characters_survive_every_torn_checkpoint() {
    let (small, count) = (100, 140);
    let mut lost = Vec::new();
    for k in 5..=8 {
        let world = Killed::new(k);
        let client = Client::new(&world.open(world.storage(), 7).await);
        client.start(SEQUENCE, (count, Vec::new())).instance_id("i").await.unwrap();
        for number in 0..count {
            let text = if number < small { "x".to_owned() } else { "\u{7f}".repeat(30_000) };
            client.raise("i", NEWS, &(number, text)).await.unwrap();
        }
        let was_killed = world
            .kill_at(k, TRANSACTIONS, |hub| worker(hub).orchestrator(SEQUENCE, sequence), tokio::time::sleep(2 * MINUTE))
            .await;
        let hub = world.open(world.storage(), 8).await;
        let ending = async {
            let ended = client.wait("i", 4 * HOUR).await.map(|status| status.output::<Vec<usize>>().unwrap());
            tokio::time::sleep(2 * MINUTE).await;
            let missing = match &ended {
                Ok(taken) if *taken == (0..count).collect::<Vec<_>>() => return,
                Ok(taken) => format!("taken {taken:?}"),
                Err(error) => format!("{error}: {:?}", client.status("i").await.unwrap().map(|s| s.input)),
            };
            lost.push(format!("killed ({was_killed}) after transaction {k}: {missing}"));
        };
        worker(&hub).orchestrator(SEQUENCE, sequence).worker_id("next").run(ending).await.unwrap();
        if lost.is_empty() {
            nothing_left(&world, &client, "the end").await;
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

/// A worker that has left by SIGTERM is not waited for.
#[tokio::test(start_paused = true)]
async fn who_has_left_is_not_there_any_more() {
    let world = World::new(1).await;
    let _owner = world.run("owner", old).await;
    tokio::time::sleep(MINUTE).await;
    let guest = world.run("guest", old).await;
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(5 * MINUTE).await;
    let hub = World::open(&world.clock, &world.storage, 1, 11).await.0;
    assert!(hub.awaited.others_are_present("owner").await.unwrap());
    guest.stop().await;
    assert!(!hub.awaited.others_are_present("owner").await.unwrap(), "its row is still there");
}

/// A start of a version that nobody has is replaced by one of the version that all have, for tomorrow. Until then what runs goes on.
#[tokio::test(start_paused = true)]
async fn a_start_that_waited_and_was_replaced_holds_nothing_up() {
    for waited in [false, true] {
        let world = World::new(2).await;
        let _workers = [world.run("a", old).await, world.run("b", old).await];
        tokio::time::sleep(MINUTE).await;
        world.client.start(WAIT, 1).instance_id("i").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        if waited {
            let start = world.client.start(WAIT, 1).version("2.0").instance_id("i");
            start.replacing([RuntimeStatus::Running]).await.unwrap();
            tokio::time::sleep(10 * SECOND).await;
        }
        let tomorrow = world.client.start(WAIT, 1).instance_id("i").after(72 * HOUR);
        tomorrow.replacing([RuntimeStatus::Running, RuntimeStatus::Pending]).await.unwrap();
        tokio::time::sleep(25 * MINUTE).await;
        world.client.raise("i", GO, &"go".to_owned()).await.unwrap();
        tokio::time::sleep(HOUR).await;
        assert!(
            world.has_ended("i").await,
            "after a start that waited: {waited}; what runs has not got its event within an hour"
        );
    }
}
