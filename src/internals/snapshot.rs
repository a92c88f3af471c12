//! A hub written down as JSON, as recordings of .NET hold it: loaded into any storage account, and inspected afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::hub::{TaskHub, blob_names};
use crate::model::{EventKind, HistoryEvent, Incoming, Timestamp};
use crate::storage::blob::PutCondition;
use crate::storage::error::OrNone;
use crate::storage::queue::RECEIVE_MAX;
use crate::storage::table::{Entity, Query, Row, TableOp, Value};
use crate::storage::{self, Storage};

/// Blob URLs in recordings begin with this.
const RECORDED_ACCOUNT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// A recorded hub.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "members of the recording")]
pub struct Snapshot {
    pub hub: String,
    pub partitions: u32,
    pub instance: String,
    pub orchestrator: String,
    pub input: Option<String>,
    #[serde(default)]
    pub raise: Vec<Raise>,
    pub expected_output: Option<String>,
    tables: BTreeMap<String, Vec<serde_json::Map<String, Json>>>,
    messages: Vec<Message>,
    #[serde(default)]
    blobs: Vec<Blob>,
}

/// An event that the recorded client sent, or was about to send.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "members of the recording")]
pub struct Raise {
    pub name: String,
    pub data: Option<String>,
    pub already_sent: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Message {
    queue: String,
    text: String,
    visible_in_s: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Blob {
    name: String,
    base64: String,
}

/// What lies in the queues of a hub.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    /// About how many messages there are, hidden ones included.
    pub messages: u64,
    /// The texts of the visible ones.
    pub visible: Vec<String>,
    /// The same by instance, each in the order in which it is received.
    pub by_instance: BTreeMap<String, Vec<String>>,
}

impl Snapshot {
    /// Reads a recording.
    ///
    /// # Errors
    /// If the text is no recording.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The texts of its messages in a hub of this name, by instance, each in its order.
    #[must_use]
    pub fn texts(&self, storage: &Storage, hub: &str) -> BTreeMap<String, Vec<String>> {
        let (from, to) = self.payload_urls(storage, hub);
        let mut all = BTreeMap::<String, Vec<String>>::new();
        for message in &self.messages {
            all.entry(instance_of(&message.text)).or_default().push(message.text.replace(&from, &to));
        }
        all
    }

    /// Puts its messages into the queues of another hub, as if their senders had sent them there.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn send_to(&self, storage: &Storage, hub: &TaskHub) -> storage::error::Result<()> {
        let (from, to) = self.payload_urls(storage, hub.name());
        for message in &self.messages {
            let queue = hub.0.queues.name(hub.0.queues.of_instance(&instance_of(&message.text)));
            let delay = Duration::from_secs_f64(message.visible_in_s.max(0.0));
            storage.queues.put(queue, &message.text.replace(&from, &to), delay).await?;
        }
        Ok(())
    }

    /// How payloads are referred to in the recording, and in a hub of this name.
    fn payload_urls(&self, storage: &Storage, hub: &str) -> (String, String) {
        let from = format!("{RECORDED_ACCOUNT}/{}-largemessages", self.hub.to_lowercase());
        (from, storage.blobs.container_url(&format!("{}-largemessages", hub.to_lowercase())))
    }

    /// How many of its messages, or of its recorded waits, are timers of many minutes: they outlive the instance.
    #[must_use]
    pub fn long_timers(&self) -> u64 {
        u64::from(self.orchestrator == "Approval")
    }

    /// Writes the recorded hub into a storage account under another name. Messages keep what was left of their delay.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn load(&self, storage: &Storage, hub: &str) -> storage::error::Result<()> {
        let container = format!("{}-largemessages", hub.to_lowercase());
        let (from, to) = self.payload_urls(storage, hub);
        for (table, rows) in &self.tables {
            let name = format!("{hub}{table}");
            storage.tables.create_table(&name).await?;
            for row in rows {
                let mut entity = entity(row, &from, &to);
                if table == "Partitions" {
                    entity.row_key = entity.row_key.replace(&self.hub.to_lowercase(), &hub.to_lowercase());
                }
                storage.tables.write(&name, &TableOp::Insert(entity)).await?;
            }
        }
        if !self.blobs.is_empty() {
            storage.blobs.create_container(&container).await?;
        }
        for blob in &self.blobs {
            let bytes = Bytes::from(STANDARD.decode(&blob.base64).unwrap_or_default());
            storage.blobs.put(&container, &blob.name, bytes, PutCondition::Always).await?;
        }
        storage.queues.create_queue(&format!("{}-workitems", hub.to_lowercase())).await?;
        for partition in 0..self.partitions {
            storage.queues.create_queue(&format!("{}-control-{partition:02}", hub.to_lowercase())).await?;
        }
        for message in &self.messages {
            let queue = format!("{}-{}", hub.to_lowercase(), message.queue);
            let text = message.text.replace(&from, &to);
            storage.queues.put(&queue, &text, Duration::from_secs_f64(message.visible_in_s.max(0.0))).await?;
        }
        Ok(())
    }
}

