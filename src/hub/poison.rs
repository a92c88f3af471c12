//! Parked messages: what could not be read or kept failing, with its reason, to be looked at, put back or dropped.

use super::queues::{Held, QueueId, Unreadable};
use super::{Hub, keys, payloads};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Timestamp;
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
        let entity = self.poison_entity(unreadable.queue, &raw.id, &unreadable.reason, raw.dequeue_count);
        self.park(entity, &raw.text).await?;
        self.delete_unreadable(unreadable).await
    }

    /// Parks a message that keeps failing, and deletes it from its queue.
    pub(crate) async fn park_held(&self, held: &Held, reason: &str) -> Result<()> {
        let mut entity = self.poison_entity(held.queue, &held.id, reason, held.dequeue_count);
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

    /// Puts a parked message back into its queue.
    pub(crate) async fn retry_poison(&self, id: &str) -> Result<()> {
        let row = self.read_poison(id).await?;
        let body = match row.entity.text("BodyBlobName") {
            Some(name) => self.get_payload(name).await?,
            None => row.entity.text("Body").unwrap_or_default().to_owned(),
        };
        let queue = row.entity.text("Queue").unwrap_or_default();
        if body.len() > crate::limits::MESSAGE_BYTES_MAX {
            let blob = format!("poison/retry-{}.json.gz", keys::escape(id));
            self.put_payload(&blob, &body).await?;
            let text = super::codec::encode(&super::codec::wrapper_json(&blob), self.encoding);
            self.storage.queues.put(queue, &text, std::time::Duration::ZERO).await?;
        } else {
            self.storage.queues.put(queue, &body, std::time::Duration::ZERO).await?;
        }
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
