//! What a worker has no code for: it waits for a worker that has it, fails when it is time, and can be ended meanwhile.

mod drained;
mod early;
mod fleet;
mod foreign;
mod moving;
mod patched;
mod replaced;
mod versions;

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::overheard::Overheard;
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::hub::{Awaited, AwaitedKind};
use crate::model::{EventKind, RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::{Client, InstanceStatus, TaskHub, Worker, WorkerBuilder};

const O: Orchestrator<(), String> = Orchestrator::new("O");
const PARENT: Orchestrator<(), String> = Orchestrator::new("Parent");
const UPGRADES: Orchestrator<u32, String> = Orchestrator::new("Upgrades");
const WAIT: Orchestrator<u32, String> = Orchestrator::new("Wait");
const A: Activity<(), String> = Activity::new("A");
const NEW: Activity<(), String> = Activity::new("New");
const GO: Event<String> = Event::new("go");

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A build of an application: what its workers host.
type Build = fn(WorkerBuilder) -> WorkerBuilder;

fn old(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .orchestrator(O, async |ctx: OrchestrationContext, ()| Ok(ctx.call(A, ()).await?))
        .orchestrator(UPGRADES, async |ctx: OrchestrationContext, n: u32| ctx.continue_as_new_version(UPGRADES, n + 1, "2.0"))
        .orchestrator(PARENT, async |ctx: OrchestrationContext, ()| {
            let child = ctx.call(WAIT, 1).version("2.0").instance_id("child");
            ctx.send_event("child", GO, "from its parent");
            Ok(child.await?)
        })
        .activity(A, async |_: ActivityContext, ()| Ok("old".to_owned()))
}

fn new_without_activity(worker: WorkerBuilder) -> WorkerBuilder {
    old(worker)
        .orchestrator_version(O, "2.0", async |ctx: OrchestrationContext, ()| Ok(ctx.call(NEW, ()).await?))
        .orchestrator_version(UPGRADES, "2.0", async |ctx: OrchestrationContext, n: u32| {
            Ok(format!("{n} in {}", ctx.version().unwrap_or_default()))
        })
        .orchestrator_version(WAIT, "2.0", wait)
}

fn new(worker: WorkerBuilder) -> WorkerBuilder {
    new_without_activity(worker).activity(NEW, async |_: ActivityContext, ()| Ok("new".to_owned()))
}

/// Waits for so many events.
async fn wait(ctx: OrchestrationContext, count: u32) -> Result<String, Failure> {
    ctx.set_custom_status("waiting");
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(ctx.wait_for_event(GO).await);
    }
    Ok(all.join(" "))
}

struct World {
    hub: TaskHub,
    client: Client,
}

/// A worker that runs until it is told to stop.
struct Running(oneshot::Sender<()>, JoinHandle<crate::error::Result<()>>);

impl World {
    async fn new(partitions: u32) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let rng = Rng::seeded(1);
        let storage = Storage::memory(clock.clone(), rng.fork());
        let hub = TaskHub::builder(storage, "Test").partitions(partitions).clock(clock).rng(rng).open().await.unwrap();
        let client = Client::new(&hub);
        Self { hub, client }
    }

    /// A worker with the limits of hubs that others can share.
    fn run(&self, id: &str, build: Build) -> Running {
        let worker = Worker::builder(&self.hub).worker_id(id);
        let worker = build(worker.fail_unhosted_alone_after(10 * MINUTE)).build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Running(stop, spawn(worker.run(async { drop(stopped.await) })))
    }

    async fn status(&self, id: &str) -> InstanceStatus {
        self.client.status(id).await.unwrap().unwrap()
    }

    async fn start(&self, id: &str, version: &str) {
        self.client.start(O, ()).version(version).instance_id(id).await.unwrap();
    }

    async fn output(&self, id: &str) -> String {
        self.client.wait(id, MINUTE).await.unwrap().output().unwrap()
    }

    async fn messages(&self) -> u64 {
        let status = self.client.hub_status().await.unwrap();
        status.partitions.iter().map(|p| p.queue.messages).sum::<u64>() + status.work_items.messages
    }
}

