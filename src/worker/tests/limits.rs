//! How much a worker does at once: never more than it was told, and as much as that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::harness::worker;
use crate::authoring::{Activity, ActivityContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::error::Result;
use crate::storage::layer::{Call, Layer, Reply};
use crate::{Client, ErrorKind, RetryPolicy, TaskHub, WorkerBuilder};

const WORK: Activity<(), ()> = Activity::new("Work");
const MANY: Orchestrator<usize, ()> = Orchestrator::new("Many");
const TWICE: Orchestrator<(), ()> = Orchestrator::new("Twice");

/// Something of which several may be under way.
#[derive(Clone, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gauge {
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        let result = work.await;
        self.now.fetch_sub(1, SeqCst);
        result
    }

    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

/// Commits of histories take a second each.
#[derive(Clone, Default)]
struct SlowCommits(Gauge);

impl Layer for SlowCommits {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if call.op != "table.transact" || call.target.0 != "TestHistory" {
            return attempt().await;
        }
        let slow = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            attempt().await
        };
        self.0.during(slow).await
    }
}

async fn hub(commits: &SlowCommits) -> TaskHub {
    let clock = Clock::paused(Timestamp::UNIX_EPOCH);
    hub_on(&Storage::memory(clock.clone(), Rng::seeded(1)), &clock, commits, 2).await
}

/// The hub as a process has it whose commits are counted.
async fn hub_on(storage: &Storage, clock: &Clock, commits: &SlowCommits, seed: u64) -> TaskHub {
    let storage = storage.clone().layered(commits.clone());
    TaskHub::builder(storage, "Test").partitions(2).clock(clock.clone()).rng(Rng::seeded(seed)).open().await.unwrap()
}

/// Runs as many orchestrations, of as many activities each, under limits; the most turns and activities at once.
async fn most(turns: usize, activities: usize) -> (usize, usize) {
    let (commits, working) = (SlowCommits::default(), Gauge::default());
    let hub = hub(&commits).await;
    let client = Client::new(&hub);
    let gauge = working.clone();
    let work = move |_: ActivityContext, (): ()| {
        let gauge = gauge.clone();
        async move {
            gauge.during(tokio::time::sleep(Duration::from_secs(5))).await;
            Ok(())
        }
    };
    let many = async |ctx: crate::OrchestrationContext, width: usize| {
        try_join_all((0..width).map(|_| ctx.call(WORK, ()))).await?;
        Ok(())
    };
    let worker = worker(&hub).activity(WORK, work).orchestrator(MANY, many);
    let worker = worker.max_orchestrations(turns).max_activities(activities).max_poll_interval(Duration::from_secs(1));
    let all = async {
        for n in 0..24 {
            client.start(MANY, 4).instance_id(format!("i{n}")).await.unwrap();
        }
        for n in 0..24 {
            let ended = client.wait(&format!("i{n}"), Duration::from_secs(600)).await.unwrap();
            assert_eq!(ended.status, RuntimeStatus::Completed);
        }
    };
    worker.run(all).await.unwrap();
    (commits.0.most(), working.most())
}

/// The most turns at once of each of two workers that share the partitions, one each, and then of the one that is left.
async fn most_of_two(turns: usize) -> [usize; 3] {
    let clock = Clock::paused(Timestamp::UNIX_EPOCH);
    let storage = Storage::memory(clock.clone(), Rng::seeded(1));
    let commits: [SlowCommits; 2] = Default::default();
    let (a, b) = (hub_on(&storage, &clock, &commits[0], 2).await, hub_on(&storage, &clock, &commits[1], 3).await);
    let (client, minute) = (Client::new(&a), Duration::from_secs(60));
    let load = async || {
        let one = async || client.start(MANY, 0).await.unwrap().result().await.unwrap();
        join_all((0..100).map(|_| one())).await;
    };
    let worker = |hub, id| worker(hub).worker_id(id).orchestrator(MANY, async |_, _| Ok(())).max_orchestrations(turns);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut most = [0; 3];
    let both = async {
        tokio::time::sleep(minute).await;
        load().await;
        let both = commits.each_ref().map(|commits| commits.0.most());
        commits[0].0.most.store(0, SeqCst);
        drop(stop);
        tokio::time::sleep(minute).await;
        load().await;
        most = [both[0], both[1], commits[0].0.most()];
    };
    let (left, gone) = (worker(&a, "a").run(both), worker(&b, "b").run(async { drop(stopped.await) }));
    let (left, gone) = tokio::join!(left, gone);
    left.and(gone).unwrap();
    most
}

