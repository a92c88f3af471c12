//! The recording of a rewind of .NET: what ours writes beside it, and each side goes on with what the other has rewound.

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::internals::Snapshot;
use crate::storage::table::Value;

const REWINDABLE: Orchestrator<(), String> = Orchestrator::new("Rewindable");
const HELLO: Activity<String, String> = Activity::new("Hello");
const FLAKY_ONCE: Activity<String, String> = Activity::new("FlakyOnce");
const ID: &str = "i-rew";

struct Recording {
    writes: Vec<Json>,
    messages: Vec<Json>,
}

impl Recording {
    fn read() -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/golden/scenarios/37-Rewind");
        let lines = |name: &str| -> Vec<Json> {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        Self { writes: lines("writes.jsonl"), messages: lines("messages.jsonl") }
    }

    /// The writes of the rewind.
    fn rewind(&self) -> Vec<&Json> {
        let is_rewind = |write: &&Json| matches!(write["op"].as_str(), Some("update" | "merge"));
        self.writes.iter().filter(is_rewind).collect()
    }

    /// The hub as it was once so many writes of the rewind had been made, with its message if it was sent.
    async fn load(&self, memory: &Memory, writes: usize, is_sent: bool) {
        let first = self.rewind().first().map_or(0, |write| write["seq"].as_u64().unwrap());
        let before = self.writes.iter().filter(|write| write["seq"].as_u64().unwrap() < first);
        let mut tables = BTreeMap::<&str, BTreeMap<String, Map<String, Json>>>::new();
        for write in before.chain(self.rewind().into_iter().take(writes)) {
            let path = write["path"].as_str().unwrap();
            let Some(table) = ["History", "Instances"].into_iter().find(|table| path.contains(&format!("h37Rewind{table}")))
            else {
                continue;
            };
            let entity = write["entity"].as_object().unwrap();
            let row = tables.entry(table).or_default().entry(entity["RowKey"].as_str().unwrap().to_owned()).or_default();
            if write["method"] != "PATCH" {
                row.clear();
            }
            row.extend(entity.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())));
        }
        let tables: BTreeMap<_, Vec<_>> = tables.into_iter().map(|(name, rows)| (name, rows.into_values().collect())).collect();
        let is_wake = |message: &&Json| message["text"].as_str().is_some_and(|text| text.contains("GenericEvent"));
        let sent = self.messages.iter().filter(|message| is_sent && is_wake(message));
        let messages: Vec<_> =
            sent.map(|message| json!({ "queue": "control-00", "text": message["text"], "visible_in_s": 0.0 })).collect();
        assert_eq!(messages.len(), usize::from(is_sent));
        let snapshot = json!({
            "hub": "h37Rewind", "partitions": 1, "instance": ID, "orchestrator": "Rewindable", "input": null, "expected_output": null,
            "tables": tables, "messages": messages,
        });
        Snapshot::parse(&snapshot.to_string()).unwrap().load(&memory.storage(), "Test").await.unwrap();
    }
}

async fn world(writes: usize, is_sent: bool) -> World {
    let clock = Clock::paused(Timestamp::parse("2026-11-23T04:33:00Z").unwrap());
    let memory = Memory::new(clock.clone(), Rng::seeded(1));
    Recording::read().load(&memory, writes, is_sent).await;
    World::of(memory, clock, 3).await
}

/// Runs the recorded orchestrator on to its end.
async fn finish(world: &World) {
    let worker = Worker::builder(&world.hub)
        .max_poll_interval(Duration::from_secs(1))
        .activity(HELLO, async |_: ActivityContext, name: String| Ok(format!("Hello, {name}!")))
        .activity(FLAKY_ONCE, async |_: ActivityContext, _: String| Ok("ok".to_owned()))
        .orchestrator(REWINDABLE, async |ctx, ()| {
            let before = ctx.call(HELLO, "before").await?;
            let after = ctx.call(FLAKY_ONCE, ctx.instance_id()).await?;
            Ok(format!("{before},{after}"))
        });
    let running = Running::start(worker);
    tokio::time::sleep(5 * MINUTE).await;
    running.stop().await;
    let status = world.status(ID).await;
    assert_eq!((status.status, status.output.as_deref()), (RuntimeStatus::Completed, Some("\"Hello, before!,ok\"")));
    world.nothing_is_left("").await;
}

