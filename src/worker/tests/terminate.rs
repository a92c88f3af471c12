//! Terminations that go beyond their instance: down the tree, across workers and generations, and through every crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::handover::Running;
use super::harness::open;
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::hub::instances::Culprit;
use crate::hub::{Arrival, QueueId, Received};
use crate::model::{
    Descendants, EventKind, ExecutionStarted, HistoryEvent, InstanceRef, Message, ParentInstance, RuntimeStatus, Sender,
    Timestamp,
};
use crate::rng::Rng;
use crate::size;
use crate::storage::layer::faulty::{Faults, Faulty};
use crate::storage::memory::Memory;
use crate::storage::memory::dump::Dump;
use crate::{Client, ErrorKind, InstanceQuery, TaskHub, Worker, WorkerBuilder};

/// So many levels of sub-orchestrations below it; each level also leaves one to itself, and the last waits for an event.
const NODE: Orchestrator<u32, u32> = Orchestrator::new("Node");
/// Starts a sub-orchestration in its first generation, and waits for an event in its second.
const ROUNDS: Orchestrator<u32, u32> = Orchestrator::new("Rounds");
/// Catches the end of its sub-orchestration.
const CATCHES: Orchestrator<(), String> = Orchestrator::new("Catches");
const GO: Event<u32> = Event::new("go");
const MINUTE: Duration = Duration::from_secs(60);
const REASON: &str = "enough of it";

async fn node(ctx: OrchestrationContext, depth: u32) -> Result<u32, Failure> {
    if depth == 0 {
        return Ok(ctx.wait_for_event(GO).await);
    }
    let (child, left) = (format!("{}-c", ctx.instance_id()), format!("{}-d", ctx.instance_id()));
    ctx.start_orchestration(NODE, 0).instance_id(left);
    // The one without an id of its own has a derived one.
    let (named, derived) = (ctx.call(NODE, depth - 1).instance_id(child), ctx.call(NODE, 0));
    Ok(named.await? + derived.await?)
}

async fn rounds(ctx: OrchestrationContext, round: u32) -> Result<u32, Failure> {
    if round == 0 {
        drop(ctx.call(NODE, 0).instance_id("of-the-first"));
        ctx.timer(Duration::from_secs(5)).await;
        return ctx.continue_as_new(ROUNDS, 1);
    }
    Ok(ctx.wait_for_event(GO).await)
}

async fn catches(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    match ctx.call(NODE, 1).instance_id("caught").await {
        Ok(n) => Ok(format!("got {n}")),
        Err(failed) => Ok(format!("caught: {failed}")),
    }
}

fn worker(hub: &TaskHub, id: &str) -> WorkerBuilder {
    Worker::builder(hub)
        .worker_id(id)
        .max_poll_interval(Duration::from_secs(1))
        .poison_after(3)
        .orchestrator(NODE, node)
        .orchestrator(ROUNDS, rounds)
        .orchestrator(CATCHES, catches)
}

struct World {
    memory: Memory,
    clock: Clock,
    hub: TaskHub,
    client: Client,
}

