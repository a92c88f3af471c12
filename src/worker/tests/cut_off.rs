//! Checkpoints of several transactions that are cut off one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::future::try_join_all;

use super::handover::Running;
use crate::authoring::{Activity, Event, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::layer::{Call, Layer, Reply};
use crate::storage::memory::Memory;
use crate::{Client, TaskHub, Worker};

const MANY: Orchestrator<usize, usize> = Orchestrator::new("Many");
const WORK: Activity<usize, usize> = Activity::new("Work");
const GO: Event<String> = Event::new("go");

/// Refuses these transactions of histories, by their number.
#[derive(Clone)]
struct Commits(Arc<AtomicUsize>, fn(usize) -> bool);

impl Layer for Commits {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if call.op == "table.transact" && call.target.0 == "TestHistory" {
            let number = self.0.fetch_add(1, SeqCst);
            if (self.1)(number) {
                return Err(Error::new(ErrorKind::Denied, call.op, call.target.to_string()));
            }
        }
        attempt().await
    }
}

/// A checkpoint of four transactions is cut off after two; then the instance is terminated, and that checkpoint, which removes the
/// rows of the first one, is cut off after its first transaction.
#[tokio::test(start_paused = true)]
async fn a_shorter_checkpoint_that_is_cut_off_after_a_longer_one_leaves_no_damage() {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let memory = Memory::new(clock.clone(), Rng::seeded(1));
    let commits = Commits(Arc::default(), |number| number == 3 || number == 5);
    let hub = TaskHub::builder(memory.storage().layered(commits.clone()), "Test").partitions(1);
    let hub = hub.clock(clock.clone()).rng(Rng::seeded(2)).open().await.unwrap();
    let client = Client::new(&hub);
    let many = async |ctx: OrchestrationContext, width: usize| {
        ctx.wait_for_event(GO).await;
        Ok(try_join_all((0..width).map(|n| ctx.call(WORK, n))).await?.len())
    };
    client.start(MANY, 300).instance_id("i").await.unwrap();
    let worker = Running::start(Worker::builder(&hub).orchestrator(MANY, many));
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.raise("i", GO, &"go".to_owned()).await.unwrap();
    while commits.0.load(SeqCst) < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.terminate("i", "enough").await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let status = client.status("i").await.unwrap().unwrap();
    let parked = client.poison().await.unwrap();
    worker.stop().await;
    assert_eq!(status.status, RuntimeStatus::Terminated, "{:?} {parked:?}", status.output);
}

/// A generation begins with more events than one transaction takes, and its first checkpoint is cut off behind every one of its transactions: what is
/// left of it has not run, though its code has, and runs with the changes that there are.
#[tokio::test(start_paused = true)]
async fn a_generation_whose_first_checkpoint_was_cut_off_runs_with_the_changes_of_its_code() {
    const NOISE: Event<u32> = Event::new("noise");
    const NEXT: Orchestrator<bool, bool> = Orchestrator::new("Next");
    let next = async |ctx: OrchestrationContext, is_next: bool| {
        if !is_next {
            ctx.wait_for_event(GO).await;
            return ctx.continue_as_new(NEXT, true);
        }
        let is_patched = ctx.patched("change");
        Ok(is_patched && ctx.call(WORK, 1).await? == 1)
    };
    let mut was_cut = 0;
    for cut in 0..10 {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let commits = Commits(Arc::new(AtomicUsize::new(1000 * cut)), |number| number / 1000 == number % 1000);
        let hub = TaskHub::builder(memory.storage().layered(commits.clone()), "Test").partitions(1);
        let hub = hub.clock(clock.clone()).rng(Rng::seeded(2)).open().await.unwrap();
        let client = Client::new(&hub);
        let order = client.start(NEXT, false).instance_id("i").await.unwrap();
        for number in 0..250 {
            order.raise(NOISE, number).await.unwrap();
        }
        order.raise(GO, "go").await.unwrap();
        let worker = Worker::builder(&hub).orchestrator(NEXT, next).activity(WORK, async |_, n| Ok(n));
        let worker = Running::start(worker);
        let patched = order.result().within(Duration::from_secs(600)).await;
        was_cut += usize::from(commits.0.load(SeqCst) % 1000 > cut);
        worker.stop().await;
        assert!(patched.unwrap(), "cut off at transaction {cut}");
    }
    assert!(was_cut > 5, "{was_cut}");
}