#[tokio::test(start_paused = true)]
async fn ours_writes_the_rows_of_dotnet_and_goes_on() {
    let world = world(0, false).await;
    assert_eq!(world.rewind(ID).await, 1);
    let (recording, mut rows) = (Recording::read(), 0);
    for write in recording.rewind() {
        let expected = write["entity"].as_object().unwrap();
        let key = expected["RowKey"].as_str().unwrap();
        let table = if key.is_empty() { "TestInstances" } else { "TestHistory" };
        let row = world.memory.partition_rows(table, ID).into_iter().find(|row| row.entity.row_key == key).unwrap().entity;
        let varies = ["PartitionKey", "RowKey", "LastUpdatedTime"];
        for (name, value) in expected.iter().filter(|(name, _)| !name.contains('@') && !varies.contains(&name.as_str())) {
            let same = match row.properties.get(name) {
                Some(Value::String(text)) => value == text,
                Some(Value::I32(number)) => value == number,
                Some(Value::Bool(flag)) => value == flag,
                Some(Value::DateTime(time)) => value.as_str().and_then(Timestamp::parse) == Some(*time),
                _ => false,
            };
            assert!(same, "{table} {key} {name}: {:?} is not {value}", row.properties.get(name));
        }
        if !key.is_empty() {
            let more: Vec<_> = row.properties.keys().filter(|name| !expected.contains_key(*name)).collect();
            assert!(more.is_empty(), "{key}: {more:?}");
            rows += 1;
        }
    }
    assert_eq!(rows, 3);
    let text = world.memory.all_messages()["test-control-00"][0].text.clone();
    let (ours, theirs) = (Message::from_json(&text).unwrap(), wake(&recording));
    assert_eq!(
        (ours.event.kind, ours.target, ours.sender),
        (EventKind::Generic { data: Some("mended".into()), was: None }, theirs.target, theirs.sender)
    );
    finish(&world).await;
}

fn wake(recording: &Recording) -> Message {
    let texts = recording.messages.iter().filter_map(|message| message["text"].as_str());
    Message::from_json(texts.into_iter().find(|text| text.contains("GenericEvent")).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_dotnet_has_rewound_goes_on_here_and_what_it_left_in_the_midst_is_rewound_by_ours() {
    let all = Recording::read().rewind().len();
    assert_eq!(all, 4);
    finish(&world(all, true).await).await;
    for writes in 0..=all {
        let world = world(writes, false).await;
        world.client.instance(ID).rewind("mended").await.unwrap();
        finish(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_dotnet_has_rewound_without_its_timers_goes_on_here() {
    let world = World::failed("Retry", "a", &["a"]).await;
    for row in world.memory.partition_rows("TestHistory", "i") {
        let mut entity = row.entity;
        let kind = entity.text("EventType").unwrap_or_default().to_owned();
        if ["TaskScheduled", "TaskFailed", "ExecutionCompleted"].contains(&kind.as_str()) {
            entity.set("EventType", Value::string("GenericEvent"));
            entity.set("Reason", Value::String(format!("Rewound: {kind}")));
            world.memory.insert_row("TestHistory", entity);
        }
    }
    let mut shown = world.memory.partition_rows("TestInstances", "i").remove(0).entity;
    shown.set("RuntimeStatus", Value::string("Pending"));
    world.memory.insert_row("TestInstances", shown);
    world.client.instance("i").rewind("mended").await.unwrap();
    world.work(5 * MINUTE).await;
    world.check("a", "").await;
    assert_eq!(world.shop.runs("a"), 4);
}
