//! Several processes on one hub, each with doorbells of its own: what waits reaches the one that has its code soon, and costs little.

use super::*;
use crate::hub::QueueId;
use crate::model::{HistoryEvent, InstanceRef, Message};
use crate::size;
use crate::storage::layer::metered::{Counts, Metered};

/// A hub that processes share.
pub(super) struct Fleet {
    clock: Clock,
    rng: Rng,
    storage: Storage,
    metered: Metered,
    partitions: u32,
}

impl Fleet {
    pub(super) fn new(partitions: u32) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let (rng, metered) = (Rng::seeded(1), Metered::default());
        let storage = Storage::memory(clock.clone(), rng.fork()).layered(metered.clone());
        Self { clock, rng, storage, metered, partitions }
    }

    /// Another process.
    pub(super) async fn process(&self) -> World {
        let (clock, rng) = (self.clock.clone(), self.rng.fork());
        let builder = TaskHub::builder(self.storage.clone(), "Test").partitions(self.partitions);
        let hub = builder.clock(clock).rng(rng).open().await.unwrap();
        let client = Client::new(&hub);
        World { hub, client }
    }

    /// What is called within this time.
    async fn calls_in(&self, time: Duration) -> Counts {
        let before = self.metered.snapshot();
        tokio::time::sleep(time).await;
        self.metered.since(&before)
    }
}

/// How long each call of an activity took to be answered.
async fn answer_times(world: &World, id: &str) -> Vec<Duration> {
    let history = world.client.history(id).await.unwrap();
    let called = history.iter().filter(|event| matches!(event.kind, EventKind::TaskScheduled { .. }));
    let answer_of = |id: i32| history.iter().find(|event| event.kind.completes() == Some(id)).unwrap();
    called.map(|call| answer_of(call.event_id).timestamp.since(call.timestamp)).collect()
}

fn call(world: &World, number: u32, name: &str) -> Message {
    let hub = &world.hub.0;
    let kind = EventKind::TaskScheduled { name: name.into(), version: None, input: None, trace: None, tags: None };
    Message::from_client(hub.rng.uuid(), HistoryEvent::decision(0, hub.now(), kind), InstanceRef::new(format!("i{number}"), "x"))
}

const BUSY: Orchestrator<(), String> = Orchestrator::new("Busy");

/// Keeps the work items moving: activities that every worker has.
async fn busy(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    ctx.call(A, ()).await?;
    ctx.timer(Duration::from_secs(1)).await;
    ctx.continue_as_new(BUSY, ())
}

