//! Events go back to their queue while their instance waits for its start, while storage fails, while memory is short and when a
//! worker stops. They are taken in the order in which they were sent all the same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::handover::{Running, seconds};
use super::harness::worker;
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message, Timestamp};
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::layer::{Call, Layer, Reply};
use crate::storage::memory::Memory;
use crate::{Client, TaskHub, WorkerBuilder};

const TAKE: Orchestrator<usize, Vec<usize>> = Orchestrator::new("Take");
const NEWS: Event<usize> = Event::new("news");

async fn take(ctx: OrchestrationContext, count: usize) -> std::result::Result<Vec<usize>, Failure> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(ctx.wait_for_event(NEWS).await);
    }
    Ok(taken)
}

/// What is wrong with the history of the instance `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Every call fails at once.
    Fails,
    /// A write does not answer.
    Hangs,
    /// A write takes half a second.
    Slow,
}

/// Storage whose history is in trouble when it is told so.
#[derive(Clone, Debug)]
struct Troubled(Arc<Mutex<Trouble>>);

impl Troubled {
    fn set(&self, trouble: Trouble) {
        *self.0.lock().unwrap() = trouble;
    }

    fn is(&self, trouble: Trouble, call: &Call<'_>) -> bool {
        *self.0.lock().unwrap() == trouble && call.target.to_string().starts_with("TestHistory")
    }
}

impl Layer for Troubled {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        while call.op == "table.transact" && self.is(Trouble::Hangs, call) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if call.op == "table.transact" && self.is(Trouble::Slow, call) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if self.is(Trouble::Fails, call) {
            return Err(Error::new(ErrorKind::Transient, call.op, call.target.to_string()));
        }
        attempt().await
    }
}

/// A hub of one partition.
struct World {
    memory: Memory,
    clock: Clock,
    trouble: Troubled,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let trouble = Troubled(Arc::new(Mutex::new(Trouble::None)));
        let builder = TaskHub::builder(memory.storage(), "Test").partitions(1).clock(clock.clone()).rng(Rng::seeded(2));
        let client = Client::new(&builder.open().await.unwrap());
        Self { memory, clock, trouble, client }
    }

    async fn worker(&self, id: &str) -> WorkerBuilder {
        let storage = self.memory.storage().layered(self.trouble.clone());
        let builder = TaskHub::builder(storage, "Test").partitions(1).clock(self.clock.clone());
        let hub = builder.rng(Rng::seeded(id.len() as u64)).open().await.unwrap();
        worker(&hub).orchestrator(TAKE, take).max_poll_interval(Duration::from_secs(1)).worker_id(id)
    }

    async fn run(&self, id: &str) -> Running {
        Running::start(self.worker(id).await)
    }

    /// Sends events one after the other.
    async fn send(&self, numbers: std::ops::Range<usize>, pause: Duration) {
        for number in numbers {
            self.client.raise("i", NEWS, &number).await.unwrap();
            tokio::time::sleep(pause).await;
        }
    }

    async fn assert_taken_in_order(&self, count: usize) {
        let taken = self.client.wait("i", Duration::from_secs(600)).await.unwrap().output::<Vec<usize>>().unwrap();
        assert_eq!(taken, (0..count).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn events_for_an_instance_that_is_scheduled_are_taken_in_order() {
    for pause in [0, 300, 1700, 5100] {
        let world = World::new().await;
        let at = world.clock.now().plus(Duration::from_secs(70));
        let running = world.run("a").await;
        world.client.start(TAKE, 12).instance_id("i").at(at).await.unwrap();
        world.send(0..12, Duration::from_millis(pause)).await;
        world.assert_taken_in_order(12).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_through_an_outage() {
    for pause in [100, 900, 2300] {
        let world = World::new().await;
        let running = world.run("a").await;
        world.client.start(TAKE, 60).instance_id("i").await.unwrap();
        world.send(0..20, Duration::from_millis(pause)).await;
        world.trouble.set(Trouble::Fails);
        world.send(20..40, Duration::from_millis(pause)).await;
        world.trouble.set(Trouble::None);
        world.send(40..60, Duration::from_millis(pause)).await;
        world.assert_taken_in_order(60).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_outage_is_one_back_off_of_the_instance() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.client.start(TAKE, 4).instance_id("i").await.unwrap();
    seconds(5).await;
    world.trouble.set(Trouble::Fails);
    world.send(0..4, Duration::from_secs(20)).await;
    world.trouble.set(Trouble::None);
    // The first has been tried for 80 seconds, so all of them are back within 64.
    let ended = Instant::now();
    world.assert_taken_in_order(4).await;
    assert!(ended.elapsed() < Duration::from_secs(66), "{:?}", ended.elapsed());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_although_memory_is_short() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.client.start(TAKE, 900).instance_id("i").await.unwrap();
    seconds(2).await;
    world.trouble.set(Trouble::Hangs);
    world.send(0..600, Duration::from_millis(7)).await;
    seconds(20).await;
    world.trouble.set(Trouble::None);
    world.send(600..900, Duration::from_millis(7)).await;
    world.assert_taken_in_order(900).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_although_their_worker_stops() {
    for pause in [3, 40] {
        let world = World::new().await;
        world.trouble.set(Trouble::Slow);
        world.client.start(TAKE, 400).instance_id("i").await.unwrap();
        let mut running = world.run("a").await;
        let replacing = async {
            for id in ["bb", "ccc", "dddd"] {
                tokio::time::sleep(Duration::from_millis(411)).await;
                let next = world.run(id).await;
                std::mem::replace(&mut running, next).stop().await;
            }
        };
        tokio::join!(world.send(0..400, Duration::from_millis(pause)), replacing);
        world.assert_taken_in_order(400).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_for_an_execution_that_nobody_knows_holds_nothing_up() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.client.start(TAKE, 2).instance_id("i").await.unwrap();
    seconds(1).await;
    let raised = EventKind::EventRaised { name: "news".to_owned(), input: Some("7".to_owned()), trace: None };
    let event = HistoryEvent::arriving(world.clock.now(), raised);
    let stray = Message::from_client(Rng::seeded(9).uuid(), event, InstanceRef::new("i", "unheard-of"));
    world.client.put(stray).await.unwrap();
    seconds(4).await;
    let sent = Instant::now();
    world.send(0..2, Duration::ZERO).await;
    world.assert_taken_in_order(2).await;
    assert!(sent.elapsed() < Duration::from_secs(3), "{:?}", sent.elapsed());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_termination_does_not_wait_for_events_that_are_away() {
    let world = World::new().await;
    let running = world.run("a").await;
    let at = world.clock.now().plus(Duration::from_secs(3600));
    world.client.start(TAKE, 2).instance_id("i").at(at).await.unwrap();
    world.send(0..1, Duration::from_secs(40)).await;
    let told = Instant::now();
    world.client.terminate("i", "no need").await.unwrap();
    assert!(world.client.wait("i", Duration::from_secs(600)).await.unwrap().status.is_terminal());
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    running.stop().await;
}
