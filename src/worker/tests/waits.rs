//! Waiting for a status and for changes, starting far ahead and in place of what runs, and listing by tags and age.

use std::time::Duration;

use tokio::time::Instant;

use super::handover::Running;
use super::harness::open;
use crate::authoring::{Event, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::layer::metered::Metered;
use crate::storage::memory::Memory;
use crate::{Client, ErrorKind, InstanceQuery, TaskHub, Worker, WorkerBuilder};

/// Shows each of its events as its custom status, until one is "end".
const SHOW: Orchestrator<(), String> = Orchestrator::new("Show");
const SAY: Event<String> = Event::new("say");
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn worker(hub: &TaskHub) -> WorkerBuilder {
    Worker::builder(hub).max_poll_interval(Duration::from_secs(1)).orchestrator(SHOW, async |ctx: OrchestrationContext, ()| {
        loop {
            let said = ctx.wait_for_event(SAY).await;
            ctx.set_custom_status(&said);
            if said == "end" {
                return Ok(said);
            }
        }
    })
}

struct World {
    memory: Memory,
    clock: Clock,
    hub: TaskHub,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let hub = open(memory.storage(), &clock, 1, 2).await;
        Self { client: Client::new(&hub), memory, clock, hub }
    }

    async fn work(&self, time: Duration) {
        let running = Running::start(worker(&self.hub));
        tokio::time::sleep(time).await;
        running.stop().await;
    }

    async fn status(&self, id: &str) -> RuntimeStatus {
        self.client.status(id).await.unwrap().unwrap().status
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_custom_status_ends_with_it_or_with_the_instance_and_costs_little() {
    let world = World::new().await;
    let meter = Metered::default();
    let hub = open(world.memory.storage().layered(meter.clone()), &world.clock, 1, 3).await;
    let watcher = Client::new(&hub).instance("i");
    let show = world.client.start(SHOW, ()).instance_id("i").await.unwrap();
    let running = Running::start(worker(&world.hub));
    let said = |wanted: &'static str| watcher.wait_until(move |status| status.custom_status.as_deref() == Some(wanted));
    let acting = async {
        tokio::time::sleep(10 * MINUTE).await;
        show.raise(SAY, "paid").await.unwrap();
    };
    let before = meter.snapshot();
    let (paid, ()) = tokio::join!(said("\"paid\""), acting);
    let paid = paid.unwrap();
    assert_eq!((paid.status, paid.custom_status::<String>().unwrap().as_str()), (RuntimeStatus::Running, "paid"));
    let calls = meter.since(&before).total("");
    assert!((300..330).contains(&calls), "one look in two seconds: {calls}");
    let late = said("\"shipped\"").within(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    show.raise(SAY, "end").await.unwrap();
    let ended = said("\"shipped\"").await.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Ended, "{ended}");
    assert_eq!(watcher.wait_until(|_| false).await.unwrap_err().kind(), ErrorKind::Ended);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_at_once_in_the_process_that_makes_it_and_soon_in_others() {
    let world = World::new().await;
    let other = open(world.memory.storage(), &world.clock, 1, 4).await;
    let show = world.client.start(SHOW, ()).instance_id("i").await.unwrap();
    let running = Running::start(worker(&world.hub));
    tokio::time::sleep(MINUTE).await;
    let clients = [(&world.client, "hello", Duration::from_millis(20)), (&Client::new(&other), "again", Duration::from_secs(2))];
    for (client, word, most) in clients {
        let seen = show.status().await.unwrap();
        assert_eq!(client.instance("i").changed("").await.unwrap(), seen, "what has changed already");
        let watching = client.instance("i");
        let acting = async {
            tokio::time::sleep(10 * MINUTE).await;
            show.raise(SAY, word).await.unwrap();
            Instant::now()
        };
        let waiting = async { (watching.changed(&seen.revision).await.unwrap(), Instant::now()) };
        let ((changed, at), raised) = tokio::join!(waiting, acting);
        assert_ne!(changed.revision, seen.revision);
        assert!(at - raised <= most, "{:?}", at - raised);
        let still = watching.changed(&changed.revision).within(MINUTE).await;
        assert!(still.is_err_and(|error| error.kind() == ErrorKind::Timeout));
    }
    show.raise(SAY, "end").await.unwrap();
    let ended = show.wait().await.unwrap();
    let acting = async {
        tokio::time::sleep(MINUTE).await;
        show.purge().await.unwrap();
    };
    let (gone, ()) = tokio::join!(show.changed(&ended.revision), acting);
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_scheduled_forty_days_ahead_begins_then_and_not_before_whoever_is_there_meanwhile() {
    let world = World::new().await;
    world.client.start(SHOW, ()).after(40 * DAY).tag("a", "b").instance_id("i").await.unwrap();
    for day in 1..40 {
        tokio::time::sleep(DAY - MINUTE).await;
        // Also on the days on which the message comes up.
        if day % 7 < 2 {
            world.work(MINUTE).await;
        } else {
            tokio::time::sleep(MINUTE).await;
        }
        assert_eq!(world.status("i").await, RuntimeStatus::Pending, "day {day}");
    }
    tokio::time::sleep(DAY - 2 * MINUTE).await;
    world.work(MINUTE).await;
    assert_eq!(world.status("i").await, RuntimeStatus::Pending, "a minute before");
    tokio::time::sleep(MINUTE).await;
    world.work(MINUTE).await;
    let begun = world.client.status("i").await.unwrap().unwrap();
    assert_eq!((begun.status, begun.tags["a"].as_str()), (RuntimeStatus::Running, "b"));
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_ended_before_it_is_replaced_or_the_start_says_why_not() {
    let world = World::new().await;
    let start = || world.client.start(SHOW, ()).instance_id("i").replacing_any();
    start().await.unwrap();
    let unseen = start().await.unwrap_err();
    assert!(unseen.kind() == ErrorKind::Timeout && unseen.to_string().contains("no worker has seen that yet"), "{unseen}");
    let running = Running::start(worker(&world.hub));
    let first = start().await.unwrap().status().await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.status("i").await, RuntimeStatus::Running);
    start().await.unwrap();
    tokio::time::sleep(MINUTE).await;
    let second = world.client.status("i").await.unwrap().unwrap();
    assert!(second.execution_id != first.execution_id && second.generation > first.generation, "{second:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instances_are_listed_by_tags_and_the_last_ones_first_page_by_page() {
    let world = World::new().await;
    for n in 0..25_u32 {
        let id = format!("i{:02}", (n * 7) % 25);
        let start = world.client.start(SHOW, ()).instance_id(&id).tag("parity", if n % 2 == 0 { "even" } else { "odd" });
        start.tag("all", "x").await.unwrap();
        tokio::time::sleep(MINUTE).await;
    }
    world.memory.set_page_limit(4);
    let mut query = InstanceQuery { newest_first: true, page_size: 4, ..InstanceQuery::default() };
    query.tags = [("parity", "odd"), ("all", "x")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (mut all, mut pages) = (Vec::new(), 0);
    loop {
        let page = world.client.list(&query).await.unwrap();
        all.extend(page.instances.into_iter().map(|instance| instance.instance_id));
        pages += 1;
        query.continuation = page.continuation;
        if query.continuation.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..25_u32).rev().filter(|n| n % 2 == 1).map(|n| format!("i{:02}", (n * 7) % 25)).collect();
    assert_eq!((all, pages), (expected, 3));
    let none = InstanceQuery { tags: [("parity".to_owned(), "none".to_owned())].into(), ..InstanceQuery::default() };
    assert!(world.client.list(&none).await.unwrap().instances.is_empty());
}
