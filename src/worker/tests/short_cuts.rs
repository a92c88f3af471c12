//! The short cuts: what is held here starves nobody, what is assumed is found out, what waits is shown in time, and what is kept is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures::future::try_join_all;

use super::handover::Running;
use super::harness::open;
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{EventKind, Message, Timestamp};
use crate::rng::Rng;
use crate::storage::layer::metered::Metered;
use crate::storage::layer::tapped::{Effect, Tap};
use crate::storage::memory::Memory;
use crate::{Client, TaskHub, Worker, WorkerBuilder};

const SLOW: Activity<u32, u32> = Activity::new("Slow");
const COUNTED: Activity<(), u32> = Activity::new("Counted");
const FAN: Orchestrator<u32, usize> = Orchestrator::new("Fan");
const CHILD: Orchestrator<(), u32> = Orchestrator::new("Child");
const PARENT: Orchestrator<(), u32> = Orchestrator::new("Parent");
const LISTEN: Orchestrator<(), u32> = Orchestrator::new("Listen");
const GO: Event<String> = Event::new("go");

struct World {
    memory: Memory,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        Self { memory: Memory::new(clock.clone(), Rng::seeded(1)), clock }
    }

    async fn hub(&self, seed: u64) -> TaskHub {
        open(self.memory.storage(), &self.clock, 1, seed).await
    }
}

fn worker(hub: &TaskHub, id: &str, ran: &Arc<AtomicU32>) -> WorkerBuilder {
    let (slow, counted) = (Arc::clone(ran), Arc::clone(ran));
    let worker = Worker::builder(hub).worker_id(id).max_poll_interval(Duration::from_secs(1)).max_activities(10);
    let slow = move |_: ActivityContext, n: u32| {
        slow.fetch_add(1, SeqCst);
        async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok::<_, Failure>(n)
        }
    };
    let count = move |_: ActivityContext, (): ()| std::future::ready(Ok::<_, Failure>(counted.fetch_add(1, SeqCst) + 1));
    let worker = worker.activity(SLOW, slow).activity(COUNTED, count);
    let fan = async |ctx: OrchestrationContext, width: u32| Ok(try_join_all((0..width).map(|n| ctx.call(SLOW, n))).await?.len());
    let listen = async |ctx: OrchestrationContext, (): ()| {
        let mut heard = 0;
        while ctx.wait_for_event(GO).await != "end" {
            heard += 1;
        }
        Ok(heard)
    };
    let worker = worker.orchestrator(FAN, fan).orchestrator(LISTEN, listen);
    let child = async |ctx: OrchestrationContext, (): ()| Ok(ctx.call(COUNTED, ()).await?);
    let parent = async |ctx: OrchestrationContext, (): ()| Ok(ctx.call(CHILD, ()).await?);
    worker.orchestrator(CHILD, child).orchestrator(PARENT, parent)
}

async fn last_updated(client: &Client, id: &str) -> Timestamp {
    client.status(id).await.unwrap().unwrap().last_updated.unwrap()
}

