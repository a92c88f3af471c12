//! Every crash point of a worker: killed after its k-th write, for every k, it leaves a hub that .NET could go on with, and
//! that the next worker of ours ends with the right output.

use std::time::Duration;

use futures::future::try_join_all;

use super::manners;
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{HistoryEvent, RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::size;
use crate::storage::Storage;
use crate::storage::layer::faulty::{Faults, Faulty};
use crate::storage::layer::tapped::{Seen, Tap};
use crate::storage::memory::Memory;
use crate::{Client, TaskHub, Worker, WorkerBuilder};

pub(super) const ECHO: Activity<u32, u32> = Activity::new("Echo");
const CHAIN: Orchestrator<u32, u32> = Orchestrator::new("Chain");
const FAN: Orchestrator<u32, u32> = Orchestrator::new("Fan");
const NAP: Orchestrator<u32, u32> = Orchestrator::new("Nap");
const COLLECT: Orchestrator<u32, u32> = Orchestrator::new("Collect");
const PARENT: Orchestrator<u32, u32> = Orchestrator::new("Parent");
const ROUNDS: Orchestrator<u32, u32> = Orchestrator::new("Rounds");
const RACE: Orchestrator<u32, String> = Orchestrator::new("Race");
const TAKE: Orchestrator<u32, u32> = Orchestrator::new("Take");
const BURST: Orchestrator<u32, u32> = Orchestrator::new("Burst");
const LOCAL_CHAIN: Orchestrator<u32, u32> = Orchestrator::new("LocalChain");
const LOCAL_BURST: Orchestrator<u32, u32> = Orchestrator::new("LocalBurst");
const RERUN: Orchestrator<u32, u32> = Orchestrator::new("Rerun");
const PATCHED: Orchestrator<u32, u32> = Orchestrator::new("Patched");
const ITEM: Event<u32> = Event::new("item");

/// What is counted as a write of a worker that works on an instance; neither the creation of the hub nor receives.
const WRITES: &[&str] =
    &["queue.put", "queue.update", "queue.delete", "table.transact", "table.merge", "table.replace", "table.insert"];
/// The writes of histories alone: of a checkpoint of several, each is a crash point.
pub(super) const TRANSACTIONS: &[&str] = &["table.transact"];

async fn chain(ctx: OrchestrationContext, count: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for n in 0..count {
        sum += ctx.call(ECHO, n).await?;
    }
    Ok(sum)
}

async fn fan(ctx: OrchestrationContext, width: u32) -> Result<u32, Failure> {
    Ok(try_join_all((0..width).map(|n| ctx.call(ECHO, n))).await?.iter().sum())
}

/// Every other activity runs inside its turn.
async fn local_chain(ctx: OrchestrationContext, count: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for n in 0..count {
        let call = ctx.call(ECHO, n);
        sum += if n % 2 == 0 { call.local() } else { call }.await?;
    }
    Ok(sum)
}

/// Behind a local activity more decisions than fit its transaction.
async fn local_burst(ctx: OrchestrationContext, width: u32) -> Result<u32, Failure> {
    let first = ctx.call(ECHO, 1).local().await?;
    Ok(first + fan(ctx, width).await?)
}

async fn collect(ctx: OrchestrationContext, count: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for _ in 0..count {
        sum += ctx.wait_for_event(ITEM).await;
    }
    Ok(sum)
}

/// One event and one activity a generation; the events come all at once, so that most are carried over, again and again.
async fn rounds(ctx: OrchestrationContext, left: u32) -> Result<u32, Failure> {
    let item = ctx.wait_for_event(ITEM).await;
    ctx.call(ECHO, item).await?;
    if left == 1 { Ok(item) } else { ctx.continue_as_new(ROUNDS, left - 1) }
}

/// One event a generation and nothing else: one turn goes through all of them to the end.
async fn take(ctx: OrchestrationContext, left: u32) -> Result<u32, Failure> {
    let item = ctx.wait_for_event(ITEM).await;
    if left == 1 { Ok(item) } else { ctx.continue_as_new(TAKE, left - 1) }
}

/// A generation that begins with the events of the one before and goes on with more decisions than a transaction holds.
async fn burst(ctx: OrchestrationContext, generation: u32) -> Result<u32, Failure> {
    ctx.wait_for_event(ITEM).await;
    if generation == 0 { ctx.continue_as_new(BURST, 1) } else { fan(ctx, 80).await }
}

/// Asks in every turn whether it runs with a change; a worker that was killed before it could say so must not change the answer.
async fn patched(ctx: OrchestrationContext, count: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for n in 0..count {
        let n = if ctx.patched("tenfold") { 10 * n } else { n };
        sum += ctx.call(ECHO, n).await?;
        ctx.timer(Duration::from_secs(1)).await;
        sum += u32::from(ctx.patched(if n == 0 { "one more" } else { "another one" }));
    }
    Ok(sum)
}

/// Children under one id, one after the other. Each gets an event in the turn that asks for it.
async fn rerun(ctx: OrchestrationContext, times: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for n in 1..=times {
        let child = ctx.call(COLLECT, 1).instance_id("child");
        ctx.send_event("child", ITEM, n);
        sum = 10 * sum + child.await?;
    }
    Ok(sum)
}

/// What comes next depends on what came first: an answer to the one must never be taken for an answer to the other.
async fn race(ctx: OrchestrationContext, _: u32) -> Result<String, Failure> {
    let (event, activity) = (ctx.wait_for_event(ITEM), ctx.call(ECHO, 1));
    match futures::future::select(event, activity).await {
        futures::future::Either::Left(_) => Ok(format!("event {}", ctx.call(ECHO, 100).await?)),
        futures::future::Either::Right(_) => Ok(format!("activity {}", ctx.call(ECHO, 200).await?)),
    }
}

pub(super) fn worker(hub: &TaskHub) -> WorkerBuilder {
    Worker::builder(hub)
        .activity(ECHO, async |_: ActivityContext, n: u32| Ok(n))
        .orchestrator(CHAIN, chain)
        .orchestrator(FAN, fan)
        .orchestrator(LOCAL_CHAIN, local_chain)
        .orchestrator(LOCAL_BURST, local_burst)
        .orchestrator(COLLECT, collect)
        .orchestrator(ROUNDS, rounds)
        .orchestrator(RACE, race)
        .orchestrator(RERUN, rerun)
        .orchestrator(PATCHED, patched)
        .orchestrator(TAKE, take)
        .orchestrator(BURST, burst)
        .orchestrator(super::carried::SEQUENCE, super::carried::sequence)
        .orchestrator(NAP, async |ctx, seconds: u32| {
            ctx.timer(Duration::from_secs(seconds.into())).await;
            Ok(seconds)
        })
        .orchestrator(PARENT, async |ctx, n: u32| {
            let named = ctx.call(CHAIN, n).instance_id(format!("{}-child", ctx.instance_id())).await?;
            Ok(named + ctx.call(CHAIN, n).await?)
        })
        .max_poll_interval(Duration::from_secs(1))
}

/// A hub on memory whose worker can be killed at a write.
pub(super) struct World {
    pub(super) memory: Memory,
    /// Sees all that workers and client write.
    pub(super) tap: Tap,
    clock: Clock,
    seed: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        Self { memory: Memory::new(clock.clone(), Rng::seeded(seed)), tap: Tap::new(clock.clone()), clock, seed }
    }

    pub(super) fn storage(&self) -> Storage {
        self.tap.on(self.memory.storage())
    }

    pub(super) async fn open(&self, storage: Storage, seed: u64) -> TaskHub {
        super::harness::open(storage, &self.clock, 1, seed).await
    }

    /// Runs a worker until its `k`-th of these writes has taken effect. `false` if it did not write as often before `done`.
    pub(super) async fn run_until_write(&self, k: u64, counted: &'static [&'static str], done: impl Future<Output = ()>) -> bool {
        let faulty = Faulty::new(Faults::default(), Rng::seeded(self.seed));
        let hub = self.open(self.storage().layered(faulty.clone()), self.seed + 1).await;
        // Writes to the partition table are not the instance's.
        let killed = faulty.dies_behind(k, |call| counted.contains(&call.op) && !call.target.0.ends_with("Partitions"));
        tokio::select! {
            biased;
            () = killed.notified() => true,
            _ = worker(&hub).worker_id("killed").run(std::future::pending()) => unreachable!("nobody stops it"),
            () = done => false,
        }
    }
}