impl World {
    async fn new(partitions: u32) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        Self::of(Memory::new(clock.clone(), Rng::seeded(1)), clock, partitions, 3).await
    }

    /// What another world was.
    async fn like(dump: &Dump, partitions: u32) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-02T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(2));
        memory.load(dump);
        // Ids must not be drawn again.
        Self::of(memory, clock, partitions, 5).await
    }

    async fn of(memory: Memory, clock: Clock, partitions: u32, seed: u64) -> Self {
        let hub = open(memory.storage(), &clock, partitions, seed).await;
        Self { client: Client::new(&hub), memory, clock, hub }
    }

    async fn work(&self, time: Duration) {
        let running = Running::start(worker(&self.hub, "w"));
        tokio::time::sleep(time).await;
        running.stop().await;
    }

    /// Runs a worker until its `k`-th write has taken effect. `false` if it did not write as often in a minute.
    async fn work_until_write(&self, k: u64) -> bool {
        let faulty = Faulty::new(Faults::default(), Rng::seeded(4));
        let hub = open(self.memory.storage().layered(faulty.clone()), &self.clock, self.hub.partitions(), 100 + k).await;
        let killed = faulty.dies_behind(k, |call| {
            let is_write = !matches!(call.op, "queue.receive" | "table.get" | "table.query" | "blob.get" | "blob.list");
            is_write && !call.target.0.ends_with("Partitions")
        });
        tokio::select! {
            biased;
            () = killed.notified() => true,
            _ = worker(&hub, "killed").run(std::future::pending()) => unreachable!("nobody stops it"),
            () = tokio::time::sleep(MINUTE) => false,
        }
    }

    async fn statuses(&self) -> BTreeMap<String, (RuntimeStatus, Option<String>)> {
        let all = self.client.list(&InstanceQuery::default()).await.unwrap().instances;
        all.into_iter().map(|i| (i.instance_id, (i.status, i.output))).collect()
    }

    /// Everything that is terminated, with its reason, and everything that runs.
    async fn check(&self, ended: usize, running: &[&str], at: &str) {
        let statuses = self.statuses().await;
        let (ends, runs): (Vec<_>, Vec<_>) = statuses.iter().partition(|(_, (status, _))| status.is_terminal());
        assert_eq!(runs.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), running, "{at}: {statuses:?}");
        let terminated = (RuntimeStatus::Terminated, Some(REASON.to_owned()));
        assert!(ends.len() == ended && ends.iter().all(|(_, end)| **end == terminated), "{at}: {statuses:?}");
        assert!(self.client.poison().await.unwrap().is_empty(), "{at}");
    }

    async fn terminate(&self, id: &str) {
        self.client.instance(id).terminate(REASON).recursive(true).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_recursive_termination_goes_down_the_tree_to_whatever_worker_and_spares_what_was_left_to_itself() {
    let world = World::new(4).await;
    let (first, second) = (Running::start(worker(&world.hub, "first")), Running::start(worker(&world.hub, "second")));
    tokio::time::sleep(MINUTE).await;
    world.client.start(NODE, 3).instance_id("n").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.statuses().await.len(), 10);
    world.terminate("n").await;
    tokio::time::sleep(MINUTE).await;
    world.check(7, &["n-c-c-d", "n-c-d", "n-d"], "recursive").await;
    let again = world.client.instance("n").terminate(REASON).recursive(true).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Ended, "{again}");
    world.client.instance("n").terminate(REASON).with_detached().await.unwrap();
    tokio::time::sleep(MINUTE).await;
    world.check(10, &[], "with those that were left to themselves").await;
    let again = world.client.instance("n").terminate(REASON).with_detached().await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Ended, "{again}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_it_sub_orchestrations_go_on_and_what_is_left_below_an_instance_that_has_ended_is_ended_by_another_call() {
    let world = World::new(1).await;
    world.client.start(NODE, 2).instance_id("n").await.unwrap();
    world.work(MINUTE).await;
    world.client.instance("n").terminate(REASON).await.unwrap();
    world.work(MINUTE).await;
    let derived: Vec<_> = world.statuses().await.into_keys().filter(|id| id.contains(':')).collect();
    let running: Vec<_> = derived.iter().map(String::as_str).chain(["n-c", "n-c-c", "n-c-d", "n-d"]).collect();
    world.check(1, &running, "alone").await;
    world.terminate("n").await;
    world.work(MINUTE).await;
    world.check(5, &["n-c-d", "n-d"], "called again").await;
}

