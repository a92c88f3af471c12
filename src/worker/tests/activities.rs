//! Activities on a worker: what they are told about their call, functions of other shapes, and what becomes of one that is told to end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{hub, worker};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::memory::Memory;
use crate::{
    Activity, ActivityContext, Client, Failure, OrchestrationContext, Orchestrator, RetryPolicy, RuntimeStatus, TaskHub,
    blocking, with_state,
};

const FLAKY: Activity<u32, Vec<String>> = Activity::new("Flaky");
const COUNT: Activity<String, usize> = Activity::new("Count");
const LONG: Activity<(), String> = Activity::new("Long");
const TRIES: Orchestrator<u32, Vec<String>> = Orchestrator::new("Tries");
const COUNTS: Orchestrator<String, usize> = Orchestrator::new("Counts");
const WAITS: Orchestrator<(), String> = Orchestrator::new("Waits");
const LIMIT: Duration = Duration::from_secs(600);

/// Fails until the last attempt, and tells what every attempt was told.
async fn flaky(seen: Arc<Mutex<Vec<String>>>, ctx: ActivityContext, last: u32) -> Result<Vec<String>, Failure> {
    let mut seen = seen.lock().unwrap();
    let key = ctx.idempotency_key().replace(ctx.execution_id(), "E");
    seen.push(format!("{} {key}", ctx.attempt()));
    if ctx.attempt() < last { Err("not yet".into()) } else { Ok(seen.clone()) }
}

#[tokio::test(start_paused = true)]
async fn an_activity_is_told_its_attempt_and_a_key_of_its_own() {
    let hub = hub().await;
    let seen = Arc::default();
    let worker = worker(&hub).activity(FLAKY, with_state(&seen, flaky)).orchestrator(
        TRIES,
        async |ctx: OrchestrationContext, last: u32| {
            Ok(ctx.call(FLAKY, last).retry(RetryPolicy::fixed(5, Duration::from_secs(1))).await?)
        },
    );
    let client = Client::new(&hub);
    let told = async {
        let tries = client.start(TRIES, 3).instance_id("i").await.unwrap();
        assert_eq!(tries.result().within(LIMIT).await.unwrap(), ["1 i/E/0", "2 i/E/2", "3 i/E/4"]);
    };
    worker.run(told).await.unwrap();
}

#[tokio::test]
async fn a_blocking_function_is_an_activity_and_its_failures_and_panics_are_those_of_the_call() {
    let hub = hub().await;
    let counted = blocking(|ctx: ActivityContext, text: String| {
        assert!(!ctx.is_cancelled() && text != "panic", "{text}");
        // A sleep that holds the thread of the runtime would hold everything.
        std::thread::sleep(Duration::from_millis(20));
        if text.is_empty() { Err(Failure::new("Nothing", "there is nothing to count")) } else { Ok(text.len()) }
    });
    let worker = worker(&hub)
        .activity(COUNT, counted)
        .orchestrator(COUNTS, async |ctx: OrchestrationContext, text: String| Ok(ctx.call(COUNT, text).await?))
        .max_poll_interval(Duration::from_millis(50));
    let client = Client::new(&hub);
    let counting = async {
        assert_eq!(client.start(COUNTS, "four").await.unwrap().result().within(LIMIT).await.unwrap(), 4);
        for (text, words) in
            [("", "Nothing: there is nothing to count (task"), ("panic", "Panic: The activity \"Count\" panicked: panic")]
        {
            let failed = client.start(COUNTS, text).await.unwrap().result().within(LIMIT).await.unwrap_err();
            assert!(failed.to_string().contains(words), "{failed}");
        }
    };
    worker.run(counting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_activity_that_is_told_to_end_and_fails_runs_again_on_another_worker() {
    let hub = hub().await;
    let begun = Arc::new(AtomicU32::new(0));
    let long = async |begun: Arc<AtomicU32>, ctx: ActivityContext, (): ()| {
        if begun.fetch_add(1, Ordering::Relaxed) == 0 {
            ctx.cancelled().await;
            assert!(ctx.is_cancelled());
            return Err(Failure::new("Stopped", "told to end"));
        }
        Ok(format!("by attempt {}", ctx.attempt()))
    };
    let worker = || {
        let worker = worker(&hub).activity(LONG, with_state(&begun, long));
        worker.orchestrator(WAITS, async |ctx: OrchestrationContext, ()| Ok(ctx.call(LONG, ()).await?))
    };
    let waits = Client::new(&hub).start(WAITS, ()).await.unwrap();
    // Told to stop while the activity runs; it ends well before the grace period does.
    let stopped = tokio::time::Instant::now();
    worker().run(tokio::time::sleep(Duration::from_secs(30))).await.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(35), "{:?}", stopped.elapsed());
    assert_eq!((begun.load(Ordering::Relaxed), waits.status().await.unwrap().status), (1, RuntimeStatus::Running));
    let told = async { assert_eq!(waits.result().within(LIMIT).await.unwrap(), "by attempt 1") };
    worker().run(told).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_activity_is_told_when_its_work_item_is_lost() {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let memory = Memory::new(clock.clone(), Rng::seeded(1));
    let hub = TaskHub::builder(memory.storage(), "Test").clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
    let told = Arc::new(AtomicU32::new(0));
    let long = async |told: Arc<AtomicU32>, ctx: ActivityContext, (): ()| {
        ctx.cancelled().await;
        told.fetch_add(1, Ordering::Relaxed);
        Ok("all the same".to_owned())
    };
    let worker = worker(&hub)
        .activity(LONG, with_state(&told, long))
        .orchestrator(WAITS, async |ctx: OrchestrationContext, ()| Ok(ctx.call(LONG, ()).await?));
    let waits = Client::new(&hub).start(WAITS, ()).await.unwrap();
    let losing = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        // Somebody else receives the work item, as if its renewal had come too late: the next one is refused.
        memory.surface_held();
        let taken = hub.0.storage.queues.receive(&hub.0.names.work_items, 1, LIMIT).await.unwrap();
        assert_eq!(taken.len(), 1);
        waits.result().within(LIMIT).await.unwrap()
    };
    let mut result = String::new();
    worker.run(async { result = losing.await }).await.unwrap();
    assert_eq!((told.load(Ordering::Relaxed), result.as_str()), (1, "all the same"));
}
