//! Activities that run inside a turn: what they cost, what history has of them, and what becomes of those that take longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::Instant;

use super::handover::Running;
use super::harness::open;
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{EventKind, RuntimeStatus, StoredEvent, Timestamp};
use crate::rng::Rng;
use crate::storage::layer::metered::Metered;
use crate::storage::memory::Memory;
use crate::{Client, Limit, RetryPolicy, TaskHub, Worker, WorkerBuilder};

const ADD: Activity<u32, u32> = Activity::new("Add");
const SLEEP: Activity<u64, u64> = Activity::new("Sleep");
const FAIL_TWICE: Activity<(), u32> = Activity::new("FailTwice");
const PANIC: Activity<(), ()> = Activity::new("Panic");
const ELSEWHERE: Activity<(), u32> = Activity::new("Elsewhere");
const COUNT: Orchestrator<u32, u32> = Orchestrator::new("Count");
const ORDINARY: Orchestrator<u32, u32> = Orchestrator::new("Ordinary");
const SLEEPS: Orchestrator<Vec<u64>, Vec<u64>> = Orchestrator::new("Sleeps");
const STUBBORN: Orchestrator<(), u32> = Orchestrator::new("Stubborn");
const PANICS: Orchestrator<(), String> = Orchestrator::new("Panics");
const ASKS_OTHERS: Orchestrator<(), u32> = Orchestrator::new("AsksOthers");
const LEAVES: Orchestrator<(), ()> = Orchestrator::new("Leaves");
const RACE: Orchestrator<u64, String> = Orchestrator::new("Race");
const ROUNDS: Orchestrator<u32, u32> = Orchestrator::new("Rounds");
const HEARS: Orchestrator<(), u64> = Orchestrator::new("Hears");
const GO: Event<()> = Event::new("go");

struct World {
    memory: Memory,
    clock: Clock,
    metered: Metered,
    /// How often an activity has begun.
    begun: Arc<AtomicU32>,
}

