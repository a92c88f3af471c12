//! The `taskhub` command, as a user runs it, on an Azurite of our own.

mod operations;
mod payloads;
mod purge;
mod restart;
mod serve;
mod transfer;
mod versions;

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use taskhub::internals::Snapshot;
use taskhub::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator, TaskHub, Worker};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::{azurite, unique_hub_name};

const GREET: Orchestrator<String, String> = Orchestrator::new("Greet");
const APPROVAL: Orchestrator<Value, bool> = Orchestrator::new("Approval");
const BROKEN: Orchestrator<Value, ()> = Orchestrator::new("Broken");
const HOSTILE_END: Orchestrator<Value, ()> = Orchestrator::new("Hostile");
const HELLO: Activity<String, String> = Activity::new("Hello");
const APPROVED: Event<bool> = Event::new("approved");

async fn greet(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
    ctx.timer(Duration::from_millis(10)).await;
    Ok(ctx.call(HELLO, name).await?)
}

/// What a run of the command gave.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    error: String,
}

impl Ran {
    /// Standard output of a run that was fine.
    #[track_caller]
    fn ok(self) -> String {
        assert!(self.code == 0 && self.error.is_empty(), "{self:?}");
        self.out
    }

    /// Standard output of a wait that was fine: it may have said on standard error what the instance waited for.
    #[track_caller]
    fn waited(self) -> String {
        assert!(self.code == 0 && (self.error.is_empty() || self.error.starts_with("instance \"")), "{self:?}");
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("one JSON document")
    }

    /// A run that failed with this code and these words, and printed nothing else.
    #[track_caller]
    fn failed(self, code: i32, words: &str) -> String {
        assert!(self.code == code && self.error.contains(words) && self.out.is_empty(), "not {code}, \"{words}\": {self:?}");
        self.error
    }
}

/// Runs the command with nothing on its standard input.
async fn run(variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    run_with(variables, arguments, "").await
}

/// Runs the command with this on its standard input.
#[allow(clippy::print_stdout, reason = "what users see can be read with --nocapture")]
async fn run_with(variables: &[(&str, &str)], arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskhub"));
    for variable in ["AzureWebJobsStorage", "AZURE_STORAGE_CONNECTION_STRING", "TASKHUB_NAME", "RUST_LOG", "COLUMNS"] {
        command.env_remove(variable);
    }
    let begun = tokio::time::Instant::now();
    command.envs(variables.iter().copied()).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command can be run");
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes()).await;
    let output = child.wait_with_output().await.expect("the command ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let ran = Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), error: text(output.stderr) };
    println!("$ taskhub {}\n{}{}(exit code {} after {:?})\n", arguments.join(" "), ran.out, ran.error, ran.code, begun.elapsed());
    ran
}

/// A hub and the variables that lead the command to it.
struct World {
    hub: String,
    storage: String,
}

