//! Recorded ownership: writes of partition rows, acts on the app lease, polls of a queue that was given up, lease containers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::recording;
use crate::storage::table::Entity;

/// One call of the recording.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Since the recording began.
    pub(crate) at: Duration,
    /// `client`, or the worker's id.
    pub(crate) role: String,
    pub(crate) act: Act,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A row of the partition table.
    Row(Entity),
    /// An act on the app lease: its headers.
    Lease(BTreeMap<String, String>),
    /// The info blob of the app lease.
    Info(Json),
    /// A receive from a control queue.
    Receive { queue: String, hidden: Duration },
}

/// The steps of one recording, in order.
#[derive(Clone, Debug)]
pub(crate) struct Recorded(pub(crate) Vec<Step>);

/// What a scenario of the project's copies recorded of ownership.
pub(crate) fn recorded(scenario: &str) -> Recorded {
    let lines = recording::lines(&recording::golden().join("scenarios").join(scenario).join("ownership.jsonl"));
    let step = |line: Json| {
        let act = match line["op"].as_str().unwrap() {
            "receive" => Act::Receive {
                queue: recording::text(&line["queue"]),
                hidden: Duration::from_secs(line["hidden_s"].as_u64().unwrap()),
            },
            "put_info" => Act::Info(line["body"].clone()),
            op if op.starts_with("container_lease") => {
                Act::Lease(line["headers"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), recording::text(v))).collect())
            }
            _ => Act::Row(recording::entity(line["entity"].as_object().unwrap()).unwrap()),
        };
        let at = Duration::from_secs_f64(line["t"].as_f64().unwrap() / 1000.0);
        Step { at, role: recording::text(&line["role"]), act }
    };
    Recorded(lines.into_iter().map(step).collect())
}

impl Recorded {
    /// The rows that were written, with who wrote them.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&str, &Entity)> {
        self.0.iter().filter_map(|step| match &step.act {
            Act::Row(entity) => Some((step.role.as_str(), entity)),
            _ => None,
        })
    }
}

/// A hub of the blob lease managers at one moment: its containers with their blobs, its tables and its queues.
pub(crate) struct BlobHub {
    pub(crate) containers: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) tables: Vec<String>,
    pub(crate) queues: Vec<String>,
}

/// The recorded moments of a hub of the blob lease managers.
pub(crate) fn blob_hubs(scenario: &str) -> Vec<BlobHub> {
    let json = recording::read_json(&recording::golden().join("scenarios").join(scenario).join("containers.json"));
    let names = |json: &Json| recording::list(json).iter().map(recording::text).collect();
    let moment = |json: &Json| {
        let containers = json.as_object().unwrap().iter().filter(|(_, value)| value.is_object());
        let blobs = |blobs: &Json| blobs.as_object().unwrap().iter().map(|(k, v)| (k.clone(), recording::text(v))).collect();
        BlobHub {
            containers: containers.map(|(name, value)| (name.clone(), blobs(value))).collect(),
            tables: names(&json["tables"]),
            queues: names(&json["queues"]),
        }
    };
    json.as_object().unwrap().values().map(moment).collect()
}

/// A setting of a scenario.
pub(crate) fn setting(scenario: &str, name: &str) -> Option<String> {
    let about = recording::read_json(&recording::golden().join("scenarios").join(scenario).join("about.json"));
    about["settings"][name].as_str().map(str::to_owned)
}
