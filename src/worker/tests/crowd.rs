//! Messages in memory: one that hangs, lasts, comes again or is too large harms no other, on the memory store under paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::time::Instant;

use super::handover::{Running, seconds};
use super::troubled::{ALWAYS, Rule, Trouble, Troubled};
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::layer::metered::Metered;
use crate::storage::memory::Memory;
use crate::{Client, TaskHub, Worker};

const SIZES: Orchestrator<usize, Vec<usize>> = Orchestrator::new("Sizes");
const MEASURE: Orchestrator<usize, usize> = Orchestrator::new("Measure");
const LENGTH: Activity<String, usize> = Activity::new("Length");
const GO: Event<String> = Event::new("go");
const QUEUE: &str = "test-control-00";
const LARGE: usize = 100_000;

/// Takes that many events; gives their sizes in the order in which they came.
async fn sizes(ctx: OrchestrationContext, count: usize) -> std::result::Result<Vec<usize>, Failure> {
    let mut sizes = Vec::new();
    for _ in 0..count {
        sizes.push(ctx.wait_for_event(GO).await.len());
    }
    Ok(sizes)
}

async fn measure(ctx: OrchestrationContext, length: usize) -> std::result::Result<usize, Failure> {
    Ok(ctx.call(LENGTH, "x".repeat(length)).await?)
}

