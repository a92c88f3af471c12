//! Orchestrators that are drained: nothing new begins, what has begun ends, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::DrainProgress;
use crate::storage::layer::faulty::{Faults, Faulty, Moment, Verdict};

const SECOND: Duration = Duration::from_secs(1);
const CALLS: Orchestrator<(), String> = Orchestrator::new("Calls");

fn build(worker: WorkerBuilder) -> WorkerBuilder {
    // What is drained is not missing: it does not fail.
    worker
        .fail_unhosted_at_once()
        .orchestrator(WAIT, wait)
        .orchestrator_version(WAIT, "2.0", wait)
        .orchestrator(CALLS, async |ctx: OrchestrationContext, ()| {
            ctx.wait_for_event(GO).await;
            Ok(ctx.call(WAIT, 0).await?)
        })
        .orchestrator(UPGRADES, async |ctx: OrchestrationContext, left: u32| {
            ctx.wait_for_event(GO).await;
            if left == 0 { Ok("done".to_owned()) } else { ctx.continue_as_new(UPGRADES, left - 1) }
        })
}

impl World {
    async fn drain(&self, orchestrator: &str) -> DrainProgress {
        self.client.drain(orchestrator).progress().await.unwrap()
    }

    async fn go(&self, id: &str) {
        self.client.raise(id, GO, &"go".to_owned()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_ends_and_what_is_new_begins_when_the_drain_is_lifted() {
    let world = World::new(2).await;
    let workers = [world.run("a", build), world.run("b", build)];
    world.client.start(WAIT, 1).instance_id("begun").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    let drain = world.client.drain("wAIT");
    let since = drain.begin().await.unwrap().since;
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(drain.begin().await.unwrap().since, since, "said already");
    for n in 0..10 {
        world.client.start(WAIT, 1).instance_id(format!("new{n}")).await.unwrap();
        world.go(&format!("new{n}")).await;
    }
    tokio::time::sleep(15 * MINUTE).await;
    let progress = drain.progress().await.unwrap();
    assert_eq!((progress.open, progress.waiting, progress.is_done), (1, 10, false));
    let awaited = world.client.awaited().await.unwrap();
    assert!(!awaited.is_empty() && awaited.iter().all(|it| (it.kind, &*it.name) == (AwaitedKind::Drain, "Wait")), "{awaited:?}");
    assert!(
        world.client.waits_for(
            &world.status("new0").await,
            awaited.iter().find(|it| it.instance_ids.contains(&"new0".to_owned())).unwrap()
        )
    );
    world.client.terminate("new9", "not needed").await.unwrap();
    world.go("begun").await;
    assert_eq!(world.output("begun").await, "go");
    tokio::time::sleep(2 * MINUTE).await;
    let progress = drain.progress().await.unwrap();
    assert_eq!((progress.open, progress.waiting, progress.is_done), (0, 9, true));
    assert!(drain.lift().await.unwrap() && !drain.lift().await.unwrap());
    for n in 0..9 {
        assert_eq!(world.client.wait(&format!("new{n}"), 3 * MINUTE).await.unwrap().output::<String>().unwrap(), "go");
    }
    assert_eq!(world.status("new9").await.status, RuntimeStatus::Terminated);
    assert!(world.drain("Wait").await.draining.is_none());
    join_all(workers.into_iter().map(Running::stop)).await;
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn one_version_is_drained_and_the_others_go_on() {
    let world = World::new(1).await;
    let worker = world.run("w", build);
    world.client.drain("Wait").version("").begin().await.unwrap();
    tokio::time::sleep(MINUTE).await;
    world.client.start(WAIT, 0).instance_id("none").await.unwrap();
    world.client.start(WAIT, 0).version("2.0").instance_id("second").await.unwrap();
    assert_eq!(world.output("second").await, "");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.status("none").await.status, RuntimeStatus::Pending);
    let of_all = world.drain("Wait").await;
    assert_eq!((of_all.draining, of_all.waiting), (None, 1), "another drain");
    let all = world.client.draining().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((&*all[0].name, all[0].version.as_deref()), ("Wait", Some("")));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn children_and_next_generations_of_what_has_begun_begin() {
    let world = World::new(1).await;
    let worker = world.run("w", build);
    world.client.start(CALLS, ()).instance_id("parent").await.unwrap();
    world.client.start(UPGRADES, 2).instance_id("generations").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    for name in ["Calls", "Wait", "Upgrades"] {
        world.client.drain(name).begin().await.unwrap();
    }
    tokio::time::sleep(MINUTE).await;
    world.go("parent").await;
    assert_eq!(world.output("parent").await, "");
    for _ in 0..3 {
        world.go("generations").await;
        tokio::time::sleep(MINUTE).await;
    }
    assert_eq!(world.output("generations").await, "done");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_drained_is_read_at_first_and_then_twice_a_minute_at_most_and_only_while_instances_are_started() {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let (looking, asked) = (Faulty::new(Faults::default(), Rng::seeded(3)), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&asked);
    looking.on_call(move |call, _, moment| {
        if moment == Moment::Before && call.op == "table.query" && call.target.0.ends_with("Awaited") {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Proceed
    });
    let storage = Storage::memory(clock.clone(), Rng::seeded(1)).layered(looking);
    let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
    let world = World { client: Client::new(&hub), hub };
    let worker = world.run("w", build);
    tokio::time::sleep(HOUR).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    for _ in 0..60 {
        world.client.start(WAIT, 0).await.unwrap().result().await.unwrap();
        tokio::time::sleep(SECOND).await;
    }
    // At 0, 25 and 50 seconds.
    assert_eq!(asked.load(Ordering::Relaxed), 1 + 3);
    worker.stop().await;
}
