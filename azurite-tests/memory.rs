//! How much memory reading takes, whatever is sent. Each case is a process of its own, whose peak the kernel knows. No Azurite.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use serde::de::IgnoredAny;
use serde_json::json;
use taskhub::internals::{Snapshot, is_message, memory_at};
use taskhub::{Activity, ActivityContext, Client, Event, Failure, HistoryEvent, OrchestrationContext, Orchestrator};
use taskhub::{TaskHub, Timestamp, Worker};

use crate::fleet::size;

/// Names the case that a process runs.
const CASE: &str = "TASKHUB_MEMORY_CASE";
/// The largest text that is read is so large, and what it may take is below 4 GiB.
const LARGEST_TEXT_BYTES: usize = 256 << 20;
const MEMORY_BYTES: usize = 4 << 30;

const GO: Event<IgnoredAny> = Event::new("go");
const WAIT: Orchestrator<(), bool> = Orchestrator::new("Wait");
const TWICE: Orchestrator<String, String> = Orchestrator::new("Twice");
const SAME: Activity<String, String> = Activity::new("Same");

struct Case {
    name: &'static str,
    /// Whether it can be read.
    is_read: bool,
    /// What reading may take beside the text, in hundredths of the text.
    most: usize,
    text: fn() -> String,
}

/// How long the texts are here: so much smaller than the largest.
fn text_bytes() -> usize {
    size(1 << 20, 8 << 20)
}

/// A list of that element, as long as a text.
fn list(element: &str) -> String {
    format!("[{}{element}]", format!("{element},").repeat(text_bytes() / (element.len() + 1)))
}

/// A JSON text that says this, again and again.
fn text(part: &str) -> String {
    format!("\"{}\"", part.repeat(text_bytes() / part.len()))
}

fn message(event: &str) -> String {
    format!(
        r#"{{"ActivityId":"00000000-0000-0000-0000-000000000001","TaskMessage":{{"Event":{{{event},"EventId":-1}},"OrchestrationInstance":{{"InstanceId":"i"}}}},"Sender":{{"InstanceId":""}}}}"#
    )
}

