//! Parked messages: what could not be read or kept failing, with its reason, to be looked at, put back or dropped.

use std::time::Duration;

use super::queues::{Held, QueueId, Unreadable};
use super::{Hub, blob_names, keys, payloads};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Message, Timestamp};
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Match, Query, Row, TableOp, Value};

/// A parked message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoisonMessage {
    /// Its id, by which it is put back or dropped.
    pub id: String,
    /// The queue that it was in.
    pub queue: String,
    /// The instance that it was for, if the message could be read.
    pub instance_id: Option<String>,
    /// The kind of event, if the message could be read.
    pub event: Option<String>,
    /// Why it was parked.
    pub reason: String,
    /// How often it had been received.
    pub dequeue_count: i32,
    /// When it was parked.
    pub parked_at: Timestamp,
}

/// All parked messages lie in one partition of the table: there should be few.
const PARTITION: &str = "poison";

impl Hub {
    /// Parks a message that cannot be read, and deletes it from its queue.
    pub(crate) async fn park_unreadable(&self, unreadable: &Unreadable) -> Result<()> {
        let raw = &unreadable.raw;
        let mut entity = self.poison_entity(unreadable.queue, &raw.id, &unreadable.error.to_string(), raw.dequeue_count);
        // The name of the blob that is missing or damaged tells whose message it was.
        if let Some((instance_id, event)) = unreadable.blob.as_deref().and_then(blob_names::parse_message_blob) {
            entity.set("InstanceId", Value::string(instance_id));
            entity.set("EventType", Value::string(event));
        }
        self.park(entity, &raw.text).await?;
        self.delete_unreadable(unreadable).await
    }

    /// Parks a message that keeps failing, and deletes it from its queue.
    pub(crate) async fn park_held(&self, held: &Held, reason: &str) -> Result<()> {
        let mut entity = self.poison_entity(held.queue, &held.id, reason, held.dequeue_count).with("IsRead", Value::Bool(true));
        entity.set("InstanceId", Value::string(held.message.target.instance_id.clone()));
        entity.set("EventType", Value::string(held.message.event.kind.type_name()));
        self.park(entity, &held.message.to_json()).await?;
        self.delete_message(held).await
    }

    fn poison_entity(&self, queue: QueueId, id: &str, reason: &str, dequeue_count: u32) -> Entity {
        Entity::new(PARTITION, keys::escape(id))
            .with("Queue", Value::string(self.queue_name(queue)))
            .with("Reason", Value::string(reason))
            .with("DequeueCount", Value::I32(i32::try_from(dequeue_count).unwrap_or(i32::MAX)))
            .with("ParkedAt", Value::DateTime(self.clock.now()))
    }

    async fn park(&self, mut entity: Entity, body: &str) -> Result<()> {
        if payloads::is_large_column(body) {
            let name = format!("poison/{}.gz", entity.row_key);
            self.put_payload(&name, body).await?;
            entity.set("BodyBlobName", Value::string(name));
        } else {
            entity.set("Body", Value::string(body));
        }
        let op = TableOp::UpsertReplace(entity);
        match self.storage.tables.write(&self.names.poison, &op).await {
            // The table is made when the first message is parked: a hub of .NET has none.
            Err(e) if e.kind == storage::ErrorKind::NotFound => {
                match self.storage.tables.create_table(&self.names.poison).await {
                    Err(e) if e.kind != storage::ErrorKind::AlreadyExists => return Err(e.into()),
                    _ => self.storage.tables.write(&self.names.poison, &op).await?,
                }
            }
            other => other?,
        };
        Ok(())
    }

    /// All parked messages.
    pub(crate) async fn list_poison(&self) -> Result<Vec<PoisonMessage>> {
        let (mut query, mut all) = (Query::default(), Vec::new());
        loop {
            let Some(page) = self.storage.tables.query(&self.names.poison, &query).await.or_none()? else { return Ok(all) };
            all.extend(page.rows.iter().map(from_row));
            if page.continuation.is_none() {
                return Ok(all);
            }
            query.continuation = page.continuation;
        }
    }

    /// Puts a parked message back into its queue. If its instance is shown as Failed because of it, the instance row shows
    /// again what it showed before: workers ignore messages to an instance that has ended.
    pub(crate) async fn retry_poison(&self, id: &str) -> Result<()> {
        let row = self.read_poison(id).await?;
        let entity = &row.entity;
        let body = match entity.text("BodyBlobName") {
            Some(name) => self.get_payload(name).await?,
            None => entity.text("Body").unwrap_or_default().to_owned(),
        };
        let name = entity.text("Queue").unwrap_or_default();
        let corrupt = |why: &str| Error::new(ErrorKind::Corrupt, format!("parked message \"{id}\": {why}"));
        let queue = self.queue_named(name).ok_or_else(|| corrupt(&format!("the hub has no queue \"{name}\"")))?;
        let message = match entity.bool("IsRead") {
            Some(true) => Some(Message::from_json(&body).map_err(|e| corrupt(&e.to_string()))?),
            _ => None,
        };
        if let Some(instance_id) = entity.text("InstanceId") {
            self.show_as_before_failure(instance_id).await?;
        }
        match message {
            Some(message) => self.send(queue, message, Duration::ZERO).await?,
            // What could not be read goes back letter by letter; it came from a queue, so it fits one.
            None => self.storage.queues.put(name, &body, Duration::ZERO).await?,
        };
        self.drop_poison(id).await
    }

    /// Drops a parked message for good.
    pub(crate) async fn drop_poison(&self, id: &str) -> Result<()> {
        let row = self.read_poison(id).await?;
        let (partition_key, row_key) = (PARTITION.to_owned(), row.entity.row_key.clone());
        let op = TableOp::Delete { partition_key, row_key, condition: Match::Any };
        self.storage.tables.write(&self.names.poison, &op).await.or_none()?;
        if let Some(blob) = row.entity.text("BodyBlobName") {
            self.delete_payload(blob).await?;
        }
        Ok(())
    }

    async fn read_poison(&self, id: &str) -> Result<Row> {
        let row = self.storage.tables.get(&self.names.poison, PARTITION, &keys::escape(id), &[]).await.or_none()?;
        row.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no message with the id \"{id}\" is parked; list the parked ones first"))
        })
    }
}

fn from_row(row: &Row) -> PoisonMessage {
    let entity = &row.entity;
    PoisonMessage {
        id: keys::unescape(&entity.row_key),
        queue: entity.text("Queue").unwrap_or_default().to_owned(),
        instance_id: entity.text("InstanceId").map(str::to_owned),
        event: entity.text("EventType").map(str::to_owned),
        reason: entity.text("Reason").unwrap_or_default().to_owned(),
        dequeue_count: entity.int("DequeueCount").unwrap_or(0),
        parked_at: entity.time("ParkedAt").unwrap_or(row.timestamp),
    }
}
