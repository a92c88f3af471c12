//! The hubs that the browser looks at.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use taskhub::internals::Snapshot;
use taskhub::{Client, Event, Failure, OrchestrationContext, Orchestrator, RawValue, TaskHub, Worker};

use crate::catalogue;
use crate::harness::{azurite, unique_hub_name};

/// What would do harm if it were taken for markup, or for the end of a text in a script.
const HARM: &str = "<img src=x onerror=\"window.harmed=1\"><script>window.harmed=1</script>'\"></textarea><svg onload=window.harmed=1>{{7*7}}${7*7}\u{202e}javascript:window.harmed=1";
const HARMFUL: Orchestrator<Value, Value> = Orchestrator::new(HARM);
const HARMFUL_END: Orchestrator<Value, ()> = Orchestrator::new("HarmfulEnd");
const WAITS: Event<Value> = Event::new(HARM);
/// Instances of patterns, each by its orchestrator and input; the id is the name of the orchestrator.
const PATTERNS: [(&str, &str); 24] = [
    ("HelloSequence", "\"x\""),
    ("FanOut", "20"),
    ("SubParent", "\"p\""),
    ("SubFanOut", "25"),
    ("SubParentCatches", "null"),
    ("RetryOk", "null"),
    ("RetryExhausted", "null"),
    ("ActivityFails", "null"),
    ("CatchesFailure", "null"),
    ("CustomStatus", "null"),
    ("Timer", "3600"),
    ("TimerRace", "60"),
    ("Approval", "3600"),
    ("Counter", "[0,50]"),
    ("WaitForever", "null"),
    ("EternalMonitor", "3"),
    ("SendEventer", "null"),
    ("FireAndForgetParent", "null"),
    ("TagsParent", "null"),
    ("NullVoid", "null"),
    ("SubRetry", "null"),
    ("RewindParent", "null"),
    ("NobodyHostsThis", "null"),
    ("LargeEcho", "{\"big\":79228162514264337593543950335,\"cents\":1.10,\"again\":1,\"again\":2}"),
];
/// Four events for each activity: more than ten thousand. Its end is waited for where it is looked at.
const LONG: (&str, &str) = ("Sequence", "2600");
const SNAPSHOTS: [&str; 3] = ["handover-entities/Signals-after.json", "handover/Approval-004.json", "handover/FanOut-029.json"];

/// What the tests need to know of the hubs.
pub(crate) struct Hubs {
    pub(crate) ours: String,
    pub(crate) dotnet: String,
    pub(crate) empty: String,
    /// The id of the harmful instance.
    pub(crate) hostile: String,
    pub(crate) dotnet_instance: String,
}

/// Waits for an event with the harmful name, and gives back what it says.
async fn harmful(ctx: OrchestrationContext, input: Value) -> Result<Value, Failure> {
    ctx.set_custom_status(HARM);
    let said = ctx.wait_for_event(WAITS).await;
    Ok(json!({ HARM: said, "input": input }))
}

/// Fills the hubs, and lets somebody look at them while a worker works.
pub(crate) async fn with_hubs<T>(look: impl AsyncFnOnce(&Hubs) -> T) -> T {
    let (ours, empty) = (unique_hub_name("Browser"), unique_hub_name("Empty"));
    let hub = TaskHub::builder(azurite().storage(), &ours).partitions(2).open().await.expect("a hub");
    TaskHub::builder(azurite().storage(), &empty).partitions(1).open().await.expect("a hub");
    let (dotnet, dotnet_instance) = of_dotnet().await;
    let hubs = Hubs { ours, dotnet, empty, hostile: format!("harm/{HARM}"), dotnet_instance };
    catalogue::run_local();
    let worker = catalogue::register(Worker::builder(&hub)).worker_id("worker of the browser").poison_after(1);
    let worker = worker.orchestrator(HARMFUL, harmful);
    let worker = worker.orchestrator(HARMFUL_END, async |_, _: Value| Err(Failure::new(HARM, HARM)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = worker.max_poll_interval(Duration::from_millis(200)).run(async { drop(stopped.await) });
    let looking = async {
        fill(&Client::new(&hub), &hubs).await;
        let seen = look(&hubs).await;
        drop(stop);
        seen
    };
    let (ran, seen) = tokio::join!(running, looking);
    ran.expect("the worker runs");
    seen
}

fn raw(json: &str) -> Option<Box<RawValue>> {
    Some(RawValue::from_string(json.to_owned()).expect("it is JSON"))
}

async fn fill(client: &Client, hubs: &Hubs) {
    for (name, input) in PATTERNS {
        client.start_named(name, raw(input)).instance_id(name).await.expect("it starts");
    }
    client.start(HARMFUL, json!(HARM)).instance_id(&hubs.hostile).tag(HARM, HARM).await.expect("it starts");
    client.start(HARMFUL_END, json!(null)).instance_id("harmful end").await.expect("it starts");
    for name in ["operate-me", "keys-me", "suspend-me"] {
        client.start_named("WaitForever", raw("null")).instance_id(name).await.expect("it starts");
    }
    for id in ["SubFanOut", "RetryExhausted", "RewindParent", "harmful end"] {
        client.instance(id).wait().within(Duration::from_secs(60)).await.expect("it ends");
    }
    let harmed = client.instance(&hubs.hostile);
    harmed.raise(WAITS, json!(HARM)).await.expect("it is sent");
    harmed.wait().within(Duration::from_secs(60)).await.expect("it ends");
    park(client, &hubs.ours).await;
    client.start_named(LONG.0, raw(LONG.1)).instance_id(LONG.0).await.expect("it starts");
}

/// Puts a message that nobody can read into a queue, and waits until the worker has parked it.
async fn park(client: &Client, hub: &str) {
    let message = json!({ "queue": "control-00", "text": HARM, "visible_in_s": 0 });
    let snapshot =
        json!({ "hub": "x", "partitions": 2, "instance": "", "orchestrator": "", "tables": {}, "messages": [message, message] });
    let snapshot = Snapshot::parse(&snapshot.to_string()).expect("a snapshot");
    snapshot.load(&azurite().storage(), hub).await.expect("the messages are put");
    while client.poison().await.expect("they can be read").len() < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A hub as .NET workers that were killed have left it, with entities: the recordings of several hubs as those of one.
async fn of_dotnet() -> (String, String) {
    let [mut all, others @ ..] = SNAPSHOTS.map(recording);
    let instance = others.last().map_or_else(String::new, |last| last["instance"].as_str().unwrap_or_default().to_owned());
    for other in others {
        // What refers to payloads does so by the name of the hub.
        let (name, own) = (other["hub"].as_str().unwrap_or_default(), all["hub"].as_str().unwrap_or_default());
        let other: Value = serde_json::from_str(&other.to_string().replace(&name.to_lowercase(), &own.to_lowercase())).unwrap();
        for part in ["/tables/History", "/tables/Instances", "/messages", "/blobs"] {
            let more = other.pointer(part).and_then(Value::as_array).cloned().unwrap_or_default();
            all.pointer_mut(part).and_then(Value::as_array_mut).expect("a recording has it").extend(more);
        }
    }
    let name = unique_hub_name("Dotnet");
    let snapshot = Snapshot::parse(&all.to_string()).expect("a recording");
    snapshot.load(&azurite().storage(), &name).await.expect("it is loaded");
    (name, instance)
}

fn recording(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/golden").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("it is JSON")
}
