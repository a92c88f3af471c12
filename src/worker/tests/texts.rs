//! Texts of users: each works as long as it can be stored, off-loaded where .NET off-loads it, and is refused where it cannot, before
//! anything is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::harness::worker;
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator, TaskFailed};
use crate::clock::Clock;
use crate::limits::{NAME_UNITS_MAX, TAGS_BYTES_MAX, TEXT_BYTES_MAX};
use crate::model::{RuntimeStatus, Tags, Timestamp};
use crate::rng::Rng;
use crate::storage::memory::Memory;
use crate::{Client, ErrorKind, InstanceQuery, InstanceStatus, TaskHub, WorkerBuilder, size};

const TAGGED: Activity<(), usize> = Activity::new("Tagged");
const PARENT: Orchestrator<u32, usize> = Orchestrator::new("Parent");
const CHILD: Orchestrator<(), usize> = Orchestrator::new("Child");
const MAIN: Orchestrator<(), String> = Orchestrator::new("Main");
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    memory: Memory,
    hub: TaskHub,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let hub = TaskHub::builder(memory.storage(), "Test").clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
        Self { memory, client: Client::new(&hub), hub }
    }

    /// Runs an instance of `Main` to its end, and whoever else the worker knows.
    async fn run<F, R>(&self, main: F, more: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> InstanceStatus
    where
        F: Fn(OrchestrationContext, ()) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, Failure>> + 'static,
    {
        let worker = more(worker(&self.hub).orchestrator(MAIN, main).max_poll_interval(Duration::from_secs(1)));
        let ended = async {
            let id = self.client.start(MAIN, ()).await.unwrap();
            self.client.wait(&id, MINUTE).await.unwrap()
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (ran, ended) = tokio::join!(worker.run(async { drop(stopped.await) }), async {
            let ended = ended.await;
            drop(stop);
            ended
        });
        ran.unwrap();
        assert!(self.client.poison().await.unwrap().is_empty());
        ended
    }

    fn blobs(&self, part: &str) -> usize {
        let blobs = self.memory.all_blobs();
        blobs.values().flat_map(|blobs| blobs.keys()).filter(|name| name.contains(part)).count()
    }
}

/// A text of so many UTF-16 units.
fn long(units: usize) -> String {
    "x".repeat(units)
}

/// Longer than a column, and than a queue takes.
const LARGE: usize = 100_000;

async fn tags_seen(ctx: OrchestrationContext, (): ()) -> Result<usize, Failure> {
    Ok(ctx.tags().values().map(String::len).sum())
}

#[tokio::test(start_paused = true)]
async fn tags_of_any_length_are_kept_and_run_nothing_twice() {
    let world = World::new().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let parent = async |ctx: OrchestrationContext, round: u32| {
        if round < 3 {
            ctx.timer(Duration::from_secs(1)).await;
            return ctx.continue_as_new(PARENT, round + 1);
        }
        let activity = ctx.call(TAGGED, ()).tag("of", long(LARGE)).await?;
        ctx.start_orchestration(CHILD, ()).tag("of", long(LARGE)).instance_id("detached");
        let child = ctx.call(CHILD, ()).instance_id("child").tag("own", long(LARGE)).await?;
        Ok(activity + child)
    };
    let tagged = move |ctx: ActivityContext, (): ()| {
        counted.fetch_add(1, SeqCst);
        async move { Ok(ctx.tags().values().map(String::len).sum()) }
    };
    let worker = worker(&world.hub).orchestrator(PARENT, parent).orchestrator(CHILD, tags_seen).activity(TAGGED, tagged);
    let acting = async {
        let start = world.client.start(PARENT, 0).instance_id("parent").tag("given", long(LARGE)).tag("small", "1");
        start.await.unwrap();
        assert_eq!(world.client.status("parent").await.unwrap().unwrap().tags["given"].len(), LARGE, "before it begins");
        let ended = world.client.wait("parent", MINUTE).await.unwrap();
        assert_eq!(ended.output::<usize>().unwrap(), LARGE + 2 * LARGE + 1, "{:?}", ended.output);
        world.client.wait("detached", MINUTE).await.unwrap();
    };
    worker.max_poll_interval(Duration::from_secs(1)).run(acting).await.unwrap();
    assert_eq!(ran.load(SeqCst), 1);
    let tags: Tags = [("given".to_owned(), long(LARGE)), ("small".to_owned(), "1".to_owned())].into();
    let child = tags.clone().into_iter().chain([("own".to_owned(), long(LARGE))]).collect();
    for with_payloads in [false, true] {
        let query = InstanceQuery { with_payloads, ..InstanceQuery::default() };
        let listed = world.client.list(&query).await.unwrap().instances;
        let of = |id: &str| listed.iter().find(|listed| listed.instance_id == id).map(|listed| &listed.tags);
        assert!(of("parent") == Some(&tags) && of("child") == Some(&child), "{with_payloads}");
    }
    assert_eq!(world.blobs("parent/history--Tags-"), 1, "however many generations and checkpoints wrote them");
    // A start with tags that fit shows those.
    world.client.start(PARENT, 0).instance_id("parent").tag("small", "2").await.unwrap();
    assert_eq!(world.client.status("parent").await.unwrap().unwrap().tags, [("small".to_owned(), "2".to_owned())].into());
}

#[tokio::test(start_paused = true)]
async fn names_of_activities_and_events_reasons_and_failures_of_any_length_work() {
    let world = World::new().await;
    let name: &'static str = long(LARGE).leak();
    let (activity, event) = (Activity::<(), String>::new(name), Event::<u32>::new(name));
    let main = move |ctx: OrchestrationContext, (): ()| async move {
        ctx.send_event(ctx.instance_id(), event, 7);
        ctx.wait_for_event(event).await;
        let failed = ctx.call(activity, ()).await.unwrap_err();
        Err(Failure::new("Final", failed.details().error_message.repeat(2)))
    };
    let fails = async |_: ActivityContext, (): ()| Err(Failure::new("Long", long(LARGE)));
    let ended = world.run(main, |worker| worker.activity(activity, fails)).await;
    assert_eq!(ended.status, RuntimeStatus::Failed);
    assert_eq!(ended.output.unwrap().len(), "Final: ".len() + 2 * LARGE);
    let client = &world.client;
    for end in [false, true] {
        let id = client.start(MAIN, ()).await.unwrap();
        client.suspend(&id, &long(LARGE)).await.unwrap();
        if end {
            client.terminate(&id, &long(LARGE)).await.unwrap();
        } else {
            client.resume(&id, &long(LARGE)).await.unwrap();
        }
        let main = async |_: OrchestrationContext, (): ()| Ok(String::new());
        world.run(main, |worker| worker).await;
        let status = client.status(&id).await.unwrap().unwrap();
        let expected = if end { RuntimeStatus::Terminated } else { RuntimeStatus::Completed };
        assert_eq!(status.status, expected);
        assert!(!end || status.output.unwrap().len() == LARGE);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_cannot_have_stored_is_refused_before_anything_is_sent() {
    let world = World::new().await;
    let client = &world.client;
    let before = format!("{:?}", world.memory.dump());
    let over = long(NAME_UNITS_MAX + 1);
    for (error, words) in [
        (client.start_json(&over, None).await.unwrap_err(), "the orchestrator name \"xxx"),
        (client.start(MAIN, ()).version(&over).await.unwrap_err(), "the version \"xxx"),
    ] {
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(words), "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
    let error = client.start(MAIN, ()).tag("large", long(TAGS_BYTES_MAX)).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Invalid && error.to_string().contains("the tags of the instance are too large"),
        "{error}"
    );
    assert_eq!(format!("{:?}", world.memory.dump()), before);
    client.start_json(long(NAME_UNITS_MAX), None).version(long(NAME_UNITS_MAX)).await.unwrap();
}

/// What a call failed with.
fn failed<T>(result: Result<T, TaskFailed>) -> String {
    result.map_or_else(|failed| failed.details().to_string(), |_| "it worked".to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_an_orchestrator_cannot_have_stored_fails_its_call_by_name() {
    let world = World::new().await;
    let over = || long(NAME_UNITS_MAX + 1);
    let main = move |ctx: OrchestrationContext, (): ()| async move {
        let named = failed(ctx.call_sub_orchestration_named::<()>(&over(), &()).await);
        let child = failed(ctx.call(CHILD, ()).version(over()).tag("k", "v").await);
        let activity = failed(ctx.call(TAGGED, ()).tag("k", "v").version(over()).await);
        let half = long(TAGS_BYTES_MAX / 2);
        let tags = failed(ctx.call(CHILD, ()).tag("one", &half).tag("two", &half).tag("three", "3").await);
        assert!(tags.starts_with("TooLarge: The orchestrator \"Child\" cannot be called: the tags of the call"), "{tags}");
        let most = long(NAME_UNITS_MAX);
        let works = failed(ctx.call(CHILD, ()).version(&most).await) + &failed(ctx.call(TAGGED, ()).version(&most).await);
        Ok([named, child, activity, works].join("\n"))
    };
    let worker = |worker: WorkerBuilder| {
        worker.orchestrator_fallback(CHILD, tags_seen).activity_fallback(TAGGED, async |_: ActivityContext, (): ()| Ok(0))
    };
    let ended = world.run(main, worker).await.output::<String>().unwrap();
    let lines: Vec<_> = ended.lines().collect();
    for (line, words) in [
        (lines[0], "TooLarge: The orchestrator \"xxx"),
        (lines[1], "TooLarge: The orchestrator \"Child\" cannot be called: the version \"xxx"),
        (lines[2], "TooLarge: The activity \"Tagged\" cannot be called: the version \"xxx"),
        (lines[3], "it workedit worked"),
    ] {
        assert!(line.starts_with(words), "{line}");
    }

    // Nobody waits for these, so the orchestrator itself fails.
    let detached = move |ctx: OrchestrationContext, (): ()| async move {
        ctx.start_orchestration(CHILD, ()).version(over());
        ctx.timer(MINUTE).await;
        Ok(String::new())
    };
    let next = move |ctx: OrchestrationContext, (): ()| async move { ctx.continue_as_new_version(MAIN, (), over()) };
    let ends = [world.run(detached, worker).await, world.run(next, worker).await];
    for (ended, words) in
        ends.iter().zip(["TooLarge: The orchestrator \"Child\"", "TooLarge: The version of the next generation"])
    {
        assert_eq!(ended.status, RuntimeStatus::Failed);
        assert!(ended.output.as_ref().unwrap().starts_with(words), "{:?}", ended.output);
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_could_not_be_read_back_is_the_failure_of_its_task() {
    const LARGEST: Activity<usize, String> = Activity::new("Largest");
    let world = World::new().await;
    let main = async |ctx: OrchestrationContext, (): ()| {
        let over = failed(ctx.call(LARGEST, TEXT_BYTES_MAX).await);
        assert!(over.starts_with("TooLarge: The output of the activity \"Largest\" is too large: it takes"), "{over}");
        // In a full run alone: texts of this size take seconds.
        Ok(long(size::of(0, TEXT_BYTES_MAX)))
    };
    let ended =
        world.run(main, |worker| worker.activity(LARGEST, async |_: ActivityContext, units: usize| Ok(long(units)))).await;
    let output = ended.output.unwrap();
    let expected = size::of("\"\"", "TooLarge: The output of the orchestrator \"Main\" is too large");
    assert!(output.starts_with(expected), "{output:.200}");
    assert!(!world.memory.all_blobs().contains_key("test-largemessages"), "nothing that large was ever written");
}
