//! Events of an instance that go back to their queue, whatever fails: they are taken in order, none is lost or doubled, and none holds up
//! the others for longer than it is away itself.

mod mixtures;
mod orderly;
mod streams;
mod versions;

use std::time::Duration;

use tokio::time::Instant;

use super::handover::{Running, seconds};
use super::harness::worker;
use super::troubled::{ALWAYS, Rule, Trouble, Troubled};
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::hub::QueueId;
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message, Timestamp};
use crate::rng::Rng;
use crate::storage::memory::Memory;
use crate::{Client, TaskHub, WorkerBuilder};

/// Takes so many events; gives the numbers with which they begin.
const TAKE: Orchestrator<usize, Vec<usize>> = Orchestrator::new("Take");
/// Sends that many events to the instance `i`.
const TELL: Orchestrator<usize, ()> = Orchestrator::new("Tell");
const NEWS: Event<String> = Event::new("news");
/// Over the limit of a queue message, and far below a megabyte.
const LARGE: usize = 100_000;

async fn take(ctx: OrchestrationContext, count: usize) -> std::result::Result<Vec<usize>, Failure> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let text = ctx.wait_for_event(NEWS).await;
        taken.push(text.split(' ').next().unwrap_or_default().parse().unwrap());
        ctx.set_custom_status(&taken.len());
    }
    Ok(taken)
}

async fn tell(ctx: OrchestrationContext, count: usize) -> std::result::Result<(), Failure> {
    for number in 0..count {
        ctx.send_event("i", NEWS, number.to_string());
    }
    Ok(())
}

/// A hub of one partition.
pub(super) struct World {
    memory: Memory,
    clock: Clock,
    trouble: Troubled,
    hub: TaskHub,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let builder = TaskHub::builder(memory.storage(), "Test").partitions(1).clock(clock.clone()).rng(Rng::seeded(2));
        let hub = builder.open().await.unwrap();
        let client = Client::new(&hub);
        Self { memory, clock, trouble: Troubled::default(), hub, client }
    }

    async fn worker(&self, id: &str) -> WorkerBuilder {
        let storage = self.memory.storage().layered(self.trouble.clone());
        let builder = TaskHub::builder(storage, "Test").partitions(1).clock(self.clock.clone());
        let hub = builder.rng(Rng::seeded(id.len() as u64)).open().await.unwrap();
        worker(&hub).orchestrator(TAKE, take).orchestrator(TELL, tell).max_poll_interval(Duration::from_secs(1)).worker_id(id)
    }

    async fn run(&self, id: &str) -> Running {
        Running::start(self.worker(id).await)
    }

    async fn start(&self, count: usize) {
        self.client.start(TAKE, count).instance_id("i").await.unwrap();
    }

    /// Sends an event with its number and a body of about this length.
    async fn send(&self, number: usize, length: usize) {
        let text = format!("{number} {}", "x".repeat(length));
        self.client.unchecked().raise("i", NEWS, &text).await.unwrap();
    }

    /// Sends small events one after the other.
    async fn send_all(&self, numbers: std::ops::Range<usize>, pause: Duration) {
        for number in numbers {
            self.send(number, 1).await;
            tokio::time::sleep(pause).await;
        }
    }

    async fn taken(&self) -> usize {
        let status = self.client.status("i").await.unwrap().and_then(|status| status.custom_status);
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    async fn assert_taken_in_order(&self, count: usize) {
        let taken = self.client.wait("i", Duration::from_secs(1200)).await.unwrap().output::<Vec<usize>>().unwrap();
        assert_eq!(taken, (0..count).collect::<Vec<_>>());
    }

    async fn put(&self, message: Message) {
        self.hub.0.queues.send(QueueId::Control(0), message, Duration::ZERO).await.unwrap();
    }
}