/// A hub of one partition with a worker on it.
struct World {
    memory: Memory,
    clock: Clock,
    trouble: Troubled,
    metered: Metered,
    client: Client,
    worker: Running,
    /// Most activities at once, and how many have run.
    most: Arc<AtomicUsize>,
    ran: Arc<AtomicUsize>,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let (memory, trouble) = (Memory::new(clock.clone(), Rng::seeded(1)), Troubled::default());
        let metered = Metered::default();
        let storage = memory.storage().layered(metered.clone()).layered(trouble.clone());
        let open = |storage| TaskHub::builder(storage, "Test").partitions(1).clock(clock.clone()).rng(Rng::seeded(2)).open();
        let client = Client::new(&open(memory.storage()).await.unwrap());
        let (most, ran, now) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let (counted, count) = (Arc::clone(&most), Arc::clone(&ran));
        let length = move |_: ActivityContext, text: String| {
            let (now, counted, count) = (Arc::clone(&now), Arc::clone(&counted), Arc::clone(&count));
            async move {
                counted.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(Duration::from_secs(if text.is_empty() { 100 } else { 0 })).await;
                now.fetch_sub(1, SeqCst);
                count.fetch_add(1, SeqCst);
                Ok(text.len())
            }
        };
        let worker = Worker::builder(&open(storage).await.unwrap()).activity(LENGTH, length);
        let worker = worker.orchestrator(SIZES, sizes).orchestrator(MEASURE, measure);
        let worker = Running::start(worker.max_poll_interval(Duration::from_secs(1)));
        seconds(1).await;
        Self { memory, clock, trouble, metered, client, worker, most, ran }
    }

    async fn start(&self, id: &str, count: usize) {
        self.client.start(SIZES, count).instance_id(id).await.unwrap();
        seconds(2).await;
    }

    async fn raise(&self, id: &str, length: usize) {
        self.client.unchecked().raise(id, GO, &"x".repeat(length)).await.unwrap();
    }

    async fn sizes(&self, id: &str, within: u64) -> Vec<usize> {
        self.client.wait(id, Duration::from_secs(within)).await.unwrap().output().unwrap()
    }

    /// How long a new instance takes from its start to its end.
    async fn healthy(&self, id: &str) -> Duration {
        let begun = Instant::now();
        self.client.start(SIZES, 0).instance_id(id).await.unwrap();
        self.client.wait(id, Duration::from_secs(300)).await.unwrap();
        begun.elapsed()
    }

    /// Stops in an orderly way: nothing is left hidden from others. How long it took.
    async fn stop(self) -> Duration {
        let took = self.worker.stop().await;
        let now = self.clock.now();
        for (queue, messages) in self.memory.all_messages() {
            let hidden: Vec<_> = messages.iter().filter(|message| message.visible_on > now).map(|message| &message.id).collect();
            assert!(hidden.is_empty(), "{queue}: {hidden:?}");
        }
        took
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_does_not_answer_stalls_only_its_instance() {
    let world = World::new().await;
    world.start("stalled", 4).await;
    world.trouble.set(&[Rule("blob.get", "test-largemessages/stalled", ALWAYS, Trouble::Hangs)]);
    for length in [LARGE, 1, LARGE + 1, 2] {
        world.raise("stalled", length).await;
    }
    for n in 0..10 {
        let took = world.healthy(&format!("healthy-{n}")).await;
        assert!(took < Duration::from_secs(3), "{took:?}");
        seconds(20).await;
    }
    let waiting = world.memory.all_messages().remove(QUEUE).unwrap();
    assert!(waiting.len() == 4 && waiting.iter().all(|message| message.dequeue_count == 1), "they are kept: {waiting:?}");
    world.trouble.set(&[]);
    assert_eq!(world.sizes("stalled", 10).await, [LARGE, 1, LARGE + 1, 2], "in the order of their sender");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn blobs_that_do_not_answer_stall_neither_large_messages_of_others_nor_a_stop() {
    let world = World::new().await;
    world.start("healthy", 4).await;
    world.trouble.set(&[Rule("blob.get", "test-largemessages/stalled", ALWAYS, Trouble::Hangs)]);
    for n in 0..20 {
        world.raise(&format!("stalled-{n}"), LARGE).await;
    }
    for length in LARGE..LARGE + 4 {
        let begun = Instant::now();
        let receives = world.metered.snapshot().of("blob.get");
        world.raise("healthy", length).await;
        while world.metered.snapshot().of("blob.get") == receives {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // At most one poll of an idle queue.
        assert!(begun.elapsed() <= Duration::from_millis(1100), "{:?}", begun.elapsed());
        seconds(1).await;
    }
    assert_eq!(world.sizes("healthy", 5).await, [LARGE, LARGE + 1, LARGE + 2, LARGE + 3]);
    assert!(world.stop().await < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_come_slowly_do_not_outlast_their_hold() {
    let world = World::new().await;
    for n in 0..40 {
        world.client.start(SIZES, 1).instance_id(format!("i{n}")).await.unwrap();
    }
    seconds(5).await;
    world.trouble.set(&[Rule("blob.get", "test-largemessages/i", ALWAYS, Trouble::Takes(Duration::from_secs(5)))]);
    let begun = Instant::now();
    for n in 0..40 {
        world.raise(&format!("i{n}"), LARGE).await;
    }
    for n in 0..40 {
        assert_eq!(world.sizes(&format!("i{n}"), 60).await, [LARGE]);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_turn_hangs_does_not_take_the_places_of_others() {
    let world = World::new().await;
    world.start("stuck", 1000).await;
    world.trouble.set(&[Rule("table.transact", "TestHistory/stuck", ALWAYS, Trouble::Hangs)]);
    for _ in 0..1000 {
        world.raise("stuck", 1).await;
    }
    for n in 0..20 {
        let took = world.healthy(&format!("healthy-{n}")).await;
        assert!(took < Duration::from_secs(5), "{n}: {took:?}");
    }
    world.trouble.set(&[]);
    assert_eq!(world.sizes("stuck", 120).await.len(), 1000);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn large_bodies_of_an_instance_whose_turn_hangs_leave_room_for_those_of_others() {
    let world = World::new().await;
    for id in ["stuck", "healthy"] {
        world.start(id, 3).await;
    }
    world.trouble.set(&[Rule("table.transact", "TestHistory/stuck", ALWAYS, Trouble::Hangs)]);
    for _ in 0..70 {
        world.raise("stuck", 1_000_000).await;
    }
    seconds(5).await;
    for length in 1_000_000..1_000_003 {
        world.raise("healthy", length).await;
    }
    assert_eq!(world.sizes("healthy", 10).await.len(), 3);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_larger_than_the_first_try_is_read_when_there_is_room() {
    let world = World::new().await;
    world.start("i", 2).await;
    let before = world.metered.snapshot();
    world.raise("i", 9_000_000).await;
    world.raise("i", LARGE).await;
    let mut sizes = world.sizes("i", 60).await;
    sizes.sort_unstable();
    assert_eq!(sizes, [LARGE, 9_000_000]);
    // Three tries of the one, one of the other.
    assert!(world.metered.since(&before).of("blob.get") >= 4);
    world.client.start(MEASURE, 3_000_000).instance_id("m").await.unwrap();
    assert_eq!(world.client.wait("m", Duration::from_secs(60)).await.unwrap().output::<usize>().unwrap(), 3_000_000);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_work_item_that_comes_again_while_it_runs_runs_once() {
    let world = World::new().await;
    world.trouble.set(&[Rule("queue.update", "test-workitems", ALWAYS, Trouble::Fails)]);
    world.client.start(MEASURE, 0).instance_id("i").await.unwrap();
    seconds(90).await;
    let received = world.memory.all_messages()["test-workitems"][0].dequeue_count;
    assert!(received >= 2, "its hold ended {received} times");
    assert_eq!(world.client.wait("i", Duration::from_secs(60)).await.unwrap().output::<usize>().unwrap(), 0);
    seconds(60).await;
    assert_eq!((world.most.load(SeqCst), world.ran.load(SeqCst)), (1, 1));
    assert!(world.memory.all_messages()["test-workitems"].is_empty(), "it was deleted under the newest receipt");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_during_its_turn_is_not_taken_twice() {
    let world = World::new().await;
    world.start("i", 2).await;
    world.trouble.set(&[
        Rule("queue.update", QUEUE, ALWAYS, Trouble::Fails),
        Rule("table.transact", "TestHistory/i", ALWAYS, Trouble::Takes(Duration::from_secs(9))),
        Rule("table.merge", "TestInstances/i", ALWAYS, Trouble::Takes(Duration::from_secs(9))),
        Rule("table.query", "TestHistory", ALWAYS, Trouble::Takes(Duration::from_secs(9))),
        Rule("queue.delete", QUEUE, ALWAYS, Trouble::Takes(Duration::from_secs(9))),
    ]);
    world.raise("i", 1).await;
    seconds(60).await;
    world.trouble.set(&[]);
    assert!(world.memory.all_messages()[QUEUE].is_empty(), "it was deleted under the newer receipt");
    world.raise("i", 2).await;
    assert_eq!(world.sizes("i", 10).await, [1, 2]);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_orderly_stop_nothing_is_left_to_its_expiry() {
    let world = World::new().await;
    world.start("busy", 1000).await;
    world.trouble.set(&[Rule("blob.get", "test-largemessages/hanging", ALWAYS, Trouble::Hangs)]);
    world.start("hanging", 1).await;
    world.raise("hanging", LARGE).await;
    for _ in 0..300 {
        world.raise("busy", 1).await;
    }
    for n in 0..50 {
        world.client.start(MEASURE, n % 2).instance_id(format!("m{n}")).await.unwrap();
    }
    seconds(1).await;
    world.stop().await;
}
