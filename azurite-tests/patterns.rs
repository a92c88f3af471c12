//! Every orchestration of the catalogue from start to end, through client and worker, in memory and on Azurite.

use std::time::Duration;

use futures::future::join_all;
use taskhub::internals::memory_at;
use taskhub::{
    Activity, ActivityContext, Client, Clock, Failure, InstanceQuery, OrchestrationContext, Orchestrator, RawValue,
    RuntimeStatus, Storage, TaskHub, Timestamp, Worker,
};

use crate::catalogue;
use crate::fleet::leftovers_until;
use crate::harness::{azurite, unique_hub_name};

/// One run: the orchestrator, its input, the events raised to it, and how it must end.
struct Case {
    name: &'static str,
    version: &'static str,
    input: Option<&'static str>,
    events: &'static [(&'static str, &'static str)],
    status: RuntimeStatus,
    /// How it must end; one that ends with an ellipsis is how the output must begin.
    output: Option<&'static str>,
}

const fn case(name: &'static str, input: Option<&'static str>, output: &'static str) -> Case {
    Case { name, version: "", input, events: &[], status: RuntimeStatus::Completed, output: Some(output) }
}

const GREETINGS: &str = r#"["Hello, Tokyo!","Hello, Seattle!","Hello, London!"]"#;
const ITEMS: &[(&str, &str)] = &[("item", "1"), ("Item", "2"), ("ITEM", "3")];