fn raised(world: &World, execution: Option<&str>, number: usize) -> Message {
    let input = Some(format!("\"{number} \""));
    let kind = EventKind::EventRaised { name: "news".into(), input, trace: None };
    let target = InstanceRef { instance_id: "i".into(), execution_id: execution.map(Into::into) };
    Message::from_client(world.hub.0.rng.uuid(), HistoryEvent::arriving(world.clock.now(), kind), target)
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_body_cannot_be_read_at_first_is_not_overtaken() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(4).await;
    seconds(3).await;
    world.trouble.set(&[Rule("blob.get", "test-largemessages/i", ALWAYS, Trouble::Fails)]);
    world.send(0, LARGE).await;
    for number in 1..4 {
        world.send(number, 1).await;
        seconds(8).await;
    }
    world.trouble.set(&[]);
    world.assert_taken_in_order(4).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_body_is_read_while_its_worker_stops_is_not_overtaken() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(3).await;
    seconds(3).await;
    world.trouble.set(&[Rule("blob.get", "test-largemessages/i", ALWAYS, Trouble::Takes(Duration::from_millis(1500)))]);
    for (number, length) in [LARGE, 1, 1].into_iter().enumerate() {
        world.send(number, length).await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    running.stop().await;
    world.trouble.set(&[]);
    let running = world.run("bb").await;
    world.assert_taken_in_order(3).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_through_an_outage_of_all_of_storage() {
    for (length, pause) in [(8, 1), (11, 1), (14, 1), (16, 1), (20, 1), (25, 1), (40, 1)] {
        let world = World::new().await;
        let running = world.run("a").await;
        world.start(20).await;
        seconds(3).await;
        // The outage takes the history first, and then everything.
        world.trouble.set(&[Rule("table.", "TestHistory", ALWAYS, Trouble::Fails)]);
        world.send(0, 1).await;
        world.send(1, 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.trouble.set(&[Rule("", "", ALWAYS, Trouble::Fails)]);
        let began = Instant::now();
        let mut number = 2;
        while number < 20 {
            if began.elapsed() > Duration::from_secs(length) {
                world.trouble.set(&[]);
            }
            world.send(number, 1).await;
            seconds(pause).await;
            number += 1;
        }
        world.trouble.set(&[]);
        world.assert_taken_in_order(20).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_handed_back_are_not_overtaken() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(6).await;
    seconds(3).await;
    world.trouble.set(&[
        Rule("table.", "TestHistory", ALWAYS, Trouble::Fails),
        Rule("queue.update", "test-control", ALWAYS, Trouble::Fails),
    ]);
    world.send(0, 1).await;
    world.send(1, 1).await;
    seconds(20).await;
    world.trouble.set(&[]);
    for number in 2..6 {
        world.send(number, 1).await;
        seconds(1).await;
    }
    world.assert_taken_in_order(6).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_though_the_queue_fails_while_the_first_is_away() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(2).await;
    seconds(3).await;
    let history = Rule("table.", "TestHistory", ALWAYS, Trouble::Fails);
    world.trouble.set(&[history]);
    world.send(0, 1).await;
    // Until it is away for eight seconds, of which one and a half are left.
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = world.clock.now();
        let first = world.memory.all_messages().remove("test-control-00").unwrap().remove(0);
        let left = first.visible_on.since(now);
        if first.dequeue_count == 4 && left < Duration::from_millis(1500) && left > Duration::from_millis(1200) {
            break;
        }
    }
    world.trouble.set(&[]);
    world.send(1, 1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.trouble.set(&[Rule("queue.receive", "test-control", ALWAYS, Trouble::Fails)]);
    seconds(16).await;
    world.trouble.set(&[]);
    world.assert_taken_in_order(2).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_an_orchestration_arrive_in_the_order_in_which_it_sent_them() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(5).await;
    seconds(3).await;
    world.trouble.set(&[Rule("queue.put", "test-control", 1, Trouble::Takes(Duration::from_secs(3)))]);
    world.client.start(TELL, 5).await.unwrap();
    world.assert_taken_in_order(5).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_an_orchestration_of_which_the_first_is_throttled_arrive_in_order() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(5).await;
    seconds(3).await;
    world.client.start(TELL, 5).await.unwrap();
    world.trouble.set(&[Rule("queue.put", "test-control", 1, Trouble::Fails)]);
    world.assert_taken_in_order(5).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_dotnet_holds_up_no_event() {
    for pause in [1, 7, 13] {
        let world = World::new().await;
        let running = world.run("a").await;
        world.start(8).await;
        seconds(3).await;
        let rewind = raised(&world, None, 0).to_json();
        let rewind = rewind.replace("EventRaisedEvent", "ExecutionRewoundEvent").replace("\"EventType\":15", "\"EventType\":21");
        let hub = &world.hub.0;
        hub.storage.queues.put(hub.queues.name(QueueId::Control(0)), &rewind, Duration::ZERO).await.unwrap();
        seconds(2).await;
        for number in 0..8 {
            world.send(number, 1).await;
            seconds(pause).await;
        }
        let sent = Instant::now();
        let ended = world.client.wait("i", Duration::from_secs(3600)).await;
        assert!(ended.is_ok(), "an hour later it has taken {} of 8", world.taken().await);
        assert!(sent.elapsed() < Duration::from_secs(30), "{:?}", sent.elapsed());
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_for_an_unknown_execution_holds_up_no_other() {
    let mut worst = Duration::ZERO;
    for after in 0..20 {
        let world = World::new().await;
        let running = world.run("a").await;
        world.start(4).await;
        seconds(3).await;
        world.put(raised(&world, Some("00000000000000000000000000000001"), 77)).await;
        tokio::time::sleep(Duration::from_millis(after * 1300 + 300)).await;
        let sent = Instant::now();
        for number in 0..4 {
            world.send(number, 1).await;
        }
        world.assert_taken_in_order(4).await;
        worst = worst.max(sent.elapsed());
        running.stop().await;
    }
    assert!(worst < Duration::from_secs(5), "{worst:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_message_is_deleted_and_whose_blob_is_not_holds_up_no_other() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(6).await;
    seconds(3).await;
    world.trouble.set(&[Rule("blob.delete", "test-largemessages/i", ALWAYS, Trouble::Fails)]);
    world.send(0, LARGE).await;
    seconds(20).await;
    let mut worst = 0;
    for number in 1..6 {
        world.send(number, 1).await;
        let mut waited = 0;
        while world.taken().await <= number && waited < 120 {
            seconds(1).await;
            waited += 1;
        }
        worst = worst.max(waited);
    }
    running.stop().await;
    assert!(worst < 5, "{worst} s");
}

#[tokio::test(start_paused = true)]
async fn twins_of_events_that_are_away_are_taken_once_and_in_order() {
    for lost in [1, 2, 3] {
        let world = World::new().await;
        let running = world.run("a").await;
        world.start(8).await;
        seconds(3).await;
        world.client.start(TELL, 3).await.unwrap();
        world.trouble.set(&[
            Rule("queue.put", "test-control", lost, Trouble::Lost),
            Rule("table.", "TestHistory/i", ALWAYS, Trouble::Fails),
        ]);
        seconds(9).await;
        for number in 3..8 {
            world.send(number, 1).await;
            seconds(1).await;
        }
        world.trouble.set(&[]);
        world.assert_taken_in_order(8).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_lost_and_taken_again_keeps_the_order() {
    for length in [20, 40, 70] {
        let world = World::new().await;
        let running = world.run("a").await;
        world.start(60).await;
        seconds(3).await;
        let sending = async {
            for number in 0..60 {
                world.send(number, 1).await;
                seconds(2).await;
            }
        };
        let troubling = async {
            seconds(7).await;
            world.trouble.set(&[
                Rule("table.", "TestPartitions", ALWAYS, Trouble::Fails),
                Rule("table.transact", "TestHistory", ALWAYS, Trouble::Takes(Duration::from_secs(3))),
            ]);
            seconds(length).await;
            world.trouble.set(&[]);
        };
        tokio::join!(sending, troubling);
        world.assert_taken_in_order(60).await;
        running.stop().await;
    }
}
