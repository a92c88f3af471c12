//! Reads recordings: messages, table writes and final states of a scenario.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::hub::names::Names;
use crate::model::Timestamp;
use crate::storage::table::{Entity, Value};

/// One recorded scenario.
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) names: Names,
    pub(super) partitions: u32,
    /// The blob endpoint of the recording.
    pub(super) endpoint: &'static str,
    pub(super) messages: Vec<Message>,
    pub(super) writes: Vec<Write>,
    pub(super) states: Vec<Json>,
}

/// A message put on a queue.
pub(super) struct Message {
    pub(super) queue: String,
    /// The text, or the JSON of a recording that kept only that; `None` if the recorder left it out.
    pub(super) text: Option<String>,
    /// Whether `text` is as it was on the wire.
    pub(super) verbatim: bool,
}

/// A write of a history or instance row.
pub(super) struct Write {
    pub(super) seq: u64,
    pub(super) is_history: bool,
    pub(super) if_match: Option<String>,
    /// Without nulls, which are not stored; `None` if the recorder left out a long column.
    pub(super) entity: Option<Entity>,
    /// Whether `Output` was sent as an explicit null.
    pub(super) null_output: bool,
}

impl Write {
    /// Whether the row has the columns of its type alone: a rewind changes the type and keeps all columns.
    pub(super) fn row_is_of_one_type(&self) -> bool {
        !self.is_history
            || self.if_match.is_none()
            || self.entity.as_ref().is_some_and(|e| e.row_key == crate::hub::rows::SENTINEL)
    }
}

/// The project's copies, whatever `TASKHUB_GOLDEN` says.
pub(super) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/golden")
}

/// All scenarios of the DTFx recordings.
pub(super) fn scenarios() -> Vec<Scenario> {
    let folders = match std::env::var_os("TASKHUB_GOLDEN") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => ["scenarios", "scenarios-2.11.2"].map(|folder| golden().join(folder)).to_vec(),
    };
    let found = folders.iter().flat_map(|folder| entries(folder));
    let scenarios: Vec<_> = found.filter(|p| p.is_dir()).map(|p| scenario(&p)).collect();
    assert!(!scenarios.is_empty(), "no scenarios in {folders:?}");
    scenarios
}

/// All recordings of the Functions extension, which decoded the messages.
pub(super) fn extension() -> Vec<Scenario> {
    let read = |path: &PathBuf| {
        let json = read_json(path);
        let put = list(&json["messages"]).iter().filter(|m| !m["message"].is_null());
        let messages = put.map(|m| Message { queue: text(&m["queue"]), text: Some(m["message"].to_string()), verbatim: false });
        Scenario {
            name: file_name(path),
            names: Names::new("FxGold").unwrap(),
            partitions: 4,
            endpoint: "http://127.0.0.1:14000/devstoreaccount1",
            messages: messages.collect(),
            writes: list(&json["table_writes"]).iter().filter_map(write).collect(),
            states: Vec::new(),
        }
    };
    let mut all: Vec<_> = entries(&golden().join("extension")).iter().map(read).collect();
    // The options group ran on a hub of its own.
    for scenario in all.iter_mut().filter(|s| s.messages.iter().any(|m| !m.queue.starts_with("fxgold-"))) {
        let queue = &scenario.messages[0].queue;
        let lower = queue.split('-').next().unwrap();
        scenario.names =
            Names::new(["FxOpt", "FxHttp", "FxApi", "FxList"].into_iter().find(|h| h.eq_ignore_ascii_case(lower)).unwrap())
                .unwrap();
    }
    all
}

fn scenario(folder: &Path) -> Scenario {
    let about = read_json(&folder.join("about.json"));
    let messages = lines(&folder.join("messages.jsonl")).into_iter().map(|line| Message {
        queue: text(&line["queue"]),
        text: line["text"].as_str().map(str::to_owned),
        verbatim: true,
    });
    Scenario {
        name: file_name(folder),
        names: Names::new(about["hub"].as_str().unwrap()).unwrap(),
        partitions: u32::try_from(about["partitions"].as_u64().unwrap()).unwrap(),
        endpoint: "http://127.0.0.1:10000/devstoreaccount1",
        messages: messages.collect(),
        writes: lines(&folder.join("writes.jsonl")).iter().filter_map(write).collect(),
        states: list(&about["states"]).clone(),
    }
}

fn write(line: &Json) -> Option<Write> {
    let path = line.get("path").or_else(|| line.get("url"))?.as_str()?;
    let table = path.trim_start_matches('/').split(['(', '?']).next()?;
    let is_history = table.ends_with("History");
    let members = line.get("entity")?.as_object()?;
    if !is_history && !table.ends_with("Instances") || !members.contains_key("PartitionKey") {
        return None;
    }
    Some(Write {
        seq: line["seq"].as_u64()?,
        is_history,
        if_match: line["if_match"].as_str().map(str::to_owned),
        entity: entity(members),
        null_output: members.get("Output").is_some_and(Json::is_null),
    })
}

/// A row from its JSON with minimal metadata.
pub(super) fn entity(members: &Map<String, Json>) -> Option<Entity> {
    let mut entity = Entity::new(text(&members["PartitionKey"]), text(&members["RowKey"]));
    for (name, value) in members {
        if name.contains("odata.") || ["PartitionKey", "RowKey", "Timestamp", "ETag"].contains(&name.as_str()) {
            continue;
        }
        let edm = members.get(&format!("{name}@odata.type")).and_then(Json::as_str);
        let value = match (value, edm) {
            (Json::Null, _) => continue,
            (Json::String(text), Some("Edm.DateTime")) => Value::DateTime(Timestamp::parse(text).unwrap()),
            (Json::String(text), None) if name == "Tags" => Value::String(without_null_tags(text)),
            (Json::String(text), None) => Value::string(text),
            (Json::Bool(flag), None) => Value::Bool(*flag),
            (Json::Number(n), None) => Value::I32(i32::try_from(n.as_i64().unwrap()).unwrap()),
            (Json::Object(omitted), None) if omitted.contains_key("$omitted") => return None,
            other => panic!("column {name}: {other:?}"),
        };
        entity.set(name.clone(), value);
    }
    Some(entity)
}

/// In-process Functions write a tag without a value; ours reads it as no tag.
fn without_null_tags(text: &str) -> String {
    let Ok(Json::Object(mut tags)) = serde_json::from_str(text) else { return text.to_owned() };
    tags.retain(|_, value| !value.is_null());
    Json::Object(tags).to_string()
}

pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = read.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

pub(super) fn read_json(path: &Path) -> Json {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(super) fn list(json: &Json) -> &Vec<Json> {
    json.as_array().unwrap()
}

pub(super) fn text(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}

pub(super) fn lines(path: &Path) -> Vec<Json> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
