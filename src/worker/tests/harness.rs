//! The worker end to end on the memory store, under paused time.

use std::time::Duration;

use futures::future::try_join_all;

use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::{Client, TaskHub, Worker, WorkerBuilder};

const HELLO: Activity<String, String> = Activity::new("Hello");
const CHAIN: Orchestrator<(), Vec<String>> = Orchestrator::new("Chain");
const FAN: Orchestrator<usize, usize> = Orchestrator::new("Fan");
const NAP: Orchestrator<u64, String> = Orchestrator::new("Nap");
const WAIT: Orchestrator<(), String> = Orchestrator::new("Wait");
const GO: Event<String> = Event::new("go");

async fn hello(_: ActivityContext, name: String) -> Result<String, Failure> {
    Ok(format!("Hello, {name}!"))
}

async fn chain(ctx: OrchestrationContext, (): ()) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for city in ["Tokyo", "Seattle", "London"] {
        all.push(ctx.call(HELLO, city).await?);
    }
    Ok(all)
}

async fn fan(ctx: OrchestrationContext, width: usize) -> Result<usize, Failure> {
    let all = try_join_all((0..width).map(|n| ctx.call(HELLO, n.to_string()))).await?;
    Ok(all.len())
}

async fn nap(ctx: OrchestrationContext, seconds: u64) -> Result<String, Failure> {
    let due = ctx.now().plus(Duration::from_secs(seconds));
    ctx.timer(Duration::from_secs(seconds)).await;
    Ok(if ctx.now() >= due { "in time" } else { "early" }.to_owned())
}

async fn wait(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    Ok(ctx.wait_for_event(GO).await)
}

pub(in crate::worker) async fn hub() -> TaskHub {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let rng = Rng::seeded(1);
    let storage = Storage::memory(clock.clone(), rng.fork());
    TaskHub::builder(storage, "Test").clock(clock).rng(rng).open().await.unwrap()
}

/// The hub "Test" on this storage. Who opens it with another seed draws other ids.
pub(in crate::worker) async fn open(storage: Storage, clock: &Clock, partitions: u32, seed: u64) -> TaskHub {
    let builder = TaskHub::builder(storage, "Test").partitions(partitions).clock(clock.clone());
    builder.rng(Rng::seeded(seed)).open().await.unwrap()
}

pub(in crate::worker) fn worker(hub: &TaskHub) -> WorkerBuilder {
    Worker::builder(hub)
        .activity(HELLO, hello)
        .orchestrator(CHAIN, chain)
        .orchestrator(FAN, fan)
        .orchestrator(NAP, nap)
        .orchestrator(WAIT, wait)
}

/// Runs a worker beside what a client does.
pub(in crate::worker) async fn with_worker<T>(hub: &TaskHub, client: impl Future<Output = T>) -> T {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = worker(hub).run(async { drop(stopped.await) });
    let acting = async {
        let result = client.await;
        drop(stop);
        result
    };
    let (ran, result) = tokio::join!(running, acting);
    ran.unwrap();
    result
}

#[tokio::test(start_paused = true)]
async fn a_chain_runs_to_its_end() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let status = with_worker(&hub, async {
        let id = client.start(CHAIN, ()).await.unwrap();
        client.wait(&id, Duration::from_secs(60)).await.unwrap()
    })
    .await;
    let expected = ["Hello, Tokyo!", "Hello, Seattle!", "Hello, London!"];
    assert_eq!(status.output::<Vec<String>>().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_of_a_thousand_completes() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let status = with_worker(&hub, async {
        let id = client.start(FAN, 1000).await.unwrap();
        client.wait(&id, Duration::from_secs(600)).await.unwrap()
    })
    .await;
    assert_eq!(status.output::<usize>().unwrap(), 1000);
}

#[tokio::test(start_paused = true)]
async fn an_event_finds_its_instance() {
    let hub = hub().await;
    let client = Client::new(&hub);
    with_worker(&hub, async {
        let wait = client.start(WAIT, ()).instance_id("waiting").await.unwrap();
        client.raise(&wait, GO, &"now".to_owned()).await.unwrap();
        assert_eq!(client.wait(&wait, Duration::from_secs(60)).await.unwrap().output::<String>().unwrap(), "now");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_longer_than_the_queue_can_hide_a_message_fires_in_time() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let id = client.start(NAP, days(9).as_secs()).await.unwrap();
    // Workers come and go, so that the test need not live through every poll of nine days.
    for pause in [days(0), days(7), days(1)] {
        tokio::time::sleep(pause).await;
        with_worker(&hub, tokio::time::sleep(Duration::from_secs(60))).await;
        assert_eq!(client.status(&id).await.unwrap().unwrap().status, RuntimeStatus::Running);
    }
    tokio::time::sleep(days(1)).await;
    let nap = with_worker(&hub, client.wait(&id, Duration::from_secs(60))).await.unwrap();
    assert_eq!(nap.output::<String>().unwrap(), "in time");
}