/// A run: what is started, the events that are raised before it runs, and the output.
#[derive(Clone, Copy)]
struct Run<'a> {
    name: &'a str,
    input: u32,
    events: u32,
    outputs: &'a [&'a str],
}

/// The crash points of a run, and how many of them tore a checkpoint between two transactions.
struct Points {
    killed: usize,
    torn: usize,
}

/// Kills the worker after each of these writes in turn, of which the last is beyond the end.
async fn check(run: Run<'_>, counted: &'static [&'static str], writes: impl IntoIterator<Item = u64>) -> Points {
    let mut torn = 0;
    for (killed, k) in writes.into_iter().enumerate() {
        let world = World::new(k);
        let client = Client::new(&world.open(world.storage(), 7).await);
        client.start_json(run.name, Some(run.input.to_string())).instance_id("i").await.unwrap();
        for n in 1..=run.events {
            client.raise("i", ITEM, &n).await.unwrap();
        }
        let done = async {
            client.wait("i", Duration::from_secs(600)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        let was_killed = world.run_until_write(k, counted, done).await;
        let at = format!("{} killed after write {k}", run.name);
        manners::check_snapshot(&world.memory, &at);
        let hub = world.open(world.storage(), 8).await;
        torn += usize::from(hub.0.histories.load("i").await.unwrap().is_torn());
        let finishing = worker(&hub).worker_id("next").run(async {
            let ended = client.wait("i", Duration::from_secs(600)).await.unwrap();
            let output = ended.output.as_deref().unwrap_or_default();
            assert_eq!(ended.status, RuntimeStatus::Completed, "{} after write {k}: {output}", run.name);
            assert!(run.outputs.contains(&output), "{} after write {k}: {output}", run.name);
            // What the dead worker held surfaces after its hold, and timers of void turns when they are due.
            tokio::time::sleep(Duration::from_secs(90)).await;
        });
        finishing.await.unwrap();
        nothing_left(&world, &client, &at).await;
        manners::check_calls(&world.tap, "Test", &["killed", "next"], &at);
        manners::check_snapshot(&world.memory, &at);
        if !was_killed {
            return Points { killed, torn };
        }
    }
    panic!("the last crash point is within the run");
}

/// All that is written while a chain of two runs.
pub(super) async fn an_undisturbed_run() -> Vec<Seen> {
    let world = World::new(1);
    let client = Client::new(&world.open(world.storage(), 7).await);
    client.start_json("Chain", Some("2".to_owned())).instance_id("i").await.unwrap();
    let done = async {
        client.wait("i", Duration::from_secs(600)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(15)).await;
    };
    assert!(!world.run_until_write(u64::MAX, WRITES, done).await);
    world.tap.seen()
}

/// At the end: no message, no parked message, no task completed twice, every instance final.
pub(super) async fn nothing_left(world: &World, client: &Client, at: &str) {
    let messages: Vec<_> = world.memory.dump().queues.into_values().flatten().map(|m| m.text).collect();
    assert!(messages.is_empty(), "{at}: left over {messages:?}");
    assert!(client.poison().await.unwrap().is_empty(), "{at}: poison");
    for instance in client.list(&crate::InstanceQuery::default()).await.unwrap().instances {
        assert!(instance.status.is_terminal(), "{at}: {} is {}", instance.instance_id, instance.status);
        let history: Vec<HistoryEvent> = client.history(&instance.instance_id).await.unwrap();
        let twice = crate::internals::completed_twice(&history);
        assert!(twice.is_empty(), "{at}: {twice:?} of {} completed twice", instance.instance_id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_survives_every_crash_point() {
    let Points { killed, torn } = check(Run { name: "Chain", input: 3, events: 0, outputs: &["3"] }, WRITES, 1..).await;
    assert!(killed >= 13 && torn == 0, "{killed} crash points, {torn} torn checkpoints");
}

#[tokio::test(start_paused = true)]
async fn local_activities_survive_every_crash_point() {
    check(Run { name: "LocalChain", input: 4, events: 0, outputs: &["6"] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn a_local_activity_whose_answer_is_in_another_transaction_than_its_call_survives_its_crash_points() {
    let run = Run { name: "LocalBurst", input: 95, events: 0, outputs: &["4466"] };
    check(run, WRITES, [1, 40].into_iter().chain((90..).step_by(60))).await;
    check(run, TRANSACTIONS, (1..).step_by(size::of(2, 1))).await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_survives_every_crash_point() {
    check(Run { name: "Nap", input: 5, events: 0, outputs: &["5"] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn events_survive_every_crash_point() {
    check(Run { name: "Collect", input: 3, events: 3, outputs: &["6"] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn sub_orchestrations_survive_every_crash_point() {
    check(Run { name: "Parent", input: 2, events: 0, outputs: &["2"] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn children_that_run_again_under_one_id_and_their_events_survive_every_crash_point() {
    check(Run { name: "Rerun", input: 3, events: 0, outputs: &["123"] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn the_changes_that_an_execution_runs_with_survive_every_crash_point() {
    check(Run { name: "Patched", input: 3, events: 0, outputs: &["33"] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn a_race_survives_every_crash_point() {
    check(Run { name: "Race", input: 0, events: 1, outputs: &["\"event 100\""] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_several_transactions_survives_its_crash_points() {
    let run = Run { name: "Fan", input: 120, events: 0, outputs: &["7140"] };
    check(run, WRITES, [1, 60].into_iter().chain((120..).step_by(90))).await;
    assert!(check(run, TRANSACTIONS, (1..).step_by(size::of(2, 1))).await.torn >= 1, "no checkpoint was torn");
}

#[tokio::test(start_paused = true)]
async fn a_continue_as_new_that_carries_more_than_a_transaction_holds_survives_every_crash_point() {
    // Which events come first is open; three generations take one each.
    let all: Vec<String> = (1..=110).map(|n| n.to_string()).collect();
    let outputs: Vec<&str> = all.iter().map(String::as_str).collect();
    let writes = (1..60).step_by(size::of(8, 1)).chain((60..).step_by(40));
    check(Run { name: "Rounds", input: 3, events: 110, outputs: &outputs }, WRITES, writes).await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_replaced_its_execution_and_ended_in_one_turn_is_not_taken_for_one_that_is_started_again() {
    check(Run { name: "Take", input: 3, events: 3, outputs: &["3"] }, WRITES, 1..).await;
}

#[tokio::test(start_paused = true)]
async fn a_continue_as_new_of_several_transactions_survives_its_crash_points() {
    let run = Run { name: "Burst", input: 0, events: 40, outputs: &["3160"] };
    check(run, WRITES, [1, 40].into_iter().chain((80..).step_by(60))).await;
    assert!(check(run, TRANSACTIONS, (1..).step_by(size::of(2, 1))).await.torn >= 1, "no checkpoint was torn");
}