#[allow(clippy::disallowed_methods, reason = "a process of its own, as far as its worker can tell")]
fn spawn(running: impl Future<Output = crate::error::Result<()>> + Send + 'static) -> JoinHandle<crate::error::Result<()>> {
    tokio::spawn(running)
}

impl Running {
    async fn stop(self) {
        drop(self.0);
        self.1.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_rolling_update_every_version_runs_its_own_code() {
    let world = World::new(3).await;
    let olds = [world.run("old1", old), world.run("old2", old), world.run("old3", old)];
    tokio::time::sleep(MINUTE).await;
    let canary = world.run("new1", new);
    for number in 0..30 {
        world.start(&format!("first{number}"), "").await;
        world.start(&format!("second{number}"), "2.0").await;
    }
    // A canary of one in four, for an hour.
    tokio::time::sleep(HOUR).await;
    let mut news = vec![canary];
    for (number, old) in olds.into_iter().enumerate() {
        old.stop().await;
        news.push(world.run(&format!("new{}", 2 + number), new));
        tokio::time::sleep(MINUTE).await;
    }
    for number in 0..30 {
        assert_eq!(world.output(&format!("first{number}")).await, "old");
        assert_eq!(world.output(&format!("second{number}")).await, "new");
    }
    join_all(news.into_iter().map(Running::stop)).await;
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_fails_after_ten_minutes_where_one_worker_is_alone() {
    let world = World::new(2).await;
    let _worker = world.run("alone", new_without_activity);
    tokio::time::sleep(HOUR).await;
    world.start("activity", "2.0").await;
    world.start("version", "2.1").await;
    world.client.start_json("Wiat", None).version("2.0").instance_id("slip").await.unwrap();
    tokio::time::sleep(9 * MINUTE).await;
    assert_eq!(world.status("activity").await.status, RuntimeStatus::Running);
    for id in ["version", "slip"] {
        assert_eq!(world.status(id).await.status, RuntimeStatus::Pending, "{id}");
        assert!(world.client.history(id).await.unwrap().is_empty());
    }
    tokio::time::sleep(3 * MINUTE).await;
    let there = "O (no version, version \"2.0\"), Parent, Upgrades (no version, version \"2.0\"), Wait (version \"2.0\")";
    let alone = "For 10 minutes no other worker was alive in the hub that could have it.";
    for (id, words) in [
        ("version", format!("no orchestrator \"O\" version \"2.1\"; registered are: {there}. {alone}")),
        ("slip", format!("no orchestrator \"Wiat\" version \"2.0\"; registered are: {there}. Did you mean \"Wait\"? {alone}")),
    ] {
        let ended = world.status(id).await;
        assert_eq!(ended.status, RuntimeStatus::Failed, "{id}");
        assert_eq!(ended.output.unwrap(), format!("OrchestratorTaskNotFound: This worker has {words}"));
    }
    let ended = world.status("activity").await;
    assert_eq!(ended.status, RuntimeStatus::Failed);
    let output = ended.output.unwrap();
    assert!(output.contains(&format!("This worker has no activity \"New\"; registered are: A. {alone}")), "{output}");
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn it_fails_after_its_time_where_others_are_alive_whatever_restarts() {
    let world = World::new(2).await;
    let build: Build = |worker| old(worker).fail_unhosted_after(5 * HOUR);
    let mut workers = vec![world.run("a", build), world.run("b", build)];
    tokio::time::sleep(MINUTE).await;
    world.start("version", "2.0").await;
    world.client.start_json("Calls", None).instance_id("other").await.unwrap();
    for hours in 0..4 {
        tokio::time::sleep(HOUR).await;
        assert_eq!(world.status("version").await.status, RuntimeStatus::Pending, "after {hours} hours");
        workers.remove(0).stop().await;
        workers.push(world.run(&format!("c{hours}"), build));
    }
    tokio::time::sleep(HOUR + 5 * MINUTE).await;
    let ended = world.status("version").await;
    assert_eq!(ended.status, RuntimeStatus::Failed);
    let output = ended.output.unwrap();
    assert!(output.ends_with("Other workers, one of which could have it, were waited for for 5 hours."), "{output}");
    assert_eq!(world.status("other").await.status, RuntimeStatus::Failed);
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_after_long_rest_of_the_hub_waits_for_others() {
    let world = World::new(2).await;
    world.start("version", "2.0").await;
    tokio::time::sleep(3 * DAY).await;
    let (first, second) = (world.run("a", old), world.run("b", old));
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(world.status("version").await.status, RuntimeStatus::Pending);
    let _worker = world.run("c", new);
    first.stop().await;
    second.stop().await;
    assert_eq!(world.output("version").await, "new");
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_partition_is_seen_and_waited_for() {
    let world = World::new(1).await;
    let owner = world.run("owner", old);
    tokio::time::sleep(MINUTE).await;
    let _guest = world.run("guest", new);
    world.start("version", "2.0").await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.status("version").await.status, RuntimeStatus::Pending);
    owner.stop().await;
    assert_eq!(world.output("version").await, "new");
}

#[tokio::test(start_paused = true)]
async fn a_worker_fails_at_once_what_it_is_told_to() {
    let world = World::new(1).await;
    for build in [old as Build, |worker| old(worker).fail_unhosted_at_once()] {
        let at_once = build(Worker::builder(&world.hub)).build().unwrap();
        let running = spawn(at_once.run(std::future::pending()));
        let id = world.client.start(O, ()).version("2.0").await.unwrap();
        let ended = world.client.wait(&id, MINUTE).await.unwrap();
        assert_eq!(ended.status, RuntimeStatus::Failed);
        let output = ended.output.unwrap();
        assert!(output.ends_with("registered are: O, Parent, Upgrades."), "{output}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_pending_or_running_ends_without_its_code() {
    let world = World::new(1).await;
    let begun = world.run("new", new);
    for id in ["running", "eventful"] {
        world.client.start(WAIT, 3).version("2.0").instance_id(id).await.unwrap();
    }
    tokio::time::sleep(MINUTE).await;
    begun.stop().await;
    let _other = world.run("other", old);
    world.client.start(WAIT, 3).version("2.0").instance_id("pending").await.unwrap();
    world.client.raise("eventful", GO, &"kept".to_owned()).await.unwrap();
    tokio::time::sleep(7 * MINUTE).await;
    for id in ["running", "pending", "eventful"] {
        world.client.terminate(id, "enough").await.unwrap();
    }
    for id in ["running", "pending", "eventful"] {
        let ended = world.client.wait(id, MINUTE / 6).await.unwrap();
        assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Terminated, Some("enough")), "{id}");
        let status = (id != "pending").then_some("\"waiting\"");
        assert_eq!(ended.custom_status.as_deref(), status, "{id}");
    }
    let history = world.client.history("eventful").await.unwrap();
    let ends = history.iter().filter(|event| matches!(event.kind, EventKind::ExecutionCompleted { .. })).count();
    assert_eq!(ends, 1);
    tokio::time::sleep(3 * MINUTE).await;
    assert_eq!(world.messages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn events_wait_in_their_order_for_the_code() {
    let world = World::new(1).await;
    let begun = world.run("new", new);
    world.client.start(WAIT, 6).version("2.0").instance_id("running").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    begun.stop().await;
    let other = world.run("old", old);
    for number in 0..6 {
        world.client.raise("running", GO, &number.to_string()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(7 + 11 * number)).await;
    }
    assert_eq!(world.status("running").await.status, RuntimeStatus::Running);
    other.stop().await;
    let _worker = world.run("new again", new);
    assert_eq!(world.client.wait("running", 2 * MINUTE).await.unwrap().output::<String>().unwrap(), "0 1 2 3 4 5");
}

#[tokio::test(start_paused = true)]
async fn the_next_generation_waits_for_its_version() {
    let world = World::new(1).await;
    let other = world.run("old", old);
    world.client.start(UPGRADES, 1).instance_id("upgrades").await.unwrap();
    tokio::time::sleep(5 * MINUTE).await;
    let waiting = world.status("upgrades").await;
    assert_eq!((waiting.status, waiting.version.as_deref()), (RuntimeStatus::Running, Some("2.0")));
    other.stop().await;
    let _worker = world.run("new", new);
    assert_eq!(world.output("upgrades").await, "2 in 2.0");
}

#[tokio::test(start_paused = true)]
async fn a_child_without_a_row_waits_with_what_was_sent_to_it() {
    let world = World::new(1).await;
    let first = world.run("old", old);
    world.client.start(PARENT, ()).instance_id("parent").await.unwrap();
    tokio::time::sleep(4 * MINUTE).await;
    // The next owner knows nothing of what waits.
    first.stop().await;
    let second = world.run("old again", old);
    tokio::time::sleep(5 * MINUTE).await;
    assert!(world.client.status("child").await.unwrap().is_none());
    second.stop().await;
    let _worker = world.run("new", new);
    assert_eq!(world.output("parent").await, "from its parent");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_to_a_child_waits_with_it_however_many_wait() {
    let world = World::new(1).await;
    let patient = |worker: WorkerBuilder| old(worker).remembered(20).fail_unhosted_alone_after(24 * HOUR);
    let first = world.run("old", patient);
    for n in 0..40 {
        world.start(&format!("waits-{n}"), "2.0").await;
    }
    tokio::time::sleep(HOUR).await;
    world.client.start(PARENT, ()).instance_id("parent").await.unwrap();
    tokio::time::sleep(HOUR).await;
    first.stop().await;
    let _worker = world.run("new", new);
    let parent = world.client.wait("parent", 25 * MINUTE).await.unwrap();
    assert_eq!(parent.output::<String>().unwrap(), "from its parent");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_for_hours_is_neither_poison_nor_lost() {
    let world = World::new(2).await;
    let (first, second) = (world.run("a", new_without_activity), world.run("b", new_without_activity));
    tokio::time::sleep(MINUTE).await;
    world.start("version", "2.0").await;
    tokio::time::sleep(5 * HOUR).await;
    assert_eq!(world.status("version").await.status, RuntimeStatus::Running);
    let _worker = world.run("c", new);
    first.stop().await;
    second.stop().await;
    assert_eq!(world.output("version").await, "new");
    assert_eq!((world.messages().await, world.client.poison().await.unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_is_shown_as_long_as_it_is() {
    let world = World::new(2).await;
    let other = world.run("old", new_without_activity);
    assert!(world.client.awaited().await.unwrap().is_empty());
    for (id, version) in [("i1", "2.1"), ("i2", "2.1"), ("i3", "2.0"), ("i4", "")] {
        world.start(id, version).await;
    }
    tokio::time::sleep(3 * MINUTE).await;
    let awaited = world.client.hub_status().await.unwrap().awaited;
    let queue = |id: &str| world.hub.0.queues.name(world.hub.0.queues.of_instance(id)).to_owned();
    let of_version: Vec<_> = awaited.iter().filter(|a| a.version.as_deref() == Some("2.1")).collect();
    assert!(of_version.iter().all(|a| (a.kind, &*a.name, &*a.worker) == (AwaitedKind::Orchestrator, "O", "old")), "{awaited:?}");
    let queues: Vec<_> = of_version.iter().map(|a| a.queue.clone()).collect();
    assert_eq!(of_version.iter().filter_map(|a| a.instances).sum::<u32>(), 2, "{awaited:?}");
    assert!(queues.contains(&queue("i1")) && queues.contains(&queue("i2")));
    let activity = awaited.iter().find(|a| a.kind == AwaitedKind::Activity).unwrap();
    assert_eq!((&*activity.name, activity.version.as_deref(), &*activity.instance_id), ("New", None, "i3"));
    for (id, kind) in [
        ("i1", Some(AwaitedKind::Orchestrator)),
        ("i2", Some(AwaitedKind::Orchestrator)),
        ("i3", Some(AwaitedKind::Activity)),
        ("i4", None),
    ] {
        let instance = world.status(id).await;
        assert_eq!(awaited.iter().find(|a| world.client.waits_for(&instance, a)).map(|a| a.kind), kind, "{id}");
    }
    other.stop().await;
    let _worker = world.run("new", new);
    tokio::time::sleep(10 * MINUTE).await;
    let left = world.client.awaited().await.unwrap();
    assert!(left.iter().all(|a| a.version.as_deref() == Some("2.1")), "{left:?}");
    assert_eq!(world.output("i3").await, "new");
}

#[tokio::test(start_paused = true)]
async fn what_was_waited_for_is_gone_as_soon_as_nothing_waits_for_it() {
    let world = World::new(2).await;
    let old = world.run("old", new_without_activity);
    for (id, version) in [("i1", "2.1"), ("i2", "2.1"), ("i3", "2.0")] {
        world.start(id, version).await;
    }
    tokio::time::sleep(90 * Duration::from_secs(1)).await;
    let kinds = async || -> Vec<_> {
        let kinds = |all: Vec<Awaited>| -> Vec<_> { all.iter().map(|awaited| awaited.kind).collect() };
        let shown = kinds(world.client.hub_status().await.unwrap().awaited);
        assert_eq!(shown, kinds(world.client.awaited().await.unwrap()), "both say the same");
        shown
    };
    // The row of an orchestrator is one in each queue.
    let before = kinds().await;
    assert!(before.contains(&AwaitedKind::Orchestrator) && before.contains(&AwaitedKind::Activity), "{before:?}");
    world.client.terminate("i1", "enough").await.unwrap();
    world.client.wait("i1", MINUTE).await.unwrap();
    assert!(kinds().await.contains(&AwaitedKind::Orchestrator), "the other one waits");
    world.client.terminate("i2", "enough").await.unwrap();
    world.client.wait("i2", MINUTE).await.unwrap();
    assert_eq!(kinds().await, [AwaitedKind::Activity]);
    let _new = world.run("new", new);
    assert_eq!(world.client.wait("i3", 2 * MINUTE).await.unwrap().output::<String>().unwrap(), "new");
    assert_eq!(kinds().await, []);
    assert!(!world.hub.0.awaited.list().await.unwrap().is_empty(), "the rows are there yet");
    old.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_told_at_the_first_message_and_then_every_ten_minutes() {
    let log = Overheard::default();
    let _hears = log.listen();
    let world = World::new(2).await;
    let (_a, _b) = (world.run("a", old), world.run("b", old));
    tokio::time::sleep(MINUTE).await;
    world.start("version", "2.0").await;
    world.start("version too", "2.0").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = || log.with("This worker has no orchestrator \"O\" version \"2.0\"; registered are: O, Parent, Upgrades.");
    let first = told();
    assert!((1..=2).contains(&first.len()), "one line for each worker that sees it: {first:?}");
    assert!(
        first[0].contains("they fail after 10 minutes if this worker is the only one, and after 1 day if there are others"),
        "{first:?}"
    );
    tokio::time::sleep(9 * MINUTE).await;
    assert_eq!(told(), first);
    tokio::time::sleep(HOUR).await;
    assert!((6 * first.len()..=7 * first.len()).contains(&told().len()), "{:?}", told());
}