const CASES: &[Case] = &[
    case("HelloSequence", None, GREETINGS),
    case("Sequence", Some("5"), "5"),
    case("FanOut", Some("20"), "20"),
    case("FanInSum", Some("6"), "55"),
    case("SubParent", Some("\"Ada\""), r#"["Hello, Ada!","Hello, Ada!"]"#),
    case("SubParentCatches", Some("\"x\""), "\"caught: activity failed: child\""),
    case("SubFanOut", Some("5"), "5"),
    case("RetryOk", None, "\"ok on try 3\""),
    case("SubRetry", None, "\"ok\""),
    case("CatchesFailure", None, "\"caught: activity failed: x inner none\""),
    case("Timer", Some("1.5"), "\"fired\""),
    case("TimerRace", Some("3600"), "\"activity: Hello, race!\""),
    Case { events: &[("approval", r#"{"ok":true}"#)], ..case("Approval", Some("600"), r#""{\"ok\":true}""#) },
    case("Approval", Some("1"), "\"timeout\""),
    Case { events: ITEMS, ..case("ManyEvents", Some("3"), r#"["1","2","3"]"#) },
    case("Counter", Some("[0,5]"), "5"),
    Case { events: ITEMS, ..case("EventCarry", Some("[0,3]"), "3") },
    case("LargeEcho", Some("\"small\""), "\"small\""),
    case("CustomStatus", None, "\"done\""),
    case("UnicodeEcho", Some("\"ü ✓ 日本 😀 <&>' \\u0001\""), "\"ü ✓ 日本 😀 <&>' \\u0001\""),
    case("TagsParent", None, "\"v2:x,v1:y,\""),
    Case { version: "1.0", ..case("Versioned", Some("\"a\""), "\"v1:a\"") },
    Case { version: "2.0", ..case("Versioned", Some("\"a\""), "\"v2:a\"") },
    case("FireAndForgetParent", None, "\"Hello, parent!\""),
    Case { output: None, ..case("NullVoid", None, "") },
    case("SlowSequence", Some("[2,20]"), "2"),
    Case { events: &[("go", "1")], ..case("RaceNext", None, "\"echoed: event\"") },
    case("Monitor", Some("0"), "5"),
    Case {
        status: RuntimeStatus::Failed,
        ..case(
            "UnknownActivityCaller",
            None,
            "DurableTask.Core.Exceptions.TaskFailedException: Task 'NoSuchActivity' (#0) failed with an unhandled exception: This worker has no activity \"NoSuchActivity\"; registered are: …",
        )
    },
    Case {
        status: RuntimeStatus::Failed,
        ..case(
            "ActivityFails",
            None,
            "DurableTask.Core.Exceptions.TaskFailedException: Task 'AlwaysFails' (#0) failed with an unhandled exception: activity failed: x",
        )
    },
    Case { status: RuntimeStatus::Failed, ..case("OrchThrows", None, "System.InvalidOperationException: boom é") },
    Case {
        status: RuntimeStatus::Failed,
        ..case(
            "RetryExhausted",
            None,
            "DurableTask.Core.Exceptions.TaskFailedException: Task 'AlwaysFails' (#4) failed with an unhandled exception: activity failed: r",
        )
    },
];

const MONITOR: Orchestrator<u32, u32> = Orchestrator::new("Monitor");
const IS_READY: Activity<u32, bool> = Activity::new("IsReady");

/// The one pattern of the examples that the catalogue has without an end: look, pause, begin anew, until it is ready.
async fn monitor(ctx: OrchestrationContext, looks: u32) -> Result<u32, Failure> {
    if ctx.call(IS_READY, looks).await? {
        return Ok(looks);
    }
    ctx.timer(Duration::from_millis(100)).await;
    ctx.continue_as_new(MONITOR, looks + 1)
}

/// Runs every case at once and tells what ended otherwise than it must.
async fn run_all(storage: Storage, clock: Clock, hub_name: &str) -> Vec<String> {
    let hub = TaskHub::builder(storage.clone(), hub_name).partitions(3).clock(clock).open().await.unwrap();
    let client = Client::new(&hub);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = catalogue::register(Worker::builder(&hub))
        .max_poll_interval(Duration::from_millis(500))
        .fail_unhosted_at_once()
        .orchestrator(MONITOR, monitor)
        .activity(IS_READY, async |_: ActivityContext, looks: u32| Ok(looks >= 5));
    let running = worker.run(async { drop(stopped.await) });
    let acting = async {
        let mut wrong: Vec<String> = join_all(CASES.iter().map(|c| run(&client, c))).await.into_iter().flatten().collect();
        wrong.extend(all_ended(&client).await);
        // Somebody may be about to receive what is visible.
        let left = leftovers_until(&storage, &hub, Duration::from_secs(30), |left| left.visible.is_empty()).await.unwrap();
        wrong.extend(left.visible.iter().map(|text| format!("left over: {text}")));
        drop(stop);
        wrong
    };
    let (ran, wrong) = tokio::join!(running, acting);
    ran.unwrap();
    wrong
}

async fn run(client: &Client, case: &Case) -> Option<String> {
    let start = client.start_named(case.name, case.input.map(raw)).version(case.version);
    let instance = start.await.unwrap();
    for (name, data) in case.events {
        instance.raise_named(name, raw(data)).await.unwrap();
    }
    match instance.wait().within(Duration::from_secs(90)).await {
        Ok(ended) if ended.status == case.status && fits(case.output, ended.output.as_deref()) => None,
        Ok(ended) => Some(format!("{}: {} {:?}", case.name, ended.status, ended.output)),
        Err(error) => Some(format!("{}: {error}", case.name)),
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn fits(expected: Option<&str>, output: Option<&str>) -> bool {
    match expected.and_then(|expected| expected.strip_suffix('…')) {
        Some(beginning) => output.is_some_and(|output| output.starts_with(beginning)),
        None => output == expected,
    }
}

/// Children that nobody waits for end as well.
async fn all_ended(client: &Client) -> Option<String> {
    let mut open = Vec::new();
    for _ in 0..40 {
        let page = client.list(&InstanceQuery { page_size: 1000, ..InstanceQuery::default() }).await.unwrap();
        open = page.instances.into_iter().filter(|i| !i.status.is_terminal()).map(|i| i.instance_id).collect();
        if open.is_empty() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Some(format!("still open: {open:?}"))
}

#[tokio::test(start_paused = true)]
async fn every_pattern_runs_in_memory() {
    let (storage, clock) = memory_at(Timestamp::parse("2026-12-01T00:00:00Z").unwrap(), 1);
    let wrong = run_all(storage, clock, "Patterns").await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pattern_runs_on_azurite() {
    let wrong = run_all(azurite().storage(), Clock::system(), &unique_hub_name("patterns")).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