impl World {
    fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        Self { memory, clock, metered: Metered::default(), begun: Arc::default() }
    }

    async fn hub(&self, seed: u64) -> TaskHub {
        open(self.memory.storage().layered(self.metered.clone()), &self.clock, 1, seed).await
    }

    fn begun(&self) -> u32 {
        self.begun.load(SeqCst)
    }

    fn worker(&self, hub: &TaskHub) -> WorkerBuilder {
        let [add, sleep, fail, panics] = std::array::from_fn(|_| Arc::clone(&self.begun));
        Worker::builder(hub)
            .activity(ADD, move |_: ActivityContext, n: u32| {
                add.fetch_add(1, SeqCst);
                std::future::ready(Ok(n + 1))
            })
            .activity(SLEEP, move |_: ActivityContext, seconds: u64| {
                sleep.fetch_add(1, SeqCst);
                async move {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    Ok(seconds)
                }
            })
            .activity(FAIL_TWICE, move |ctx: ActivityContext, (): ()| {
                fail.fetch_add(1, SeqCst);
                let attempt = ctx.attempt();
                std::future::ready(if attempt < 3 { Err(Failure::new("Busy", "try again")) } else { Ok(attempt) })
            })
            .activity(PANIC, move |_: ActivityContext, (): ()| {
                panics.fetch_add(1, SeqCst);
                async { panic!("by design") }
            })
            .orchestrator(COUNT, async |ctx: OrchestrationContext, steps: u32| {
                let mut sum = 0;
                for _ in 0..steps {
                    sum = ctx.call(ADD, sum).local().await?;
                }
                Ok(sum)
            })
            .orchestrator(SLEEPS, async |ctx: OrchestrationContext, seconds: Vec<u64>| {
                let calls = seconds.iter().map(|seconds| ctx.call(SLEEP, seconds).local());
                Ok(try_join_all(calls).await?)
            })
            .orchestrator(STUBBORN, async |ctx: OrchestrationContext, (): ()| {
                Ok(ctx.call(FAIL_TWICE, ()).local().retry(RetryPolicy::fixed(3, Duration::from_secs(60))).await?)
            })
            .orchestrator(PANICS, async |ctx: OrchestrationContext, (): ()| {
                let failed = ctx.call(PANIC, ()).local().await.unwrap_err();
                Ok(failed.details().error_message.clone())
            })
            .orchestrator(ASKS_OTHERS, async |ctx: OrchestrationContext, (): ()| Ok(ctx.call(ELSEWHERE, ()).local().await?))
            .orchestrator(LEAVES, async |ctx: OrchestrationContext, (): ()| {
                drop(ctx.call(ADD, 1).local());
                Ok(())
            })
            .orchestrator(RACE, async |ctx: OrchestrationContext, seconds: u64| {
                let slept = ctx.call(SLEEP, seconds).local().within(Duration::from_secs(2)).await;
                Ok(slept.map_or_else(|late| format!("late: {}", late.is_timeout()), |seconds| seconds.to_string()))
            })
            .orchestrator(ROUNDS, async |ctx: OrchestrationContext, left: u32| {
                ctx.call(ADD, left).local().await?;
                if left == 0 { Ok(0) } else { ctx.continue_as_new(ROUNDS, left - 1) }
            })
            .orchestrator(HEARS, async |ctx: OrchestrationContext, (): ()| {
                let call = ctx.call(SLEEP, 20).local();
                ctx.wait_for_event(GO).await;
                Ok(call.await?)
            })
    }

    async fn run(&self, worker: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> (Client, Running) {
        let hub = self.hub(1).await;
        let running = Running::start(worker(self.worker(&hub)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        (Client::new(&hub), running)
    }

    /// The events of a history, without what differs between two runs of the same.
    async fn history(&self, instance_id: &str) -> Vec<String> {
        let history = self.hub(9).await.0.histories.load(instance_id).await.unwrap();
        let shown = |stored: &StoredEvent| {
            let event = &stored.event;
            let kind = match &event.kind {
                EventKind::ExecutionStarted(start) => format!("ExecutionStarted {}", start.name),
                kind => format!("{kind:?}"),
            };
            format!("{} {} {kind}", event.event_id, event.is_played)
        };
        history.events.iter().map(shown).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_sequence_is_committed_every_ninety_rows_and_every_activity_runs_once() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    let count = client.start(COUNT, 200).await.unwrap();
    assert_eq!(count.result().await.unwrap(), 200);
    assert_eq!(world.begun(), 200);
    tokio::time::sleep(Duration::from_secs(10)).await;
    // The start, and a work item for the activity with which each bound is met.
    assert_eq!(world.metered.snapshot().of("queue.put"), 1 + 8);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn history_and_results_are_those_of_ordinary_activities() {
    let mut histories = Vec::new();
    for is_local in [true, false] {
        let world = World::new();
        let code = move |ctx: OrchestrationContext, steps: u32| async move {
            let mut sum = 0;
            for _ in 0..steps {
                let call = ctx.call(ADD, sum);
                sum = if is_local { call.local() } else { call }.await?;
            }
            Ok(sum)
        };
        let (client, running) = world.run(|worker| worker.orchestrator(ORDINARY, code)).await;
        assert_eq!(client.start(ORDINARY, 5).instance_id("i").await.unwrap().result().await.unwrap(), 5);
        histories.push(world.history("i").await);
        running.stop().await;
    }
    assert_eq!(histories[0], histories[1]);
    assert_eq!(histories[0].len(), 6 * 4, "six turns");
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_the_turn_may_goes_on_as_an_ordinary_activity_and_is_not_begun_again() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    let begun = Instant::now();
    let sleeps = client.start(SLEEPS, vec![1, 20, 3, 90]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let completed = world.history(sleeps.id()).await.iter().filter(|event| event.contains("TaskCompleted")).count();
    assert_eq!(completed, 2, "after five seconds the turn is committed, with what has ended");
    assert_eq!(sleeps.result().await.unwrap(), [1, 20, 3, 90]);
    assert!(begun.elapsed() < Duration::from_secs(95), "{:?}", begun.elapsed());
    assert_eq!(world.begun(), 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retries_wait_in_durable_timers_and_panics_are_failures() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    let stubborn = client.start(STUBBORN, ()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((world.begun(), stubborn.status().await.unwrap().status), (1, RuntimeStatus::Running));
    assert_eq!(stubborn.result().await.unwrap(), 3);
    let panics = client.start(PANICS, ()).await.unwrap();
    assert!(panics.result().await.unwrap().contains("by design"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_activity_that_only_another_worker_has_runs_there() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker.fail_unhosted_after(Duration::from_secs(60))).await;
    let hub = world.hub(2).await;
    let other = Worker::builder(&hub).activity(ELSEWHERE, async |_: ActivityContext, (): ()| Ok(7));
    let other = Running::start(other);
    let asks = client.start(ASKS_OTHERS, ()).await.unwrap();
    assert_eq!(asks.result().await.unwrap(), 7);
    running.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_activity_with_a_limit_of_its_own_runs_as_an_ordinary_one_within_it() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker.limit_activity(SLEEP, Limit::new().at_once(1))).await;
    let begun = Instant::now();
    let sleeps = client.start(SLEEPS, vec![2, 2, 2]).await.unwrap();
    sleeps.result().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(6));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_the_worker_was_told() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker.max_local_activities(2)).await;
    let begun = Instant::now();
    client.start(SLEEPS, vec![1; 6]).await.unwrap().result().await.unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{took:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_runs_all_the_same() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    client.start(LEAVES, ()).await.unwrap().result().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.begun(), 1);
    assert!(world.memory.all_messages().values().all(Vec::is_empty), "{:?}", world.memory.all_messages());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_is_kept_although_the_turn_could_go_on() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    let begun = Instant::now();
    let [quick, late] = [1, 30].map(|seconds| client.start(RACE, seconds));
    assert_eq!(quick.await.unwrap().result().await.unwrap(), "1");
    assert_eq!(late.await.unwrap().result().await.unwrap(), "late: true");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_termination_does_not_wait_for_local_activities() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker.local_activity_time(Duration::from_secs(60))).await;
    let sleeps = client.start(SLEEPS, vec![50]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    sleeps.terminate("enough").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sleeps.status().await.unwrap().status, RuntimeStatus::Terminated);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_commits_what_has_run_and_leaves_the_rest_to_others() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    let sleeps = client.start(SLEEPS, vec![1, 60]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
    assert_eq!(world.begun(), 2);
    let hub = world.hub(2).await;
    let running = Running::start(world.worker(&hub));
    assert_eq!(sleeps.result().await.unwrap(), [1, 60]);
    assert_eq!(world.begun(), 3, "only the one that had not ended has run again");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn generations_follow_each_other_in_one_turn_with_their_local_activities() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    let before = world.metered.snapshot();
    assert_eq!(client.start(ROUNDS, 10).await.unwrap().result().await.unwrap(), 0);
    assert_eq!(world.begun(), 11);
    assert_eq!(world.metered.since(&before).of("queue.put"), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_the_turn_and_is_not_lost() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker).await;
    let hears = client.start(HEARS, ()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    hears.raise(GO, &()).await.unwrap();
    assert_eq!(hears.result().await.unwrap(), 20);
    assert_eq!(world.begun(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_instances_share_the_places_of_local_activities() {
    let world = World::new();
    let (client, running) = world.run(|worker| worker.max_local_activities(3)).await;
    let starts = join_all((0..20).map(|_| async { client.start(COUNT, 10).await.unwrap().result().await.unwrap() })).await;
    assert!(starts.into_iter().all(|sum| sum == 10));
    assert_eq!(world.begun(), 200);
    running.stop().await;
}
