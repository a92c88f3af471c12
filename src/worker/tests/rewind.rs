//! Rewinding: what runs again and what does not, through retries, children and every call that may be the last one.

mod interrupted;
mod large;
mod programs;
mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;

use super::handover::Running;
use super::harness::open;
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::hub::instances::Culprit;
use crate::model::{EventKind, HistoryEvent, Message, RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::layer::tapped::{Effect, Seen, Tap};
use crate::storage::memory::Memory;
use crate::storage::memory::dump::Dump;
use crate::worker::FastPath;
use crate::{Client, ErrorKind, InstanceStatus, RetryPolicy, TaskHub, Worker, WorkerBuilder};

/// Fails as long as its key is broken.
const STEP: Activity<String, String> = Activity::new("Step");
/// Runs its steps one after the other.
const CHAIN: Orchestrator<Vec<String>, String> = Orchestrator::new("Chain");
/// Runs its steps at once, and fails when all have ended.
const FAN: Orchestrator<Vec<String>, String> = Orchestrator::new("Fan");
/// Tries its step three times.
const RETRY: Orchestrator<String, String> = Orchestrator::new("Retry");
/// Runs a chain as its child, whose id is its own with `-c` behind it, beside a step of its own.
const PARENT: Orchestrator<Vec<String>, String> = Orchestrator::new("Parent");
/// Runs a parent as its child, whose id is derived.
const GRAND: Orchestrator<Vec<String>, String> = Orchestrator::new("Grand");
/// Catches the failure of its first step, and runs the others.
const TRIES: Orchestrator<Vec<String>, String> = Orchestrator::new("Tries");
/// Fails by itself as long as its key is broken, behind a step.
const OWN: Orchestrator<String, Option<String>> = Orchestrator::new("Own");
/// Never ends before its event.
const WAIT: Orchestrator<(), String> = Orchestrator::new("Wait");
const GO: Event<String> = Event::new("go");
const MINUTE: Duration = Duration::from_secs(60);

/// What is broken, and how often each step has run.
#[derive(Clone, Default)]
struct Shop(Arc<Mutex<Stock>>);

#[derive(Default)]
struct Stock(BTreeSet<String>, BTreeMap<String, usize>);

impl Shop {
    fn breaks(&self, keys: &[&str]) {
        self.0.lock().unwrap().0 = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    fn is_broken(&self, key: &str) -> bool {
        self.0.lock().unwrap().0.contains(key)
    }

    fn run(&self, key: String) -> Result<String, Failure> {
        *self.0.lock().unwrap().1.entry(key.clone()).or_default() += 1;
        if self.is_broken(&key) { Err(Failure::new("Broken", format!("{key} is broken"))) } else { Ok(key) }
    }

    fn runs(&self, key: &str) -> usize {
        self.0.lock().unwrap().1.get(key).copied().unwrap_or(0)
    }
}

async fn chain(ctx: OrchestrationContext, keys: Vec<String>) -> Result<String, Failure> {
    let mut all = Vec::new();
    for key in keys {
        all.push(ctx.call(STEP, key).await?);
    }
    Ok(all.join("+"))
}

async fn fan(ctx: OrchestrationContext, keys: Vec<String>) -> Result<String, Failure> {
    let ended = join_all(keys.into_iter().map(|key| ctx.call(STEP, key))).await;
    Ok(ended.into_iter().collect::<Result<Vec<_>, _>>()?.join("|"))
}

async fn parent(ctx: OrchestrationContext, keys: Vec<String>) -> Result<String, Failure> {
    let own = ctx.call(STEP, format!("{}-own", ctx.instance_id()));
    let child = ctx.call(CHAIN, keys).instance_id(format!("{}-c", ctx.instance_id()));
    let (own, child) = futures::future::join(own.into_future(), child.into_future()).await;
    Ok(format!("{}({})", own.map(|_| "own")?, child?))
}

async fn tries(ctx: OrchestrationContext, keys: Vec<String>) -> Result<String, Failure> {
    let mut all = Vec::new();
    for (number, key) in keys.into_iter().enumerate() {
        match ctx.call(STEP, key).await {
            Ok(done) => all.push(done),
            Err(_) if number == 0 => all.push("caught".to_owned()),
            Err(failed) => return Err(failed.into()),
        }
    }
    Ok(all.join("+"))
}

fn worker(hub: &TaskHub, shop: &Shop) -> WorkerBuilder {
    let (steps, own) = (shop.clone(), shop.clone());
    Worker::builder(hub)
        .max_poll_interval(Duration::from_secs(1))
        .poison_after(3)
        .activity(STEP, move |_: ActivityContext, key: String| std::future::ready(steps.run(key)))
        .orchestrator(CHAIN, chain)
        .orchestrator(FAN, fan)
        .orchestrator(PARENT, parent)
        .orchestrator(TRIES, tries)
        .orchestrator(RETRY, async |ctx, key: String| {
            Ok(ctx.call(STEP, key).retry(RetryPolicy::fixed(3, Duration::from_secs(5))).await?)
        })
        .orchestrator(GRAND, async |ctx, keys: Vec<String>| Ok(ctx.call(PARENT, keys).await?))
        .orchestrator(WAIT, async |ctx, ()| Ok(ctx.wait_for_event(GO).await))
        .orchestrator(OWN, move |ctx: OrchestrationContext, key: String| {
            let shop = own.clone();
            async move {
                ctx.call(STEP, "before").await?;
                if shop.is_broken(&key) { Err(Failure::new("Own", "by itself")) } else { Ok(None) }
            }
        })
}

struct World {
    memory: Memory,
    clock: Clock,
    hub: TaskHub,
    client: Client,
    shop: Shop,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        Self::of(Memory::new(clock.clone(), Rng::seeded(1)), clock, 3).await
    }

    /// What another world was, a day later, with nothing broken.
    async fn like(dump: &Dump) -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-02T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(2));
        memory.load(dump);
        Self::of(memory, clock, 30).await
    }

    async fn of(memory: Memory, clock: Clock, seed: u64) -> Self {
        let hub = open(memory.storage(), &clock, 1, seed).await;
        Self { client: Client::new(&hub), memory, clock, hub, shop: Shop::default() }
    }

    async fn work(&self, time: Duration) {
        let running = Running::start(worker(&self.hub, &self.shop));
        tokio::time::sleep(time).await;
        running.stop().await;
    }

    /// What failed with these steps broken, which are mended then.
    async fn failed(name: &str, input: impl serde::Serialize, broken: &[&str]) -> Self {
        let world = Self::new().await;
        world.shop.breaks(broken);
        world.client.start_named(name, input).instance_id("i").await.unwrap();
        world.work(5 * MINUTE).await;
        assert_eq!(world.status("i").await.status, RuntimeStatus::Failed, "{:?}", world.status("i").await.output);
        world.shop.breaks(&[]);
        world
    }

    async fn status(&self, id: &str) -> InstanceStatus {
        self.client.status(id).await.unwrap().unwrap()
    }

    async fn history(&self, id: &str) -> Vec<HistoryEvent> {
        self.client.history(id).await.unwrap()
    }

    async fn rewind(&self, id: &str) -> u64 {
        self.client.instance(id).rewind("mended").await.unwrap().instances
    }

    /// Rewinds and runs it to this output; nothing is left.
    async fn goes_on_to(&self, output: &str, instances: u64) {
        assert_eq!(self.rewind("i").await, instances);
        self.work(5 * MINUTE).await;
        self.check(output, "").await;
    }

    async fn check(&self, output: &str, at: &str) {
        let status = self.status("i").await;
        let shown = status.output.clone().unwrap_or_default();
        assert_eq!((status.status, shown.as_str()), (RuntimeStatus::Completed, format!("\"{output}\"").as_str()), "{at}");
        self.nothing_is_left(at).await;
    }

    async fn nothing_is_left(&self, at: &str) {
        assert!(self.client.poison().await.unwrap().is_empty(), "{at}");
        let left: Vec<_> = self.memory.all_messages().into_values().flatten().map(|message| message.text).collect();
        assert!(left.is_empty(), "{at}: {left:?}");
    }

    fn runs<const N: usize>(&self, keys: [&str; N]) -> [usize; N] {
        keys.map(|key| self.shop.runs(key))
    }
}

