//! Events that a client sends one after the other are received in that order and each once, whatever generations take them,
//! however many wait, however large they are, and whoever owns the instance meanwhile.

use std::time::Duration;

use proptest::prelude::*;

use super::harness::worker;
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::limits;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::size;
use crate::storage::memory::Memory;
use crate::{Client, TaskHub};

const TAKE: Orchestrator<Taking, Vec<usize>> = Orchestrator::new("Take");
const NEWS: Event<(usize, String)> = Event::new("news");

/// What is taken, and how.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Taking {
    /// Events in all.
    count: usize,
    /// Events in a generation.
    rate: usize,
    /// Seconds between generations.
    pause: u64,
    taken: Vec<usize>,
}

async fn take(ctx: OrchestrationContext, mut taking: Taking) -> Result<Vec<usize>, Failure> {
    ctx.timer(Duration::from_secs(taking.pause)).await;
    for _ in 0..taking.rate.min(taking.count - taking.taken.len()) {
        taking.taken.push(ctx.wait_for_event(NEWS).await.0);
    }
    if taking.taken.len() == taking.count {
        return Ok(taking.taken);
    }
    ctx.continue_as_new(TAKE, taking)
}

/// How a worker comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Stopped,
    Killed,
}

/// A hub on memory, and how often workers come and go there.
struct World {
    memory: Memory,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        Self { memory: Memory::new(clock.clone(), Rng::seeded(1)), clock }
    }

    async fn open(&self, seed: u64) -> TaskHub {
        let builder = TaskHub::builder(self.memory.storage(), "Test").partitions(1).clock(self.clock.clone());
        builder.rng(Rng::seeded(seed)).open().await.unwrap()
    }

    /// Runs a worker for so long.
    async fn work(&self, number: u64, seconds: u64, end: End) {
        let hub = self.open(100 + number).await;
        let time = tokio::time::sleep(Duration::from_secs(seconds));
        let worker =
            worker(&hub).orchestrator(TAKE, take).max_poll_interval(Duration::from_secs(1)).worker_id(number.to_string());
        match end {
            End::Stopped => worker.run(time).await.unwrap(),
            End::Killed => tokio::select! {
                biased;
                _ = worker.run(std::future::pending::<()>()) => unreachable!("nobody stops it"),
                () = time => {}
            },
        }
    }
}

/// Sends events of these sizes, a few before the first worker runs and the rest beside those that follow.
async fn received(sizes: &[usize], early: usize, taking: Taking, lives: &[(u64, End)]) -> Vec<usize> {
    let world = World::new();
    let client = Client::new(&world.open(7).await);
    client.start(TAKE, taking).instance_id("i").await.unwrap();
    let raise = async |number: usize| client.raise("i", NEWS, &(number, "x".repeat(sizes[number]))).await.unwrap();
    for number in 0..early.min(sizes.len()) {
        raise(number).await;
    }
    let sending = async {
        for number in early.min(sizes.len())..sizes.len() {
            tokio::time::sleep(Duration::from_millis(137)).await;
            raise(number).await;
        }
        client.wait("i", Duration::from_secs(36_000)).await.unwrap().output::<Vec<usize>>().unwrap()
    };
    let working = async {
        for (number, (seconds, end)) in lives.iter().enumerate() {
            world.work(number as u64, *seconds, *end).await;
        }
        world.work(99, 100_000, End::Killed).await;
        unreachable!("the events are taken by then");
    };
    tokio::select! {
        biased;
        received = sending => received,
        () = working => unreachable!(),
    }
}

fn taking(count: usize, rate: usize, pause: u64) -> Taking {
    Taking { count, rate, pause, taken: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn however_many_events_wait_they_are_taken_in_order_ten_a_generation() {
    for count in [0, 1, 91, 250] {
        let all: Vec<_> = (0..count).collect();
        assert_eq!(received(&vec![3; count], count, taking(count, 10, 1), &[]).await, all, "{count} before the worker");
        assert_eq!(received(&vec![3; count], 0, taking(count, 10, 1), &[]).await, all, "{count} beside it");
    }
}

/// Sizes of which a few fill a transaction, or go to blobs.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        12 => 0..200_usize,
        2 => limits::COLUMN_UNITS_MAX - 40..limits::COLUMN_UNITS_MAX,
        2 => limits::MESSAGE_BYTES_MAX - 2000..limits::MESSAGE_BYTES_MAX + 2000,
        1 => 100_000..200_000_usize,
    ];
    prop_oneof![3 => prop::collection::vec(size, 0..=300), 1 => prop::collection::vec(25_000..30_000_usize, 60..=150)]
}

fn run(sizes: &[usize], early: usize, rate: usize, pause: u64, lives: &[(u64, End)]) -> Vec<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(received(sizes, early, taking(sizes.len(), rate, pause), lives))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: size::of(2, 6), ..ProptestConfig::default() })]

    #[test]
    fn events_are_received_in_order_and_once_whoever_comes_and_goes(
        sizes in sizes(),
        early in 0..=300_usize,
        rate in 1..=60_usize,
        pause in 0..=3_u64,
        lives in prop::collection::vec((1..60_u64, prop_oneof![Just(End::Stopped), Just(End::Killed)]), 0..4),
    ) {
        let all: Vec<_> = (0..sizes.len()).collect();
        prop_assert_eq!(run(&sizes, early, rate, pause, &lives), all);
    }
}