#[tokio::test(start_paused = true)]
async fn a_recursive_termination_survives_every_crash_point() {
    let world = World::new(1).await;
    world.client.start(NODE, 2).instance_id("n").await.unwrap();
    world.work(MINUTE).await;
    let dump = world.memory.dump();
    for k in 1.. {
        let world = World::like(&dump, 1).await;
        world.terminate("n").await;
        let was_killed = world.work_until_write(k).await;
        world.work(5 * MINUTE).await;
        world.check(5, &["n-c-d", "n-d"], &format!("killed after write {k}")).await;
        assert_eq!(world.memory.all_messages()["test-control-00"], [], "killed after write {k}");
        if !was_killed {
            assert!(k > 15, "only {k} writes");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_is_still_growing_or_whose_worker_was_killed_at_any_write_is_ended_as_a_whole() {
    for k in (1..).step_by(size::of(5, 1)) {
        let world = World::new(1).await;
        world.client.start(NODE, 2).instance_id("n").await.unwrap();
        let was_killed = world.work_until_write(k).await;
        world.client.instance("n").terminate(REASON).with_detached().await.unwrap();
        world.work(10 * MINUTE).await;
        let statuses = world.statuses().await;
        let at = format!("killed after write {k}: {statuses:?}");
        assert!(statuses.values().all(|(status, _)| status.is_terminal()), "{at}");
        assert!(world.client.poison().await.unwrap().is_empty(), "{at}");
        if !was_killed {
            assert!(k > 15, "only {k} writes");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sub_orchestrations_of_the_generation_before_end_too() {
    let world = World::new(1).await;
    world.client.start(ROUNDS, 0).instance_id("r").await.unwrap();
    world.work(MINUTE).await;
    assert!(world.hub.0.histories.load("r").await.unwrap().sentinel.superseded.len() == 1, "it has continued as new");
    world.terminate("r").await;
    world.work(MINUTE).await;
    world.check(2, &[], "both").await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_gets_the_reason_of_a_terminated_sub_orchestration_whose_own_ones_end_with_it() {
    let world = World::new(1).await;
    world.client.start(CATCHES, ()).instance_id("p").await.unwrap();
    world.work(MINUTE).await;
    world.terminate("caught").await;
    world.work(MINUTE).await;
    let statuses = world.statuses().await;
    let (status, output) = &statuses["p"];
    assert!(*status == RuntimeStatus::Completed && output.as_ref().unwrap().contains(REASON), "{statuses:?}");
    assert_eq!(statuses.values().filter(|(status, _)| *status == RuntimeStatus::Terminated).count(), 3, "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_pending_scheduled_parked_or_nowhere_hosted_never_begins() {
    let world = World::new(1).await;
    let client = &world.client;
    client.start(NODE, 1).instance_id("pending").await.unwrap();
    client.start(NODE, 1).after(40 * MINUTE).instance_id("scheduled").await.unwrap();
    client.start(NODE, 1).after(40 * MINUTE).instance_id("parked").await.unwrap();
    client.start_named("Nobody's", 1).instance_id("unhosted").await.unwrap();
    world.hub.0.instances.show_as_failed(Culprit::Any("parked"), "its start is parked").await.unwrap();
    let all = ["parked", "pending", "scheduled", "unhosted"];
    for id in all {
        world.terminate(id).await;
    }
    world.work(60 * MINUTE).await;
    world.check(4, &[], "none of them").await;
    for id in all {
        let history: Vec<HistoryEvent> = client.history(id).await.unwrap();
        let has_decided =
            history.iter().any(|event| event.event_id >= 0 && !matches!(event.kind, EventKind::ExecutionCompleted { .. }));
        assert!(!has_decided, "{id}: {history:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sub_orchestration_whose_code_is_nowhere_ends_with_its_parent() {
    const ASKS: Orchestrator<(), u32> = Orchestrator::new("Asks");
    let world = World::new(1).await;
    let asks = async |ctx: OrchestrationContext, ()| {
        Ok(ctx.call_sub_orchestration_named::<u32>("Nobody's", 1).instance_id("unhosted").await?)
    };
    let running = Running::start(worker(&world.hub, "w").fail_unhosted_alone_after(600 * MINUTE).orchestrator(ASKS, asks));
    world.client.start(ASKS, ()).instance_id("asks").await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    world.terminate("asks").await;
    tokio::time::sleep(5 * MINUTE).await;
    running.stop().await;
    world.check(2, &[], "both").await;
    assert_eq!(world.memory.all_messages()["test-control-00"], []);
}

#[tokio::test(start_paused = true)]
async fn an_instance_ends_its_own_children_only() {
    let world = World::new(1).await;
    world.client.start(NODE, 1).instance_id("n").await.unwrap();
    world.work(MINUTE).await;
    let before = world.statuses().await;
    for target in ["n", "n-c"] {
        let kind = EventKind::ExecutionTerminated { reason: None };
        let event = HistoryEvent::arriving(world.clock.now(), kind);
        let sender = Sender { instance_id: "stranger".to_owned(), execution_id: None };
        let message = Message::from_client(uuid::Uuid::from_u128(7), event, InstanceRef::current(target));
        world.client.put(Message { sender, ..message }).await.unwrap();
    }
    world.work(MINUTE).await;
    assert_eq!(world.statuses().await, before);
    assert_eq!(world.memory.all_messages()["test-control-00"], []);
}

impl World {
    /// A recursive termination of whatever runs, or of one execution.
    fn termination(&self, id: &str, execution_id: Option<&str>, sender: Sender) -> Message {
        let event = HistoryEvent::arriving(self.clock.now(), EventKind::ExecutionTerminated { reason: Some(REASON.to_owned()) });
        let target = InstanceRef { execution_id: execution_id.map(str::to_owned), ..InstanceRef::current(id) };
        let message = Message::from_client(uuid::Uuid::from_u128(8), event, target);
        Message { sender, descendants: Some(Descendants::Attached), ..message }
    }

    async fn assert_runs(&self, ids: &[&str], at: &str) {
        let statuses = self.statuses().await;
        for id in ids {
            assert_eq!(statuses.get(*id).map(|(status, _)| *status), Some(RuntimeStatus::Running), "{at}: {id} of {statuses:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_started_again_within_45_s_keeps_its_children() {
    let world = World::new(1).await;
    let running = Running::start(worker(&world.hub, "w"));
    let client_message = world.termination("p", None, Sender::client());
    for _ in 0..2 {
        world.client.start(CATCHES, ()).instance_id("p").await.unwrap();
        tokio::time::sleep(MINUTE / 12).await;
        world.client.put(client_message.clone()).await.unwrap();
        world.terminate("p").await;
        tokio::time::sleep(MINUTE / 12).await;
        assert!(world.statuses().await["caught"].0.is_terminal());
    }
    world.client.start(CATCHES, ()).instance_id("p").await.unwrap();
    tokio::time::sleep(MINUTE / 12).await;
    let tree = ["p", "caught", "caught-c"];
    world.assert_runs(&tree, "begun").await;
    world.client.put(client_message).await.unwrap();
    tokio::time::sleep(MINUTE / 12).await;
    world.assert_runs(&tree, "the message of the client has come again").await;
    tokio::time::sleep(2 * MINUTE).await;
    world.assert_runs(&tree, "what the earlier executions sent themselves has come").await;
    running.stop().await;
    assert_eq!(world.memory.all_messages()["test-control-00"], []);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_execution_sent_itself_spares_the_new_one_in_every_crash_window_of_its_beginning() {
    let world = World::new(1).await;
    for _ in 0..2 {
        world.client.start(CATCHES, ()).instance_id("p").await.unwrap();
        world.work(MINUTE / 12).await;
        world.terminate("p").await;
        world.work(MINUTE / 12).await;
    }
    assert!(!world.memory.all_messages()["test-control-00"].is_empty(), "it comes back later");
    let earlier = world.client.status("p").await.unwrap().unwrap().execution_id.unwrap();
    let dump = world.memory.dump();
    for k in 1.. {
        // A day later: it comes together with the start.
        let world = World::like(&dump, 1).await;
        world.client.start(CATCHES, ()).instance_id("p").await.unwrap();
        let was_killed = world.work_until_write(k).await;
        // And once more when the children have begun, but perhaps the start has not come back.
        let sender = Sender { instance_id: "p".to_owned(), execution_id: None };
        let (again, queues) = (world.termination("p", Some(&earlier), sender), &world.hub.0.queues);
        queues.send(queues.of_instance("p"), again, 3 * MINUTE / 2).await.unwrap();
        world.work(5 * MINUTE).await;
        let at = format!("killed after write {k}");
        world.assert_runs(&["p", "caught", "caught-c"], &at).await;
        assert_eq!(world.memory.all_messages()["test-control-00"], [], "{at}");
        if !was_killed {
            assert!(k > 10, "only {k} writes");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_execution_has_left_running_ends_although_its_id_runs_again() {
    let world = World::new(1).await;
    let running = Running::start(worker(&world.hub, "w"));
    world.client.start(NODE, 1).instance_id("n").await.unwrap();
    tokio::time::sleep(MINUTE / 12).await;
    let earlier = world.client.status("n").await.unwrap().unwrap().execution_id.unwrap();
    world.client.instance("n").terminate(REASON).await.unwrap();
    tokio::time::sleep(MINUTE / 12).await;
    world.client.start(ROUNDS, 0).instance_id("n").await.unwrap();
    tokio::time::sleep(MINUTE / 2).await;
    world.assert_runs(&["n", "n-c", "of-the-first"], "both executions have children").await;
    let sender = Sender { instance_id: "n".to_owned(), execution_id: None };
    world.client.put(world.termination("n", Some(&earlier), sender)).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    running.stop().await;
    // The named and the derived one have ended; the one that was left to itself has not.
    world.check(2, &["n", "n-d", "of-the-first"], "ended").await;
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_start_is_parked_never_begins_once_its_parent_has_ended_with_all_that_is_below_it() {
    let world = World::new(1).await;
    let mut start = ExecutionStarted::default();
    (start.name, start.instance) = ("Node".to_owned(), InstanceRef::new("child", "c1"));
    start.parent = Some(ParentInstance { name: None, instance: InstanceRef::new("n", "n1"), task_id: 0, version: None });
    let event = HistoryEvent::arriving(world.clock.now(), EventKind::ExecutionStarted(Box::new(start)));
    let message = Message::from_client(uuid::Uuid::from_u128(9), event, InstanceRef::new("child", "c1"));
    world.client.put(message).await.unwrap();
    let Arrival { hold, content } = world.hub.0.queues.receive(QueueId::Control(0), 1, MINUTE).await.unwrap().remove(0);
    let Received::Held(held) = Received::of(Arc::new(hold), content) else { panic!("it is small and whole") };
    world.hub.0.parked.park_held(&held, "it keeps failing").await.unwrap();
    for (parent, left) in [("stranger", 1), ("n", 0)] {
        let sender = Sender { instance_id: parent.to_owned(), execution_id: None };
        world.client.put(world.termination("child", None, sender)).await.unwrap();
        // A worker that is new here waits for everything that may be away.
        world.work(30 * MINUTE).await;
        assert_eq!(world.client.poison().await.unwrap().len(), left, "{parent}");
    }
    assert!(world.statuses().await.is_empty());
}