impl World {
    fn new() -> Self {
        Self { hub: unique_hub_name("Cli"), storage: azurite().connection_string() }
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        run(&[("AzureWebJobsStorage", &self.storage), ("TASKHUB_NAME", &self.hub)], arguments).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).await.json()
    }

    /// Runs a worker that parks at the first failure, beside what a user does.
    async fn with_worker<T>(&self, user: impl Future<Output = T>) -> T {
        let hub = TaskHub::builder(azurite().storage(), &self.hub).partitions(2).open().await.expect("a hub");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let worker = Worker::builder(&hub)
            .worker_id("worker-1")
            .poison_after(1)
            .max_poll_interval(Duration::from_millis(200))
            .orchestrator(GREET, greet)
            .orchestrator(APPROVAL, async |ctx, _: Value| Ok(ctx.wait_for_event(APPROVED).await))
            .orchestrator(BROKEN, async |_, _: Value| Err(Failure::new("NoMoney", "the account is empty")))
            .orchestrator(HOSTILE_END, async |_, _: Value| Err(Failure::new("Hostile", HOSTILE)))
            .activity(HELLO, async |_: ActivityContext, name: String| Ok(format!("Hello, {name}!")));
        let running = worker.run(async { drop(stopped.await) });
        let using = async {
            let result = user.await;
            drop(stop);
            result
        };
        let (ran, result) = tokio::join!(running, using);
        ran.expect("the worker runs");
        result
    }

    /// Puts a text into a control queue, and again.
    async fn put_twice(&self, text: &str, blobs: &Value) {
        let message = json!({ "queue": "control-00", "text": text, "visible_in_s": 0 });
        let snapshot = json!({
            "hub": "x", "partitions": 2, "instance": "", "orchestrator": "", "tables": {}, "messages": [message, message], "blobs": blobs
        });
        let snapshot = Snapshot::parse(&snapshot.to_string()).expect("a snapshot");
        snapshot.load(&azurite().storage(), &self.hub).await.expect("messages are put");
    }

    /// Repeats a command until its JSON is as it should be.
    async fn until(&self, arguments: &[&str], fits: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..100 {
            let found = self.json(arguments).await;
            if fits(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{arguments:?} never became as it should be");
    }
}

#[tokio::test]
async fn wrong_usage_is_told_with_its_remedy() {
    let world = World::new();
    let storage = [("AZURE_STORAGE_CONNECTION_STRING", world.storage.as_str())];
    run(&[], &["list", "--hub", "x"]).await.failed(2, "set AzureWebJobsStorage or AZURE_STORAGE_CONNECTION_STRING");
    run(&storage, &["list"]).await.failed(2, "pass --hub HUB, or set TASKHUB_NAME");
    run(&storage, &["list", "--hub", "my-hub"]).await.failed(2, "contains '-'");
    run(&storage, &["list", "--hub", "x", "--status", "Done"]).await.failed(2, "known are Running");
    run(&storage, &["start", "Greet", "--input", "Ada"]).await.failed(2, "it is not JSON");
    run(&storage, &["frobnicate"]).await.failed(2, "unrecognized subcommand");
    for (arguments, kind, words) in [
        (&["frobnicate"][..], "invalid", "unrecognized subcommand"),
        (&["list"], "invalid", "pass --hub HUB"),
        (&["list", "--hub", &world.hub], "notFound", "there is no task hub"),
    ] {
        let ran = run(&storage, &[arguments, &["--json"]].concat()).await;
        let error: Value = serde_json::from_str(&ran.error).expect("one JSON document");
        assert_eq!((ran.code, ran.out.as_str()), (if kind == "invalid" { 2 } else { 3 }, ""));
        assert_eq!(error["error"]["kind"], kind);
        assert!(error["error"]["message"].as_str().expect("a message").contains(words), "{error}");
    }
    // Who gives no command is helped, also where variables stand for arguments.
    for (arguments, words) in
        [(&[][..], "Usage: taskhub [OPTIONS] <COMMAND>"), (&["hub"], "Usage: taskhub hub [OPTIONS] <COMMAND>")]
    {
        world.run(arguments).await.failed(2, words);
        world.run(&[arguments, &["--json"]].concat()).await.failed(2, "requires a subcommand");
        run(&[], arguments).await.failed(2, words);
    }
    // Looking never creates.
    for command in [&["list"][..], &["hub", "status"], &["poison", "list"], &["show", "x"], &["list"]] {
        let words = format!("there is no task hub \"{}\" in this storage account; check the name", world.hub);
        world.run(command).await.failed(3, &words);
    }
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let world = World::new();
    let key = "bm90IHRoZSByaWdodCBrZXk=";
    let wrong = with_key(&world.storage, key);
    let denied = run(&[("RUST_LOG", "trace")], &["list", "--hub", "x", "--storage", &wrong]).await;
    assert!(
        denied.code == 8 && denied.error.contains("error: The storage account refused the credentials: check "),
        "{denied:?}"
    );
    let help = run(&[("AzureWebJobsStorage", &wrong)], &["--help"]).await;
    let malformed = run(&[("AzureWebJobsStorage", key)], &["list", "--hub", "x"]).await;
    assert_eq!((help.code, malformed.code), (0, 2));
    for text in [denied.error, help.out, malformed.error] {
        assert!(!text.contains("bm90IHRoZSByaWdodCBrZXk"), "{text}");
    }
}

/// Runs a command with `--json` that fails: its exit code, and the kind of its error.
async fn kind_of(storage: &str, hub: &str, arguments: &[&str]) -> (i32, String) {
    let ran = run(&[("AzureWebJobsStorage", storage), ("TASKHUB_NAME", hub)], &[arguments, &["--json"]].concat()).await;
    let error: Value = serde_json::from_str(&ran.error).expect("one JSON document");
    assert!(error["error"]["message"].as_str().is_some_and(|words| !words.is_empty()), "{error}");
    (ran.code, error["error"]["kind"].as_str().expect("a kind").to_owned())
}

#[tokio::test]
async fn scripts_can_tell_errors_apart() {
    let world = World::new();
    let (hub, storage) = (world.hub.as_str(), world.storage.as_str());
    let is = |code: i32, kind: &str| (code, kind.to_owned());
    let row = |key: &str| json!({ "PartitionKey": "bad", "RowKey": key, "ExecutionId": "e", "EventType": "Unheard" });
    let rows = ["0000000000000000", "sentinel"].map(row);
    let snapshot = json!({
        "hub": "x", "partitions": 2, "instance": "", "orchestrator": "", "messages": [], "tables": { "History": rows }
    });
    let snapshot = Snapshot::parse(&snapshot.to_string()).expect("a snapshot");
    snapshot.load(&azurite().storage(), hub).await.expect("a row is put");
    world
        .with_worker(async {
            for (name, id) in [("Greet", "done"), ("Broken", "broken"), ("Approval", "waits")] {
                world.run(&["start", name, "--id", id, "--input", "\"x\""]).await.ok();
            }
            world.run(&["start", "Approval", "--id", "open"]).await.ok();
            world.run(&["wait", "done"]).await.waited();
            assert_eq!(kind_of(storage, hub, &["wait", "broken"]).await, is(6, "failed"));
            assert_eq!(kind_of(storage, hub, &["wait", "open", "--timeout", "1s"]).await, is(7, "timeout"));
            assert_eq!(kind_of(storage, hub, &["start", "Approval", "--id", "open"]).await, is(4, "exists"));
            for command in [&["raise", "done", "go"][..], &["terminate", "done"], &["suspend", "broken"], &["resume", "broken"]] {
                assert_eq!(kind_of(storage, hub, command).await, is(5, "ended"), "{command:?}");
            }
            for command in
                [&["raise", "no", "go"][..], &["terminate", "no"], &["show", "no"], &["history", "no"], &["wait", "no"]]
            {
                assert_eq!(kind_of(storage, hub, command).await, is(3, "notFound"), "{command:?}");
            }
            for command in [&["poison", "drop", "no", "--yes"][..], &["poison", "retry", "no"]] {
                assert_eq!(kind_of(storage, hub, command).await, is(3, "notFound"), "{command:?}");
            }
        })
        .await;
    assert_eq!(kind_of(storage, "NoSuchHub", &["list"]).await, is(3, "notFound"));
    for command in [&["list", "--top", "many"][..], &["wait", "x", "--timeout", "soon"], &["list", "--hub", "1st"], &["show"]] {
        assert_eq!(kind_of(storage, hub, command).await, is(2, "invalid"), "{command:?}");
    }
    assert_eq!(kind_of("no connection string", hub, &["list"]).await, is(2, "invalid"));
    assert_eq!(kind_of(&with_key(storage, "bm90IHRoZSByaWdodCBrZXk="), hub, &["list"]).await, is(8, "denied"));
    assert_eq!(kind_of(storage, hub, &["history", "bad"]).await, is(12, "corrupt"));
}

#[tokio::test]
async fn who_cannot_be_reached_has_a_kind_of_its_own() {
    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    let nobody = crate::harness::connection_string_at(&std::array::from_fn(|_| format!("http://127.0.0.1:{port}")));
    assert_eq!(kind_of(&nobody, "Hub", &["list"]).await, (9, "unreachable".to_owned()));
}

/// The connection string with another key.
fn with_key(storage: &str, key: &str) -> String {
    let of = |part: &str| if part.starts_with("AccountKey=") { format!("AccountKey={key}") } else { part.to_owned() };
    storage.split(';').map(of).collect::<Vec<_>>().join(";")
}

/// Steers a terminal, turns directions, and cannot be seen.
const HOSTILE: &str = "a\u{1b}[2J\u{9b}31mb\u{7f}\u{202e}c\u{200b}\u{feff}d";

#[track_caller]
fn assert_safe(text: &str) {
    let is_safe = |c: char| c == '\n' || !(c.is_control() || "\u{202e}\u{200b}\u{feff}".contains(c));
    assert!(text.chars().all(is_safe), "{text:?}");
}

#[tokio::test]
async fn text_from_storage_never_steers_a_terminal() {
    let world = World::new();
    let input = json!({ "said": HOSTILE }).to_string();
    world
        .with_worker(async {
            world.run(&["start", "Hostile", "--id", "h", "--input", &input]).await.ok();
            assert_eq!(world.run(&["wait", "h"]).await.code, 6);
        })
        .await;
    for command in
        [&["show", "h"][..], &["history", "h"], &["list"], &["hub", "status"], &["show", HOSTILE], &["raise", HOSTILE, HOSTILE]]
    {
        for more in [&[][..], &["--json"]] {
            let variables =
                [("AzureWebJobsStorage", &*world.storage), ("TASKHUB_NAME", &*world.hub), ("RUST_LOG", "taskhub=trace")];
            let ran = run(&variables, &[command, more].concat()).await;
            assert_safe(&ran.out);
            assert_safe(&ran.error);
        }
    }
    // In JSON the values are what they were.
    let shown = world.json(&["show", "h"]).await;
    assert_eq!((&shown["input"]["said"], &shown["output"]), (&json!(HOSTILE), &json!(format!("Hostile: {HOSTILE}"))));
    let refused = world.run(&["show", HOSTILE, "--json"]).await;
    let error: Value = serde_json::from_str(&refused.error).expect("one JSON document");
    assert!(error["error"]["message"].as_str().expect("a message").contains(HOSTILE), "{error}");
}

#[tokio::test]
async fn instances_are_started_seen_and_steered() {
    let world = World::new();
    world
        .with_worker(async {
            let started = world.run(&["start", "Greet", "--id", "greet-1", "--input", "\"Ada\""]).await.ok();
            assert_eq!(started, "greet-1\n");
            let shown = world.run(&["wait", "greet-1", "--timeout", "30s"]).await.waited();
            assert!(shown.contains("Completed") && shown.contains("\"Hello, Ada!\""), "{shown}");
            assert_eq!(world.json(&["show", "greet-1"]).await["output"], "Hello, Ada!");

            world.run(&["start", "Approval", "--id", "a/1"]).await.ok();
            world.run(&["start", "Approval", "--id", "a/1"]).await.failed(4, "; use another --id, or --replace");
            world.until(&["show", "a/1"], |i| i["runtimeStatus"] == "Running").await;
            let late = world.run(&["wait", "a/1", "--timeout", "1"]).await.failed(7, "is still Running");
            assert!(late.starts_with("instance \"a/1\" is Running and waits for an external event\nerror: "), "{late}");
            let shown = world.run(&["show", "a/1"]).await.ok();
            assert!(shown.contains("\nWaits for      an external event\n") && !shown.contains("Received"), "{shown}");
            world.run(&["raise", "a/1", "aproved", "-1"]).await.ok();
            let told = world.until(&["show", "a/1"], |i| i["receivedEvents"] != json!([])).await;
            assert_eq!((&told["openTasks"], &told["receivedEvents"]), (&json!([]), &json!([{ "name": "aproved", "count": 1 }])));
            let shown = world.run(&["show", "a/1"]).await.ok();
            assert!(shown.contains("\nReceived       \"aproved\" (events, whether or not its code has taken them)\n"), "{shown}");
            let resumed = world.run(&["resume", "a/1"]).await.ok();
            assert!(resumed.contains("is not shown as suspended; it will be resumed, if a suspension is under way"), "{resumed}");
            world.run(&["suspend", "a/1", "--reason", "lunch"]).await.ok();
            let paused = world.until(&["show", "a/1"], |i| i["runtimeStatus"] == "Suspended").await;
            assert_eq!(paused["output"], "lunch");
            world.run(&["resume", "a/1"]).await.ok();
            world.run(&["raise", "a/1", "approved", "--data", "true"]).await.ok();
            assert_eq!(world.json(&["wait", "a/1"]).await["output"], true);
            world.run(&["raise", "a/1", "approved"]).await.failed(5, "is Completed already; nothing was sent");

            world.run(&["start", "Approval", "--id", "a/2"]).await.ok();
            world.until(&["show", "a/2"], |i| i["runtimeStatus"] == "Running").await;
            assert_eq!(world.json(&["terminate", "a/2", "--reason", "no"]).await["sent"], "ExecutionTerminated");
            let ended = world.run(&["wait", "a/2"]).await;
            assert!(ended.code == 6 && ended.error.ends_with("error: instance \"a/2\" is Terminated\n"), "{ended:?}");
            world.run(&["start", "Broken", "--id", "broken"]).await.ok();
            let failed = world.run(&["wait", "broken", "--json"]).await;
            let shown: Value = serde_json::from_str(&failed.out).expect("one JSON document");
            assert_eq!((failed.code, &shown["output"]), (6, &Value::from("NoMoney: the account is empty")));
            let words = format!(
                "error: there is no instance \"nobody\" in task hub \"{}\"; `taskhub list` shows its instances, and --hub names \
                 another hub\n",
                world.hub
            );
            for command in ["show", "history", "wait", "terminate", "suspend", "resume"] {
                assert_eq!(world.run(&[command, "nobody"]).await.failed(3, ""), words, "{command}");
            }
            assert_eq!(world.run(&["raise", "nobody", "go"]).await.failed(3, ""), words);
            for command in ["show", "history", "wait", "terminate"] {
                world.run(&[command, ""]).await.failed(2, "the instance id \"\" is empty; an id has at least one character");
            }
            world.run(&["start", ""]).await.failed(2, "the orchestrator name is empty");
            world.run(&["start", "Greet", "--id", ""]).await.failed(2, "is empty; leave it out to have one generated");
            world.run(&["raise", "broken", ""]).await.failed(2, "the name of the event is empty");
        })
        .await;
    look_at_lists(&world).await;
}

async fn look_at_lists(world: &World) {
    let ids = |list: Value| -> Vec<String> {
        let all = list["instances"].as_array().expect("an array").iter();
        all.map(|i| i["instanceId"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(world.json(&["list"]).await).len(), 4);
    assert_eq!(ids(world.json(&["list", "--prefix", "a/"]).await), ["a/1", "a/2"]);
    assert_eq!(ids(world.json(&["list", "--name", "Approval"]).await), ["a/1", "a/2"]);
    assert_eq!(ids(world.json(&["list", "--name", "Approval", "--status", "Terminated"]).await), ["a/2"]);
    assert_eq!(ids(world.json(&["list", "--name", "Approv"]).await).len(), 0);
    assert_eq!(ids(world.json(&["list", "--status", "failed", "--status", "Terminated"]).await), ["a/2", "broken"]);
    assert_eq!(ids(world.json(&["list", "--created-from", "1h", "--created-to", "2030-01-01"]).await).len(), 4);
    assert_eq!(ids(world.json(&["list", "--created-to", "1h"]).await).len(), 0);
    assert_eq!(world.run(&["list", "--created-to", "1h"]).await.ok(), "No instances.\n");
    let two = world.json(&["list", "--top", "2"]).await;
    assert_eq!((ids(two.clone()).len(), &two["more"]), (2, &Value::Bool(true)));
    let listed = world.run(&["list"]).await.ok();
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("ID       NAME      STATUS      CREATED (UTC)        UPDATED (UTC)"), "{listed}");
    assert!(lines[1].starts_with("a/1      Approval  Completed   20"), "{listed}");

    let history = world.run(&["history", "greet-1"]).await.ok();
    let one_spaced = history.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["ExecutionStarted Greet \"Ada\"", "TimerCreated 0 due 20", "TaskCompleted 1 Hello \"Hello, Ada!\""] {
        assert!(one_spaced.contains(words), "\"{words}\" is not in:\n{history}");
    }
    let events = world.json(&["history", "greet-1"]).await;
    assert_eq!(events["events"].as_array().and_then(|e| e.last()).expect("events")["eventType"], "OrchestratorCompleted");
}

#[tokio::test]
async fn the_hub_and_its_parked_messages_are_seen() {
    let world = World::new();
    world
        .with_worker(async {
            let all_owned = |s: &Value| s["partitions"].as_array().is_some_and(|p| p.iter().all(|p| p["owner"] == "worker-1"));
            let status = world.until(&["hub", "status"], all_owned).await;
            assert_eq!((&status["name"], &status["parked"]), (&Value::from(world.hub.as_str()), &Value::from(0)));
            let text = world.run(&["hub", "status"]).await.ok();
            assert!(text.contains("worker-1") && text.contains("ends in ") && text.contains("Parked      none"), "{text}");
            assert!(text.contains("App lease   last taken by apps without a name"), "{text}");
            assert_eq!(world.run(&["poison", "list"]).await.ok(), "No parked messages.\n");

            world.put_twice("no message", &json!([])).await;
            let two = |list: &Value| list["messages"].as_array().is_some_and(|m| m.len() == 2);
            let parked = world.until(&["poison", "list"], two).await;
            let id = |n: usize| parked["messages"][n]["id"].as_str().expect("an id").to_owned();
            let text = world.run(&["poison", "list"]).await.ok();
            assert!(text.contains(&id(0)) && text.contains("the text is neither JSON"), "{text}");
            assert!(world.run(&["hub", "status"]).await.ok().contains("2 messages; see `taskhub poison list`"));

            world.run(&["poison", "drop", &id(0)]).await.failed(2, "nobody can be asked");
            world.run(&["poison", "drop", &id(0), "--yes"]).await.ok();
            world.run(&["poison", "drop", &id(0), "--yes"]).await.failed(3, "no message with the id");
            assert_eq!(world.json(&["poison", "retry", &id(1)]).await["done"], "retried");
            // It is as bad as before, and comes back under another id.
            let again = |list: &Value| list["messages"].as_array().is_some_and(|m| m.len() == 1 && m[0]["id"] != id(1));
            world.until(&["poison", "list"], again).await;
        })
        .await;
    assert!(world.run(&["hub", "status"]).await.ok().contains("No worker is running"));
}

#[tokio::test]
async fn an_instance_is_failed_until_the_last_of_its_parked_messages_is_back() {
    let world = World::new();
    let list = world
        .with_worker(async {
            world.run(&["start", "Approval", "--id", "a/1"]).await.ok();
            world.until(&["show", "a/1"], |i| i["runtimeStatus"] == "Running").await;
            // Two events whose body is damaged.
            let blob = "a/1/message-03d109048a304bc596593c2c46b9435c-EventRaised.json.gz";
            let wrapper = json!({
                "$type": "DurableTask.AzureStorage.MessageData", "ActivityId": "00000000-0000-0000-0000-000000000000",
                "TaskMessage": null, "CompressedBlobName": blob, "SequenceNumber": 0, "Sender": null
            });
            world.put_twice(&wrapper.to_string(), &json!([{ "name": blob, "base64": "bm8gZ3ppcA==" }])).await;
            world.until(&["poison", "list"], |list| list["messages"].as_array().is_some_and(|m| m.len() == 2)).await
        })
        .await;
    let id = |n: usize| list["messages"][n]["id"].as_str().expect("an id").to_owned();
    assert_eq!((&list["messages"][0]["instanceId"], &list["messages"][1]["eventType"]), (&json!("a/1"), &json!("EventRaised")));
    let shown = async || world.json(&["show", "a/1"]).await;
    let failed = shown().await;
    assert_eq!(failed["runtimeStatus"], "Failed");
    let output = failed["output"].as_str().expect("a reason");
    assert!(output.starts_with("PoisonMessage: message EventRaised was received 1 time, failed, and is parked"), "{output}");
    world.run(&["poison", "retry", &id(0)]).await.ok();
    assert_eq!(shown().await["runtimeStatus"], "Failed");
    world.run(&["poison", "drop", &id(1), "--yes"]).await.ok();
    let running = shown().await;
    assert_eq!(
        (&running["runtimeStatus"], &running["output"], &running["completedTime"]),
        (&json!("Running"), &json!(null), &json!(null))
    );

    // The first is as bad as before. What is marked can be ended.
    world
        .with_worker(async {
            world.until(&["show", "a/1"], |i| i["runtimeStatus"] == "Failed").await;
            assert_eq!(world.json(&["terminate", "a/1", "--reason", "enough"]).await["sent"], "ExecutionTerminated");
            let ended = world.until(&["show", "a/1"], |i| i["runtimeStatus"] == "Terminated").await;
            assert_eq!(ended["output"], "enough");
        })
        .await;
}