#[tokio::test(start_paused = true)]
async fn a_new_activity_is_found_soon_by_the_one_of_four_workers_that_has_it() {
    for with_others in [false, true] {
        let fleet = Fleet::new(4);
        let mut running = Vec::new();
        let old: Build = |worker| new_without_activity(worker).orchestrator(BUSY, busy);
        for id in ["old1", "old2", "old3"] {
            running.push(fleet.process().await.run(id, old));
        }
        let new: Build = |worker| new(worker).orchestrator(BUSY, busy);
        running.push(fleet.process().await.run("new", new));
        let world = fleet.process().await;
        tokio::time::sleep(MINUTE).await;
        if with_others {
            for number in 0..3 {
                world.client.start(BUSY, ()).instance_id(format!("busy{number}")).await.unwrap();
            }
        }
        for number in 0..20 {
            world.start(&format!("i{number}"), "2.0").await;
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
        tokio::time::sleep(2 * MINUTE).await;
        let mut times = Vec::new();
        for number in 0..20 {
            assert_eq!(world.output(&format!("i{number}")).await, "new");
            times.extend(answer_times(&world, &format!("i{number}")).await);
        }
        times.sort();
        assert_eq!(times.len(), 20);
        assert!(times[10] <= Duration::from_secs(20) && times[19] <= Duration::from_secs(32), "{with_others}: {times:?}");
        join_all(running.into_iter().map(Running::stop)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_cost_little_however_many_they_are_and_come_through_when_their_code_is_there() {
    let fleet = Fleet::new(1);
    let other = fleet.process().await;
    let other = other.run("old", |worker| old(worker).fail_unhosted_alone_after(DAY));
    let world = fleet.process().await;
    tokio::time::sleep(MINUTE).await;
    let (waiting, time, expected) = size::of(
        (
            250,
            10 * MINUTE,
            "6509: container.lease 15, poll 21, queue.peek 864, queue.receive 264, queue.update 5280, table.query 10, table.transact 43, \
             table.upsert_replace 12",
        ),
        (
            5000,
            HOUR,
            "42946: container.lease 90, poll 121, queue.peek 4734, queue.receive 1791, queue.update 35820, table.query 61, \
             table.transact 257, table.upsert_replace 72",
        ),
    );
    for number in 0..waiting {
        let message = call(&world, number, "New");
        world.hub.0.queues.send(QueueId::WorkItems, message, Duration::ZERO).await.unwrap();
    }
    tokio::time::sleep(20 * MINUTE).await;
    let calls = fleet.calls_in(time).await;
    assert_eq!(
        format!("{}: {calls}", calls.total("")),
        expected,
        "in an hour 467 are for leases, 60 tell of it, 12 of storage calls, and 60 look for others"
    );
    let awaited = world.client.awaited().await.unwrap();
    assert_eq!((awaited.len(), awaited[0].instances, awaited[0].instance_ids.len()), (1, Some(waiting), 100));
    let _new = fleet.process().await.run("new", new);
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(world.client.hub_status().await.unwrap().work_items.messages, 0);
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instances_that_wait_cost_little_however_many_they_are_and_begin_when_their_code_is_there() {
    let fleet = Fleet::new(1);
    let other = fleet.process().await;
    let other = other.run("old", |worker| old(worker).fail_unhosted_alone_after(DAY));
    let world = fleet.process().await;
    tokio::time::sleep(MINUTE).await;
    let (waiting, time, expected) = size::of(
        (
            250,
            10 * MINUTE,
            "3110: container.lease 15, poll 280, queue.receive 250, queue.update 2500, table.query 10, table.transact 43, \
             table.upsert_replace 12",
        ),
        (
            5000,
            HOUR,
            "37517: container.lease 90, poll 428, queue.receive 1299, queue.update 35310, table.query 61, table.transact 257, \
             table.upsert_replace 72",
        ),
    );
    for number in 0..waiting {
        world.start(&format!("i{number}"), "2.0").await;
    }
    tokio::time::sleep(20 * MINUTE).await;
    let calls = fleet.calls_in(time).await;
    assert_eq!(
        format!("{}: {calls}", calls.total("")),
        expected,
        "five thousand cost 600 a minute, 12 tell of storage calls, and no row is read"
    );
    let awaited = world.client.awaited().await.unwrap();
    assert_eq!((awaited.len(), awaited[0].instances), (1, Some(waiting)));
    other.stop().await;
    let _new = fleet.process().await.run("new", new);
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_rest_of_the_hub_others_are_waited_for_for_the_whole_limit() {
    let world = World::new(2).await;
    world.start("version", "2.0").await;
    tokio::time::sleep(3 * DAY).await;
    let build: Build = |worker| old(worker).fail_unhosted_after(5 * HOUR);
    let mut workers = vec![world.run("a", build), world.run("b", build)];
    for hours in 0..4 {
        tokio::time::sleep(HOUR).await;
        assert_eq!(world.status("version").await.status, RuntimeStatus::Pending, "after {hours} hours");
        // What has been waited for survives those who have waited.
        workers.remove(0).stop().await;
        workers.push(world.run(&format!("c{hours}"), build));
    }
    tokio::time::sleep(50 * MINUTE).await;
    assert_eq!(world.status("version").await.status, RuntimeStatus::Pending);
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(world.status("version").await.status, RuntimeStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn more_names_than_are_remembered_fail_when_it_is_time_and_not_before() {
    let world = World::new(1).await;
    let build: Build = |worker| old(worker).fail_unhosted_after(10 * MINUTE);
    let (_a, _b) = (world.run("a", build), world.run("b", build));
    tokio::time::sleep(MINUTE).await;
    let names = size::of(1010, 1200);
    for number in 0..names {
        world.client.start_json(format!("Name{number}"), None).instance_id(format!("i{number}")).await.unwrap();
    }
    tokio::time::sleep(8 * MINUTE).await;
    for number in 0..names {
        assert_eq!(world.status(&format!("i{number}")).await.status, RuntimeStatus::Pending, "{number}");
    }
    tokio::time::sleep(5 * MINUTE).await;
    for number in 0..names {
        assert_eq!(world.status(&format!("i{number}")).await.status, RuntimeStatus::Failed, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_instance_that_waits_for_an_activity_is_marked_and_the_lines_go_with_what_they_tell_of() {
    let fleet = Fleet::new(2);
    let world = fleet.process().await;
    let other = fleet.process().await.run("old", |worker| new_without_activity(worker).fail_unhosted_alone_after(2 * DAY));
    tokio::time::sleep(MINUTE).await;
    for number in 0..5 {
        world.start(&format!("i{number}"), "2.0").await;
    }
    world.start("ours", "").await;
    tokio::time::sleep(5 * MINUTE).await;
    let awaited = world.client.awaited().await.unwrap();
    assert_eq!((awaited.len(), awaited[0].kind, awaited[0].instances), (1, AwaitedKind::Activity, Some(5)));
    for (id, waits) in (0..5).map(|number| (format!("i{number}"), true)).chain([("ours".to_owned(), false)]) {
        assert_eq!(world.client.waits_for(&world.status(&id).await, &awaited[0]), waits, "{id}");
    }
    let rows = async || {
        let hub = &world.hub.0;
        let all = hub.storage.tables.query(&hub.names.awaited, &crate::storage::table::Query::default()).await.unwrap().rows;
        // Those that tell the storage calls of workers are kept for longer.
        all.iter().filter(|row| row.entity.partition_key != "usage").count()
    };
    let new = fleet.process().await.run("new", new);
    for number in 0..5 {
        assert_eq!(world.output(&format!("i{number}")).await, "new");
    }
    tokio::time::sleep(3 * MINUTE).await;
    assert!(world.client.awaited().await.unwrap().is_empty());
    assert_eq!(
        rows().await,
        1 + 1,
        "kept, because it tells of which messages the receives mean nothing; and the new one shows itself"
    );
    // A day of two workers takes seconds, also where nothing happens.
    if size::of(false, true) {
        tokio::time::sleep(DAY + 2 * HOUR).await;
        assert!(rows().await <= 1, "the worker that wrote it has removed it");
    }
    other.stop().await;
    new.stop().await;
}