/// A worker with one setting, or why there is none; it runs an orchestration with two activities and stops.
async fn works(set: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> crate::error::Result<()> {
    let hub = hub(&SlowCommits::default()).await;
    let client = Client::new(&hub);
    let twice = async |ctx: crate::OrchestrationContext, (): ()| {
        let retry = RetryPolicy::exponential(u32::MAX, Duration::MAX).max_interval(Duration::ZERO).timeout(Duration::MAX);
        ctx.call(WORK, ()).retry(retry).await?;
        Ok(ctx.call(WORK, ()).await?)
    };
    let worker = worker(&hub).activity(WORK, async |_: ActivityContext, (): ()| Ok(())).orchestrator(TWICE, twice);
    let worker = set(worker.max_poll_interval(Duration::from_secs(1))).build()?;
    let client = async {
        let id = client.start(TWICE, ()).await.unwrap();
        let ended = client.wait(&id, Duration::MAX).await.unwrap();
        assert_eq!(ended.status, RuntimeStatus::Completed);
    };
    // A worker that does nothing is not waited for.
    let ran = tokio::time::timeout(Duration::from_secs(7 * 24 * 3600), worker.run(client)).await;
    ran.expect("the worker has worked")
}

#[tokio::test(start_paused = true)]
async fn every_number_that_a_worker_can_be_given_works_or_is_refused() {
    for count in [1, 33, usize::MAX >> 3, (usize::MAX >> 3) + 1, usize::MAX] {
        works(|worker| worker.max_orchestrations(count)).await.unwrap();
        works(|worker| worker.max_activities(count)).await.unwrap();
    }
    for time in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::from(u32::MAX)), Duration::MAX] {
        works(|worker| worker.max_poll_interval(time)).await.unwrap();
        works(|worker| worker.grace_period(time)).await.unwrap();
    }
    for receives in [0, 1, u32::MAX] {
        works(|worker| worker.poison_after(receives)).await.unwrap();
    }
    works(|worker| worker.worker_id("w".repeat(1024))).await.unwrap();
    let refused = [
        works(|worker| worker.max_orchestrations(0)).await,
        works(|worker| worker.max_activities(0)).await,
        works(|worker| worker.worker_id("")).await,
        works(|worker| worker.worker_id("w".repeat(1025))).await,
    ];
    assert!(refused.iter().all(|refused| refused.as_ref().is_err_and(|e| e.kind() == ErrorKind::Invalid)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_no_time_looks_once() {
    let hub = hub(&SlowCommits::default()).await;
    let client = Client::new(&hub);
    let id = client.start(MANY, 0).await.unwrap();
    assert_eq!(client.wait(&id, Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Timeout);
    let waiting = client.wait(&id, Duration::MAX);
    assert!(tokio::time::timeout(Duration::from_secs(3600), waiting).await.is_err(), "it waits on");
}

#[tokio::test(start_paused = true)]
async fn no_more_turns_and_activities_run_at_once_than_allowed_and_no_fewer() {
    assert_eq!(most(8, 3).await, (8, 3));
    assert_eq!(most(2, 20).await, (2, 20));
}

#[tokio::test(start_paused = true)]
async fn who_owns_few_partitions_runs_as_many_turns_as_who_owns_all() {
    assert_eq!(most_of_two(8).await, [8; 3]);
}