/// What lies in the queues of a hub.
///
/// # Errors
/// If storage fails.
pub async fn leftovers(storage: &Storage, hub: &TaskHub) -> storage::error::Result<Leftovers> {
    let mut left = Leftovers::default();
    let queues = (0..hub.partitions()).map(|p| format!("{}-control-{p:02}", hub.name().to_lowercase()));
    for queue in queues.chain([format!("{}-workitems", hub.name().to_lowercase())]) {
        left.messages += storage.queues.count(&queue).await.or_none()?.unwrap_or(0);
        let mut visible = storage.queues.peek(&queue, RECEIVE_MAX).await?;
        left.visible.extend(visible.iter().map(|message| message.text.clone()));
        // As every worker sorts what one receive brings.
        visible.sort_by_key(|message| (message.inserted_on, sequence_of(&message.text)));
        for message in visible {
            left.by_instance.entry(instance_of(&message.text)).or_default().push(message.text);
        }
    }
    Ok(left)
}

/// Every row of histories and instances with its version, and every payload, of instances whose ids begin so; and every parked
/// message. Two hubs that agree in all are the same.
///
/// # Errors
/// If storage fails.
pub async fn stored(storage: &Storage, hub: &TaskHub, prefix: &str) -> storage::error::Result<Vec<String>> {
    let mut all = Vec::new();
    for table in ["History", "Instances", "Poison"] {
        let table = format!("{}{table}", hub.name());
        let mut query = Query::default();
        while let Some(page) = storage.tables.query(&table, &query).await.or_none()? {
            let is_meant = |row: &&Row| table.ends_with("Poison") || row.entity.partition_key.starts_with(prefix);
            all.extend(page.rows.iter().filter(is_meant).map(|row| format!("{table}: {row:?}")));
            if page.continuation.is_none() {
                break;
            }
            query.continuation = page.continuation;
        }
    }
    let container = format!("{}-largemessages", hub.name().to_lowercase());
    let mut from: Option<String> = None;
    while let Some(page) = storage.blobs.list(&container, prefix, from.as_deref()).await.or_none()? {
        for name in &page.names {
            let blob = storage.blobs.get(&container, name, 1 << 28).await?;
            all.push(format!("{name}: {:?} {:?}", blob.etag, blob.bytes));
        }
        from = page.continuation;
        if from.is_none() {
            break;
        }
    }
    Ok(all)
}

/// Task and timer ids that a history completes more than once: what .NET's take-over leaves, and ours must not add.
#[must_use]
pub fn completed_twice(history: &[HistoryEvent]) -> Vec<i32> {
    let mut completed = BTreeMap::<i32, usize>::new();
    for event in history {
        // A rewind and a new generation begin with fresh ids; neither is in one history with the old ones.
        if let Some(id) = event.kind.completes().filter(|_| !matches!(event.kind, EventKind::Generic { .. })) {
            *completed.entry(id).or_default() += 1;
        }
    }
    completed.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id).collect()
}

/// Whom a message is for; empty if its text does not tell.
fn instance_of(text: &str) -> String {
    match Incoming::from_json(text) {
        Ok(Incoming::Message(message)) => message.target.instance_id,
        Ok(Incoming::InBlob(blob)) => blob_names::parse_message_blob(&blob).map(|(id, _)| id).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

fn sequence_of(text: &str) -> Option<i64> {
    match Incoming::from_json(text) {
        Ok(Incoming::Message(message)) => Some(message.sequence_number),
        _ => None,
    }
}

fn entity(row: &serde_json::Map<String, Json>, from: &str, to: &str) -> Entity {
    let key = |name: &str| row.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut entity = Entity::new(key("PartitionKey"), key("RowKey"));
    for (name, value) in row {
        let service = ["PartitionKey", "RowKey", "Timestamp", "odata.etag"].contains(&name.as_str());
        if service || name.contains('@') {
            continue;
        }
        let edm = row.get(&format!("{name}@odata.type")).and_then(Json::as_str);
        entity.set(name.clone(), value_of(value, edm, from, to));
    }
    entity
}

fn value_of(value: &Json, edm: Option<&str>, from: &str, to: &str) -> Value {
    match (value, edm) {
        (Json::String(text), Some("Edm.DateTime")) => Timestamp::parse(text).map_or(Value::Null, Value::DateTime),
        (Json::String(text), Some("Edm.Int64")) => text.parse().map_or(Value::Null, Value::I64),
        (Json::String(text), _) => Value::String(text.replace(from, to)),
        (Json::Bool(flag), _) => Value::Bool(*flag),
        (Json::Number(number), _) => match number.as_i64().and_then(|n| i32::try_from(n).ok()) {
            Some(number) => Value::I32(number),
            None => number.as_f64().map_or(Value::Null, Value::F64),
        },
        _ => Value::Null,
    }
}