#[tokio::test(start_paused = true)]
async fn two_workers_share_a_large_fan_out_of_slow_activities_although_one_of_them_sends_it() {
    let world = World::new();
    let ran: [Arc<AtomicU32>; 2] = Default::default();
    let (first, second) = (world.hub(1).await, world.hub(2).await);
    let running = [Running::start(worker(&first, "a", &ran[0])), Running::start(worker(&second, "b", &ran[1]))];
    tokio::time::sleep(Duration::from_secs(5)).await;
    let fan = Client::new(&first).start(FAN, 1000).await.unwrap();
    assert_eq!(fan.result().await.unwrap(), 1000);
    let [a, b] = ran.map(|ran| ran.load(SeqCst));
    assert!(a + b == 1000 && a.abs_diff(b) <= 200, "{a} and {b}");
    for worker in running {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_last_update_is_shown_five_seconds_later_or_when_the_worker_stops() {
    let world = World::new();
    let hub = world.hub(1).await;
    let client = Client::new(&hub);
    let running = Running::start(worker(&hub, "a", &Arc::default()));
    client.start(LISTEN, ()).instance_id("i").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = last_updated(&client, "i").await;
    for _ in 0..3 {
        client.raise("i", GO, &"again".to_owned()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(last_updated(&client, "i").await, before, "three turns that change nothing else");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let shown = last_updated(&client, "i").await;
    assert!(shown.since(before) >= Duration::from_secs(60), "the third of them: {shown}");
    client.raise("i", GO, &"again".to_owned()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let raised = world.clock.now();
    assert_eq!(last_updated(&client, "i").await, shown);
    running.stop().await;
    let last = last_updated(&client, "i").await;
    assert!(last > shown && last <= raised, "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_comes_again_when_its_instance_has_ended_runs_nothing_again() {
    let world = World::new();
    let tap = Tap::new(world.clock.clone());
    let hub = open(tap.on(world.memory.storage()), &world.clock, 1, 1).await;
    let (client, ran) = (Client::new(&hub), Arc::<AtomicU32>::default());
    let running = Running::start(worker(&hub, "a", &ran));
    assert_eq!(client.start(PARENT, ()).await.unwrap().result().await.unwrap(), 1);
    let starts: Vec<Message> = tap.seen().into_iter().filter_map(|seen| start_in(&seen.effect)).collect();
    assert_eq!(starts.len(), 2, "of the parent and of its child");
    // Copies as storage makes them that has put twice, without a mark that anybody has had them.
    for start in starts {
        client.put(Message { seen_before: false, ..start }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(ran.load(SeqCst), 1);
    assert!(world.memory.all_messages().values().all(Vec::is_empty), "{:?}", world.memory.all_messages());
    running.stop().await;
}

fn start_in(effect: &Effect) -> Option<Message> {
    let Effect::Put { text, .. } = effect else { return None };
    let message = Message::from_json(text).ok()?;
    matches!(message.event.kind, EventKind::ExecutionStarted(_)).then_some(message)
}

#[tokio::test(start_paused = true)]
async fn histories_are_kept_within_their_bound_and_read_again_beyond_it() {
    for (bytes, reads) in [(1 << 20, 0), (20_000, 0), (20_000 / 16, 5), (0, 10)] {
        let world = World::new();
        let metered = Metered::default();
        let hub = open(world.memory.storage().layered(metered.clone()), &world.clock, 1, 1).await;
        let client = Client::new(&hub);
        let running = Running::start(worker(&hub, "a", &Arc::default()).history_cache_bytes(bytes));
        client.start(LISTEN, ()).instance_id("i").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = metered.snapshot();
        for _ in 0..10 {
            client.raise("i", GO, &"x".repeat(3000)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(metered.since(&before).of("table.query"), reads, "with {bytes} bytes");
        client.raise("i", GO, &"end".to_owned()).await.unwrap();
        assert_eq!(client.instance("i").wait().await.unwrap().output::<u32>().unwrap(), 10);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_history_that_is_larger_than_all_may_be_is_kept_beside_the_others() {
    let world = World::new();
    let metered = Metered::default();
    let hub = open(world.memory.storage().layered(metered.clone()), &world.clock, 1, 1).await;
    let client = Client::new(&hub);
    let running = Running::start(worker(&hub, "a", &Arc::default()).history_cache_bytes(20_000));
    for id in ["large", "small", "larger"] {
        client.start(LISTEN, ()).instance_id(id).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let raise = async |id: &str, size: usize| {
        let before = metered.snapshot();
        client.raise(id, GO, &"x".repeat(size)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        metered.since(&before).of("table.query")
    };
    assert_eq!(raise("large", 30_000).await, 0);
    assert_eq!(raise("large", 1).await, 0);
    assert_eq!(raise("small", 1).await, 0);
    assert_eq!(raise("large", 1).await, 0, "what is small does not take its place");
    assert_eq!(raise("larger", 40_000).await, 0);
    assert_eq!(raise("larger", 1).await, 0);
    assert_eq!(raise("small", 1).await, 0);
    assert_eq!(raise("large", 1).await, 1, "another that is large does");
    assert_eq!(raise("large", 1).await, 0);
    assert_eq!(raise("larger", 1).await, 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_this_process_fires_in_the_millisecond_in_which_it_is_due() {
    const NAPS: Orchestrator<Vec<u64>, Vec<u64>> = Orchestrator::new("Naps");
    let world = World::new();
    let hub = world.hub(1).await;
    let naps = async |ctx: OrchestrationContext, naps: Vec<u64>| {
        let mut late = Vec::new();
        for milliseconds in naps {
            let due = ctx.now().plus(Duration::from_millis(milliseconds));
            ctx.timer_until(due).await;
            late.push(u64::try_from(ctx.now().since(due).as_millis()).unwrap());
        }
        Ok(late)
    };
    let running = Running::start(worker(&hub, "a", &Arc::default()).orchestrator(NAPS, naps));
    let late = Client::new(&hub).start(NAPS, vec![1, 50, 777, 2_500, 60_001]).await.unwrap().result().await.unwrap();
    assert!(late.iter().all(|late| *late <= 5), "{late:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.memory.all_messages().values().all(Vec::is_empty), "{:?}", world.memory.all_messages());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_whose_process_is_gone_when_it_is_due_fires_two_seconds_later_elsewhere() {
    const NAP: Orchestrator<(), ()> = Orchestrator::new("Nap");
    let nap = async |ctx: OrchestrationContext, (): ()| {
        ctx.timer(Duration::from_secs(100)).await;
        Ok(())
    };
    for is_crash in [true, false] {
        let world = World::new();
        let (first, second) = (world.hub(1).await, world.hub(2).await);
        let running = Running::start(worker(&first, "a", &Arc::default()).orchestrator(NAP, nap));
        let client = Client::new(&first);
        let napping = client.start(NAP, ()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        if is_crash {
            running.crash();
        } else {
            running.stop().await;
        }
        let running = Running::start(worker(&second, "b", &Arc::default()).orchestrator(NAP, nap));
        napping.result().await.unwrap();
        let status = napping.status().await.unwrap();
        let took = status.last_updated.unwrap().since(status.created.unwrap());
        assert!(took >= Duration::from_secs(100) && took < Duration::from_secs(106), "{took:?}");
        running.stop().await;
    }
}