fn raised(members: &str) -> String {
    message(&format!(r#""$type":"DurableTask.Core.History.EventRaisedEvent","Name":"go",{members}"#))
}

fn failed(members: &str) -> String {
    message(&format!(r#""$type":"DurableTask.Core.History.TaskFailedEvent","FailureDetails":{{{members}}}"#))
}

const CASES: [Case; 14] = [
    Case { name: "a list in an unknown member", is_read: true, most: 5, text: || raised(&format!(r#""X":{}"#, list("[1]"))) },
    Case {
        name: "objects in an unknown member",
        is_read: true,
        most: 5,
        text: || raised(&format!(r#""X":{}"#, list(r#"{"a":{}}"#))),
    },
    Case {
        name: "an unknown member around the message",
        is_read: true,
        most: 5,
        text: || raised(r#""Input":"1""#).replacen('{', &format!(r#"{{"X":{},"#, list("[1]")), 1),
    },
    Case {
        name: "many unknown members",
        is_read: true,
        most: 5,
        text: || raised(&format!(r#"{}"Input":"1""#, r#""":1,"#.repeat(text_bytes() / 5))),
    },
    Case {
        name: "one member many times",
        is_read: true,
        most: 5,
        text: || raised(&format!(r#"{}"Input":"1""#, r#""Input":1,"#.repeat(text_bytes() / 10))),
    },
    Case { name: "a long name", is_read: true, most: 110, text: || raised(&format!("{}:1", text("\\n"))) },
    Case {
        name: "a list where a text belongs",
        is_read: false,
        most: 5,
        text: || raised(&format!(r#""Input":{}"#, list("[1]"))),
    },
    Case { name: "a text", is_read: true, most: 110, text: || raised(&format!(r#""Input":{}"#, text("x"))) },
    Case { name: "a text of escapes", is_read: true, most: 110, text: || raised(&format!(r#""Input":{}"#, text("\\\"[1],"))) },
    Case { name: "halves of pairs", is_read: true, most: 110, text: || raised(&format!(r#""Input":{}"#, text("\\ud83d"))) },
    Case {
        name: "many tags",
        is_read: false,
        most: 5,
        text: || {
            // More than are read, however long the other texts are.
            let tags = r#""":"","#.repeat((8 << 20) / 6);
            message(&format!(r#""$type":"DurableTask.Core.History.TaskScheduledEvent","Name":"n","Tags":{{{tags}"a":""}}"#))
        },
    },
    Case {
        name: "properties of a failure",
        is_read: true,
        most: 220,
        text: || failed(&format!(r#""Properties":{{"a":{}}}"#, list("[1]"))),
    },
    Case {
        name: "failures within failures",
        is_read: true,
        most: 5,
        text: || {
            let inner = r#""InnerFailure":{"#;
            failed(&format!(r#"{}"X":{}{}"#, inner.repeat(100), list("[1]"), "}".repeat(100)))
        },
    },
    Case { name: "nesting", is_read: false, most: 5, text: || raised(&format!(r#""X":{}"#, "[".repeat(text_bytes()))) },
];

#[test]
fn reading_takes_a_small_multiple_of_the_text() {
    if let Ok(name) = std::env::var(CASE) {
        return run(&name);
    }
    let whole = ["worker: a list in an unknown member", "worker: texts through all of a hub"];
    let mut failed = Vec::new();
    for name in CASES.iter().map(|case| case.name).chain(whole) {
        let test = ["--exact", "memory::reading_takes_a_small_multiple_of_the_text", "--nocapture"];
        let mut child = Command::new(std::env::current_exe().unwrap());
        // What is freed leaves the process at once, and what is asked for is not taken from what was freed.
        child.envs([("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536"), ("MALLOC_ARENA_MAX", "1")]);
        let ran = child.args(test).env(CASE, name).output().unwrap();
        let _ = std::io::stderr().write_all(&ran.stderr);
        // A name that is not known would run nothing, and fail nothing.
        let has_run = String::from_utf8_lossy(&ran.stdout).contains("1 passed");
        failed.extend((!ran.status.success() || !has_run).then_some(name));
    }
    assert!(failed.is_empty(), "{failed:?}");
}

fn run(name: &str) {
    match name.strip_prefix("worker: ") {
        None => {
            let case = CASES.iter().find(|case| case.name == name).unwrap();
            let text = (case.text)();
            // Code that runs for the first time takes memory of its own.
            assert!(is_message(&raised(r#""X":[{"a":"\n"}],"Input":"\ud83d""#)) && !is_message("{"));
            let taken = taken(|| assert_eq!(is_message(&text), case.is_read));
            report(name, taken, text.len());
            assert!(taken <= text.len() * case.most / 100 + (1 << 20), "{name}: {taken} bytes");
            // Exports have no envelope, and are read alike.
            let event = text.split_once(r#""Event":"#).map_or("", |(_, event)| event);
            assert_eq!(HistoryEvent::from_json(event).is_ok(), case.is_read, "{name}");
        }
        Some(what) => {
            let taken = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap()
                .block_on(through_a_worker(what.starts_with("texts")));
            report(name, taken, text_bytes());
            assert!(taken <= MEMORY_BYTES / (LARGEST_TEXT_BYTES / text_bytes()), "{name}: {taken} bytes");
        }
    }
}

fn report(name: &str, taken: usize, text: usize) {
    let _ = writeln!(std::io::stderr(), "{name}: {}.{:02} times its text", taken / text, taken * 100 / text % 100);
}

/// What a worker takes for a message with a body of that size, beside the blobs of the store, which are small.
async fn through_a_worker(is_text: bool) -> usize {
    let (storage, clock) = memory_at(Timestamp::parse("2026-01-01T00:00:00Z").unwrap(), 1);
    if !is_text {
        // As if it came from a worker of a later version.
        let name = "i/message-00000000000000000000000000000001-EventRaised.json.gz";
        let wrapper = format!(r#"{{"CompressedBlobName":"{name}"}}"#);
        let body =
            base64::engine::general_purpose::STANDARD.encode(gzip(&raised(&format!(r#""Input":"1","X":{}"#, list("[1]")))));
        let snapshot = json!({
            "hub": "Test", "partitions": 1, "instance": "i", "orchestrator": "Wait", "tables": {},
            "messages": [{ "queue": "control-00", "text": wrapper, "visible_in_s": 0.0 }],
            "blobs": [{ "name": name, "base64": body }],
        });
        Snapshot::parse(&snapshot.to_string()).unwrap().load(&storage, "Test").await.unwrap();
    }
    let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock).open().await.unwrap();
    let client = Client::new(&hub);
    if is_text {
        client.start(TWICE, "x".repeat(text_bytes())).instance_id("i").await.unwrap();
    } else {
        client.start(WAIT, ()).instance_id("i").await.unwrap();
    }
    let wait = async |ctx: OrchestrationContext, (): ()| -> Result<bool, Failure> {
        ctx.wait_for_event(GO).await;
        Ok(true)
    };
    let twice = async |ctx: OrchestrationContext, input: String| -> Result<String, Failure> { Ok(ctx.call(SAME, input).await?) };
    let same = async |_: ActivityContext, input: String| -> Result<String, Failure> { Ok(input) };
    let worker = Worker::builder(&hub).orchestrator(WAIT, wait).orchestrator(TWICE, twice).activity(SAME, same).build().unwrap();
    let before = begin();
    worker
        .run(async { assert!(client.instance("i").wait().within(Duration::from_secs(300)).await.unwrap().output.is_some()) })
        .await
        .unwrap();
    peak().saturating_sub(before)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// How much more memory there was at one moment of the call than before.
fn taken(call: impl FnOnce()) -> usize {
    let before = begin();
    call();
    peak().saturating_sub(before)
}

/// Forgets the peak so far; what the process has in memory now.
fn begin() -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    of_status("VmRSS:")
}

fn peak() -> usize {
    of_status("VmHWM:")
}

fn of_status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}