#[tokio::test(start_paused = true)]
async fn the_failed_step_runs_again_and_what_has_completed_does_not() {
    let world = World::failed("Chain", ["a", "b", "c"], &["b"]).await;
    assert_eq!(world.rewind("i").await, 1);
    let status = world.status("i").await;
    assert_eq!((status.status, status.output, status.completed), (RuntimeStatus::Pending, None, None));
    world.work(5 * MINUTE).await;
    world.check("a+b+c", "").await;
    assert_eq!(world.runs(["a", "b", "c"]), [1, 2, 1]);
    assert!(world.status("i").await.completed.is_some());
}

#[tokio::test(start_paused = true)]
async fn all_failed_siblings_run_again_and_the_others_do_not() {
    let world = World::failed("Fan", ["a", "b", "c", "d"], &["b", "d"]).await;
    world.goes_on_to("a|b|c|d", 1).await;
    assert_eq!(world.runs(["a", "b", "c", "d"]), [1, 2, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_can_be_rewound_again() {
    let world = World::failed("Fan", ["a", "b", "c"], &["b"]).await;
    for times in 2..5 {
        world.shop.breaks(&["b"]);
        assert_eq!(world.rewind("i").await, 1);
        world.work(5 * MINUTE).await;
        assert_eq!((world.status("i").await.status, world.shop.runs("b")), (RuntimeStatus::Failed, times));
    }
    world.shop.breaks(&[]);
    world.goes_on_to("a|b|c", 1).await;
    assert_eq!(world.runs(["a", "b", "c"]), [1, 5, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_retry_policy_has_all_its_attempts_again() {
    let world = World::failed("Retry", "a", &["a"]).await;
    assert_eq!(world.shop.runs("a"), 3);
    world.shop.breaks(&["a"]);
    assert_eq!(world.rewind("i").await, 1);
    let running = Running::start(worker(&world.hub, &world.shop));
    tokio::time::sleep(Duration::from_secs(8)).await;
    world.shop.breaks(&[]);
    tokio::time::sleep(5 * MINUTE).await;
    running.stop().await;
    world.check("a", "").await;
    assert!((5..=6).contains(&world.shop.runs("a")), "{}", world.shop.runs("a"));
}

#[tokio::test(start_paused = true)]
async fn children_go_on_from_where_they_failed_and_answer_their_parents() {
    let world = World::failed("Grand", ["a", "b"], &["b"]).await;
    assert_eq!(world.rewind("i").await, 3);
    let statuses = world.client.list(&crate::InstanceQuery::default()).await.unwrap().instances;
    assert!(statuses.iter().all(|i| i.status == RuntimeStatus::Pending), "{statuses:?}");
    world.work(5 * MINUTE).await;
    world.check("own(a+b)", "").await;
    assert_eq!(world.runs(["a", "b"]), [1, 2]);
    let own =
        world.shop.0.lock().unwrap().1.iter().filter(|(key, _)| key.ends_with("-own")).map(|(_, runs)| *runs).sum::<usize>();
    assert_eq!(own, 1);
}

#[tokio::test(start_paused = true)]
async fn a_parent_gets_the_result_of_a_child_that_was_rewound_alone() {
    let world = World::failed("Parent", ["a", "b"], &["b"]).await;
    assert_eq!(world.rewind("i-c").await, 1);
    world.work(5 * MINUTE).await;
    let (parent, child) = (world.status("i").await, world.status("i-c").await);
    assert_eq!((parent.status, child.status), (RuntimeStatus::Failed, RuntimeStatus::Completed), "it has ended");
    world.goes_on_to("own(a+b)", 1).await;
    assert_eq!(world.runs(["a", "b", "i-own"]), [1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_gone_or_was_terminated_is_started_anew() {
    for is_purged in [true, false] {
        let world = World::failed("Parent", ["a", "b"], &["b"]).await;
        if is_purged {
            world.client.instance("i-c").purge().await.unwrap();
        } else {
            world.rewind("i-c").await;
            world.client.instance("i-c").terminate("no more").await.unwrap();
            world.work(5 * MINUTE).await;
            assert_eq!(world.status("i-c").await.status, RuntimeStatus::Terminated);
        }
        world.goes_on_to("own(a+b)", 1).await;
        assert_eq!(world.shop.runs("i-own"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_was_caught_stays_unless_the_rewind_goes_back_to_the_first_one() {
    let world = World::failed("Tries", ["a", "b", "c"], &["a", "c"]).await;
    let dump = world.memory.dump();
    world.goes_on_to("caught+b+c", 1).await;
    assert_eq!(world.runs(["a", "b", "c"]), [1, 1, 2]);
    let world = World::like(&dump).await;
    world.client.instance("i").rewind("mended").to_first_failure().await.unwrap();
    world.work(5 * MINUTE).await;
    world.check("a+b+c", "").await;
    assert_eq!(world.runs(["a", "b", "c"]), [1, 1, 1], "since");
}

#[tokio::test(start_paused = true)]
async fn code_that_failed_by_itself_runs_on_from_its_last_turn_and_an_old_output_is_gone() {
    let world = World::failed("Own", "key", &["key"]).await;
    assert_eq!(world.rewind("i").await, 1);
    world.work(5 * MINUTE).await;
    let status = world.status("i").await;
    assert_eq!((status.status, status.output), (RuntimeStatus::Completed, None));
    assert_eq!(world.shop.runs("before"), 1);
    world.nothing_is_left("").await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_answer_that_was_taken_back_is_none_to_what_runs_again() {
    for name in ["Chain", "Grand"] {
        let world = World::new().await;
        world.shop.breaks(&["a"]);
        let tap = Tap::new(world.clock.clone());
        let builder = TaskHub::builder(tap.on(world.memory.storage()), "Test").clock(world.clock.clone());
        let hub = builder.rng(Rng::seeded(4)).open().await.unwrap();
        world.client.start_named(name, ["a"]).instance_id("i").await.unwrap();
        let running = Running::start(worker(&hub, &world.shop).fast_path(FastPath::NONE));
        tokio::time::sleep(MINUTE).await;
        running.stop().await;
        let is_failure = |text: &String| text.contains("TaskFailedEvent") || text.contains("SubOrchestrationInstanceFailedEvent");
        let failures: Vec<_> = put_texts(&tap).into_iter().filter(is_failure).collect();
        assert_eq!(failures.len(), if name == "Chain" { 1 } else { 3 }, "{failures:?}");
        world.shop.breaks(&[]);
        world.rewind("i").await;
        for text in failures {
            world.client.put(Message::from_json(&text).unwrap()).await.unwrap();
        }
        world.work(10 * MINUTE).await;
        world.check(if name == "Chain" { "a" } else { "own(a)" }, name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_has_failed_is_rewound() {
    let world = World::new().await;
    let kind = async |id: &str| {
        let error = world.client.instance(id).rewind("why").await.unwrap_err();
        (error.kind(), error.to_string())
    };
    world.client.start(WAIT, ()).instance_id("i").await.unwrap();
    let (pending, text) = kind("i").await;
    assert!(pending == ErrorKind::Open && text.contains("is Pending"), "{text}");
    world.work(MINUTE).await;
    assert!(kind("i").await.1.contains("is Running; only an instance that is Failed can be rewound"));
    world.hub.0.instances.show_as_failed(Culprit::Any("i"), "a message is parked").await.unwrap();
    let (parked, text) = kind("i").await;
    assert!(parked == ErrorKind::Open && text.contains("poison retry"), "{text}");
    world.hub.0.instances.show_as_it_is("i").await.unwrap();
    world.client.instance("i").suspend("lunch").await.unwrap();
    world.work(MINUTE).await;
    assert!(kind("i").await.1.contains("is Suspended"));
    world.client.instance("i").terminate("enough").await.unwrap();
    world.work(MINUTE).await;
    let (ended, text) = kind("i").await;
    assert!(ended == ErrorKind::Ended && text.contains("is Terminated"), "{text}");
    assert_eq!((kind("nobody").await.0, kind("@e@k").await.0), (ErrorKind::NotFound, ErrorKind::Invalid));
}

#[tokio::test(start_paused = true)]
async fn a_rewound_instance_can_be_suspended_terminated_and_restarted() {
    let world = World::failed("Chain", ["a", "b"], &["b"]).await;
    world.rewind("i").await;
    let again = world.client.instance("i").restart().await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Open, "{again}");
    world.client.instance("i").suspend("wait").await.unwrap();
    world.work(MINUTE).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Suspended);
    world.client.instance("i").terminate("enough").await.unwrap();
    world.work(MINUTE).await;
    assert_eq!((world.status("i").await.status, world.shop.runs("b")), (RuntimeStatus::Terminated, 1));
    let history = world.history("i").await;
    assert!(
        history.iter().any(|event| matches!(&event.kind, EventKind::Generic { data, .. } if data.as_deref() == Some("mended")))
    );
    world.client.instance("i").restart().await.unwrap();
    world.work(MINUTE).await;
    world.check("a+b", "restarted").await;
}

/// The texts of all messages that were sent.
fn put_texts(tap: &Tap) -> Vec<String> {
    let put = |seen: Seen| match seen.effect {
        Effect::Put { text, .. } => Some(text),
        _ => None,
    };
    tap.seen().into_iter().filter_map(put).collect()
}
