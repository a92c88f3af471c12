//! Executions that stay in memory between their turns: they go through nothing again, and what would hide so is found.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::handover::Running;
use super::harness::{hub, open};
use super::overheard::Overheard;
use crate::authoring::{Activity, ActivityContext, Event, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::worker::FastPath;
use crate::{Client, TaskHub, Worker, WorkerBuilder};

const ECHO: Activity<u32, u32> = Activity::new("Echo");
const STEPS: Orchestrator<u32, u32> = Orchestrator::new("Steps");
const LISTEN: Orchestrator<(), u32> = Orchestrator::new("Listen");
const FICKLE: Orchestrator<(), u32> = Orchestrator::new("Fickle");
const WHERE: Orchestrator<(), Vec<String>> = Orchestrator::new("Where");
const GO: Event<String> = Event::new("go");

/// A worker that counts how often the code of an orchestrator begins.
fn worker(hub: &TaskHub, begun: &Arc<AtomicU32>) -> WorkerBuilder {
    let [steps, listen, fickle] = std::array::from_fn(|_| Arc::clone(begun));
    Worker::builder(hub)
        .max_poll_interval(Duration::from_secs(1))
        .activity(ECHO, async |_: ActivityContext, n: u32| Ok(n))
        .orchestrator(STEPS, move |ctx: OrchestrationContext, count: u32| {
            steps.fetch_add(1, SeqCst);
            async move {
                let mut sum = 0;
                for n in 0..count {
                    sum += ctx.call(ECHO, n).await?;
                }
                Ok(sum)
            }
        })
        .orchestrator(LISTEN, move |ctx: OrchestrationContext, (): ()| {
            listen.fetch_add(1, SeqCst);
            async move {
                let mut heard = 0;
                while ctx.wait_for_event(GO).await != "end" {
                    heard += 1;
                }
                Ok(heard)
            }
        })
        .orchestrator(FICKLE, move |ctx: OrchestrationContext, (): ()| {
            let is_first = fickle.fetch_add(1, SeqCst) == 0;
            async move {
                let mut sum = 0;
                for n in 0..3 {
                    let call = if is_first || n != 1 { ctx.call(ECHO, n) } else { ctx.call(Activity::new("Other"), n) };
                    sum += call.await?;
                }
                Ok(sum)
            }
        })
}

#[tokio::test(start_paused = true)]
async fn code_that_stays_begins_once_and_once_more_for_the_comparison_at_its_end() {
    for (fast_path, times) in [(FastPath::default(), 2), (FastPath::NONE, 21)] {
        let (hub, begun) = (hub().await, Arc::default());
        let running = Running::start(worker(&hub, &begun).fast_path(fast_path));
        assert_eq!(Client::new(&hub).start(STEPS, 20).await.unwrap().result().await.unwrap(), 190);
        assert_eq!(begun.load(SeqCst), times, "with {fast_path:?}");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn code_that_stays_for_long_is_compared_ever_more_seldom() {
    let (hub, begun) = (hub().await, Arc::default());
    let running = Running::start(worker(&hub, &begun));
    Client::new(&hub).start(STEPS, 1_500).await.unwrap().result().await.unwrap();
    // It begins, is compared at the hundredth turn and then a hundred turns behind each tenth by which it has grown, and at its end.
    assert_eq!(begun.load(SeqCst), 1 + 9 + 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn where_many_end_one_in_ten_is_compared() {
    let (hub, begun) = (hub().await, Arc::default());
    let running = Running::start(worker(&hub, &begun));
    for _ in 0..150 {
        Client::new(&hub).start(STEPS, 2).await.unwrap().result().await.unwrap();
    }
    // Each begins; the first hundred are compared at their ends, and five behind them; and one of the turns in between.
    assert_eq!(begun.load(SeqCst), 150 + 100 + 5 + 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_strict_worker_replays_every_turn() {
    let (hub, begun) = (hub().await, Arc::default());
    let running = Running::start(worker(&hub, &begun).strict_replay());
    Client::new(&hub).start(STEPS, 20).await.unwrap().result().await.unwrap();
    assert_eq!(begun.load(SeqCst), 21);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_of_memory_an_execution_is_replayed() {
    for (bytes, times) in [(16 << 20, 2), (0, 12)] {
        let (hub, begun) = (hub().await, Arc::default());
        let running = Running::start(worker(&hub, &begun).history_cache_bytes(bytes));
        let listen = Client::new(&hub).start(LISTEN, ()).await.unwrap();
        for n in 0..11 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            listen.raise(GO, if n < 10 { "again" } else { "end" }).await.unwrap();
        }
        assert_eq!(listen.result().await.unwrap(), 10);
        assert_eq!(begun.load(SeqCst), times, "with {bytes} bytes");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn code_that_would_not_do_the_same_again_is_told_of_although_it_never_had_to() {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let (hub, begun) = (hub().await, Arc::default());
    let running = Running::start(worker(&hub, &begun));
    assert_eq!(Client::new(&hub).start(FICKLE, ()).await.unwrap().result().await.unwrap(), 3);
    running.stop().await;
    let lines = heard.lines();
    let told: Vec<_> = lines.iter().filter(|line| line.contains("does not do the same when it is replayed")).collect();
    let [told] = told[..] else { panic!("{lines:?}") };
    assert!(told.contains("name=Fickle") && told.contains("Other"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn another_worker_that_takes_over_replays_what_was_kept_and_goes_on() {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let storage = Storage::memory(clock.clone(), Rng::seeded(1));
    let (first, second) = (open(storage.clone(), &clock, 1, 1).await, open(storage, &clock, 1, 2).await);
    let begun = Arc::default();
    let running = Running::start(worker(&first, &begun).worker_id("a"));
    let listen = Client::new(&first).start(LISTEN, ()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    listen.raise(GO, "again").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    running.crash();
    let running = Running::start(worker(&second, &begun).worker_id("b"));
    listen.raise(GO, "again").await.unwrap();
    listen.raise(GO, "end").await.unwrap();
    assert_eq!(listen.result().await.unwrap(), 2);
    running.stop().await;
}

/// On the clock of the machine, where orchestrators have threads of their own.
#[tokio::test]
async fn every_turn_of_an_execution_runs_on_one_thread_that_does_nothing_else() {
    let hub = TaskHub::open(Storage::in_memory(), "Test").await.unwrap();
    let threads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&threads);
    let code = move |ctx: OrchestrationContext, (): ()| {
        let seen = Arc::clone(&seen);
        async move {
            for n in 0..5 {
                seen.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
                ctx.call(ECHO, n).await?;
            }
            let names = seen.lock().unwrap().clone();
            Ok(names)
        }
    };
    let running = Running::start(worker(&hub, &Arc::default()).orchestrator(WHERE, code));
    let names = Client::new(&hub).start(WHERE, ()).await.unwrap().result().await.unwrap();
    assert_eq!(names.len(), 5);
    assert!(names[0].starts_with("taskhub-turns-") && names.iter().all(|name| *name == names[0]), "{names:?}");
    running.stop().await;
}
