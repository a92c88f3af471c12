//! Workers on an account that refuses what is beyond its limits: all of it is done in the end, once, and no partition is lost over it.

use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::handover::Running;
use crate::authoring::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::layer::modelled::{AccountLimits, Modelled};
use crate::storage::layer::tapped::{Effect, Tap};
use crate::storage::memory::Memory;
use crate::worker::FastPath;
use crate::{Client, TaskHub, Worker};

const ADD: Activity<u32, u32> = Activity::new("Add");
const BOTH: Orchestrator<u32, u32> = Orchestrator::new("Both");

/// Three activities in sequence, and then five at once.
async fn both(ctx: OrchestrationContext, n: u32) -> Result<u32, Failure> {
    let mut n = n;
    for _ in 0..3 {
        n = ctx.call(ADD, n).await?;
    }
    Ok(try_join_all((0..5).map(|more| ctx.call(ADD, n + more))).await?.into_iter().sum())
}

/// Runs more than an account takes, on two workers, and judges what becomes of it.
async fn check(fast_path: FastPath) {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let (memory, tap) = (Memory::new(clock.clone(), Rng::seeded(1)), Tap::new(clock.clone()));
    let scarce = AccountLimits { queue_messages: 60, partition_rows: 60, account_calls: 250, ..AccountLimits::AZURE };
    let model = Modelled::new(AccountLimits { patience: Duration::from_millis(50), ..scarce }, Rng::seeded(2));
    let open = async |seed| {
        let storage = tap.on(memory.storage()).layered(model.clone());
        let hub = TaskHub::builder(storage, "Test").clock(clock.clone()).rng(Rng::seeded(seed)).open().await.unwrap();
        Worker::builder(&hub).fast_path(fast_path)
    };
    let mut workers = Vec::new();
    for (number, id) in ["a", "b"].into_iter().enumerate() {
        let worker = open(number as u64 + 3).await;
        let add = async |_: ActivityContext, n: u32| Ok(n + 1);
        workers.push(Running::start(worker.worker_id(id).activity(ADD, add).orchestrator(BOTH, both)));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Clients get the refusals that their calls do not get over: these have an account to themselves.
    let hub = TaskHub::builder(memory.storage(), "Test").clock(clock.clone()).rng(Rng::seeded(5)).open().await.unwrap();
    let (client, refused) = (Client::new(&hub), model.refused());
    let ends = join_all((0..100).map(async |n| {
        let instance = client.start(BOTH, n).instance_id(format!("i{n}")).await.unwrap();
        instance.result().within(Duration::from_secs(1800)).await.unwrap()
    }));
    let results = ends.await;
    assert_eq!(results, (0..100).map(|n| 5 * (n + 3) + 15).collect::<Vec<_>>());
    assert!(model.refused() - refused > 1000, "{}", model.refused() - refused);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(memory.all_messages().values().all(Vec::is_empty), "{:?}", memory.all_messages());
    // Who renews in time need not claim again.
    let claims = tap.seen().into_iter().filter(|seen| {
        matches!(&seen.effect, Effect::Rows { table, ops, is_transaction: false } if table == "TestPartitions" && seen.done && ops.len() == 1)
    });
    let claims = claims.count();
    assert!(claims < 20, "{claims}");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_instance_ends_although_much_is_refused() {
    check(FastPath::default()).await;
}

#[tokio::test(start_paused = true)]
async fn every_instance_ends_without_short_cuts_too() {
    check(FastPath::NONE).await;
}
