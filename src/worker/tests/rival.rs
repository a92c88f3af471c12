//! Somebody else writes between two transactions of a commit: what is stored of it has what was sent for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use futures::future::try_join_all;

use super::handover::Running;
use super::harness::open;
use crate::authoring::{Activity, ActivityContext, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::hub::rows;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::error::Result;
use crate::storage::layer::{Call, Layer, Reply};
use crate::storage::memory::Memory;
use crate::{Client, Worker};

const ECHO: Activity<u32, u32> = Activity::new("Echo");
const MIXED: Orchestrator<u32, u32> = Orchestrator::new("Mixed");

/// Right before one of the transactions of histories the sentinel gets another version.
#[derive(Clone)]
struct Rival {
    memory: Memory,
    before: u64,
    transactions: Arc<AtomicU64>,
}

impl Layer for Rival {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let is_history = call.op == "table.transact" && call.target.0.ends_with("History");
        if is_history && self.transactions.fetch_add(1, SeqCst) + 1 == self.before {
            let rows = self.memory.partition_rows(call.target.0, call.target.1.unwrap_or_default());
            for row in rows.into_iter().filter(|row| row.entity.row_key == rows::SENTINEL) {
                self.memory.insert_row(call.target.0, row.entity);
            }
        }
        attempt().await
    }
}

/// Every other activity runs inside the turn, so that a commit has several episodes.
async fn mixed(ctx: OrchestrationContext, width: u32) -> std::result::Result<u32, crate::authoring::Failure> {
    let calls = (0..width).map(|n| {
        let call = ctx.call(ECHO, n);
        if n % 2 == 0 { call.local() } else { call }
    });
    Ok(try_join_all(calls).await?.iter().sum())
}

#[tokio::test(start_paused = true)]
async fn a_rival_between_two_transactions_of_a_commit_costs_no_call_its_work_item() {
    let mut before = 0;
    loop {
        before += 1;
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let rival = Rival { memory: memory.clone(), before, transactions: Arc::default() };
        let hub = open(memory.storage().layered(rival.clone()), &clock, 1, 2).await;
        let worker = Worker::builder(&hub).activity(ECHO, async |_: ActivityContext, n: u32| Ok(n)).orchestrator(MIXED, mixed);
        let running = Running::start(worker);
        let client = Client::new(&open(memory.storage(), &clock, 1, 3).await);
        let started = client.start(MIXED, 130).instance_id("i").await.unwrap();
        let sum = started.result().within(Duration::from_secs(600)).await;
        assert_eq!(sum.unwrap_or_else(|error| panic!("before transaction {before}: {error}")), 130 * 129 / 2);
        running.stop().await;
        assert!(memory.all_messages().values().all(Vec::is_empty), "before transaction {before}");
        if rival.transactions.load(SeqCst) < before {
            break;
        }
    }
    assert!(before > 4, "only {before} transactions");
}
