//! Parked messages: those that could not be read or kept failing, with the reason, to be inspected, put back or dropped.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::instances::Instances;
use super::payloads::Payloads;
use super::queues::{QueueId, Queues};
use super::received::{Held, Unreadable};
use super::table::Table;
use super::{keys, payloads};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::shortened;
use crate::model::{EventKind, Message, Timestamp};
use crate::storage::error::OrNone;
use crate::storage::table::{Cmp, Entity, Filter, Match, Query, Row, TableOp, Value};

/// A parked message. Its JSON is that of the command and of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoisonMessage {
    /// Its id, by which it is put back or dropped.
    pub id: String,
    /// The queue that it was in.
    pub queue: String,
    /// The instance that it was for, if the message could be read.
    pub instance_id: Option<String>,
    /// The kind of event, if the message could be read.
    #[serde(rename = "eventType")]
    pub event: Option<String>,
    /// Why it was parked.
    pub reason: String,
    /// How often it had been received.
    pub dequeue_count: i32,
    /// When it was parked.
    #[serde(rename = "parkedTime")]
    pub parked_at: Timestamp,
}

/// Longer reasons are truncated: they must fit a column, and are shown in lists.
const REASON_CHARS_MAX: usize = 2000;
/// All parked messages are in one partition of the table, because there should be few.
const PARTITION: &str = "poison";
/// The most UTF-16 units of the key of a row.
const KEY_UNITS_MAX: usize = 512;
/// The columns of a list: bodies may be large.
const WITHOUT_BODY: [&str; 9] =
    ["PartitionKey", "RowKey", "Timestamp", "Queue", "Reason", "DequeueCount", "ParkedAt", "InstanceId", "EventType"];
/// Events that no task of an instance waits for: the instance can continue without one, and another can be sent.
const EXTERNAL: [&str; 5] = ["EventRaised", "ExecutionTerminated", "ExecutionSuspended", "ExecutionResumed", "GenericEvent"];

/// The table of parked messages.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    pub(super) table: Table,
    pub(super) payloads: Payloads,
    pub(super) queues: Arc<Queues>,
    pub(super) instances: Instances,
    /// The name of the hub, for errors.
    pub(super) hub: String,
    pub(super) clock: Clock,
}

impl Parked {
    /// Parks a message that cannot be read, and deletes it from its queue.
    pub(crate) async fn park_unreadable(&self, unreadable: &Unreadable) -> Result<()> {
        let hold = &unreadable.hold;
        let mut entity = self.entity(hold.queue, &hold.id, &unreadable.error.to_string(), hold.dequeue_count);
        // The name of the missing or damaged blob tells which instance the message was for.
        if let Some((instance_id, event)) = unreadable.of_instance() {
            entity.set("InstanceId", Value::string(instance_id));
            entity.set("EventType", Value::string(event));
        }
        self.park(entity, &unreadable.text).await?;
        self.queues.delete_unreadable(unreadable).await
    }

    /// Parks a message that keeps failing, and deletes it from its queue.
    pub(crate) async fn park_held(&self, held: &Held, reason: &str) -> Result<()> {
        let mut entity = self.entity(held.queue, &held.id, reason, held.dequeue_count).with("IsRead", Value::Bool(true));
        entity.set("InstanceId", Value::string(held.message.target.instance_id.clone()));
        entity.set("EventType", Value::string(held.message.event.kind.type_name()));
        self.park(entity, &held.message.to_json()).await?;
        self.queues.delete(held).await
    }

    fn entity(&self, queue: QueueId, id: &str, reason: &str, dequeue_count: u32) -> Entity {
        Entity::new(PARTITION, keys::escape(id))
            .with("Queue", Value::string(self.queues.name(queue)))
            .with("Reason", Value::String(reason.chars().take(REASON_CHARS_MAX).collect()))
            .with("DequeueCount", Value::I32(i32::try_from(dequeue_count).unwrap_or(i32::MAX)))
            .with("ParkedAt", Value::time(self.clock.now()))
    }

    async fn park(&self, mut entity: Entity, body: &str) -> Result<()> {
        if payloads::is_large_column(body) {
            let name = format!("poison/{}.gz", entity.row_key);
            self.payloads.put(&name, body).await?;
            entity.set("BodyBlobName", Value::string(name));
        } else {
            entity.set("Body", Value::string(body));
        }
        self.table.put(entity).await
    }

    /// All parked messages.
    pub(crate) async fn list(&self) -> Result<Vec<PoisonMessage>> {
        Ok(self.rows(None, &WITHOUT_BODY).await?.iter().map(from_row).collect())
    }

    /// How many messages are parked.
    pub(crate) async fn count(&self) -> Result<usize> {
        Ok(self.rows(None, &["RowKey"]).await?.len())
    }

    async fn rows(&self, filter: Option<Filter>, select: &[&str]) -> Result<Vec<Row>> {
        let select = select.iter().map(|column| (*column).to_owned()).collect();
        let query = Query { filter, select, ..Query::default() };
        Ok(self.table.rows(query).await.or_none()?.unwrap_or_default())
    }

    /// The text of a parked message.
    async fn body(&self, entity: &Entity) -> Result<String> {
        match entity.text("BodyBlobName") {
            Some(name) => self.payloads.get(name).await,
            None => Ok(entity.text("Body").unwrap_or_default().to_owned()),
        }
    }

    /// Puts a parked message back into its queue. An instance that is shown as Failed is shown again as it is, unless another
    /// message of it is parked.
    pub(crate) async fn retry(&self, id: &str) -> Result<()> {
        let row = self.read(id).await?;
        let entity = &row.entity;
        let body = self.body(entity).await?;
        let name = entity.text("Queue").unwrap_or_default();
        let corrupt = |why: &str| Error::new(ErrorKind::Corrupt, format!("parked message \"{id}\": {why}"));
        let queue = self.queues.named(name).ok_or_else(|| corrupt(&format!("the hub has no queue \"{name}\"")))?;
        let message = match entity.bool("IsRead") {
            Some(true) => Some(Message::from_json(&body).map_err(|e| corrupt(&e.to_string()))?),
            _ => None,
        };
        // This comes before the message is visible: workers ignore the start of an instance that has ended.
        if let Some(instance_id) = entity.text("InstanceId") {
            if self.instances.is_marked_before_its_start(instance_id).await? {
                self.instances.show_as_it_is(instance_id).await?;
            }
            self.show_unless_parked(instance_id, Some(&entity.row_key)).await?;
        }
        match message {
            Some(message) => self.queues.send(queue, message, Duration::ZERO).await?,
            // A text that could not be read is put back unchanged; it came from a queue, so it fits.
            None => self.queues.put_text(name, &body).await?,
        }
        self.delete(&row).await?;
        // Two messages that are put back at the same time each saw the other one parked.
        match entity.text("InstanceId") {
            Some(instance_id) => self.show_unless_parked(instance_id, None).await,
            None => Ok(()),
        }
    }

    /// Drops the parked start of a child that this parent has started. `false` if there is none, or its body tells of no parent any more.
    pub(crate) async fn drop_start_of_child(&self, child: &str, parent: &str) -> Result<bool> {
        let filter = Filter::And(vec![Filter::eq("InstanceId", child), Filter::eq("EventType", "ExecutionStarted")]);
        let mut is_dropped = false;
        for row in self.rows(Some(filter), &[]).await? {
            let body = match self.body(&row.entity).await {
                Err(error) if error.is_lasting() => continue,
                body => body?,
            };
            let is_its = Message::from_json(&body).is_ok_and(|message| match message.event.kind {
                EventKind::ExecutionStarted(start) => start.parent.is_some_and(|it| it.instance.instance_id == parent),
                _ => false,
            });
            if is_its {
                self.delete(&row).await?;
                is_dropped = true;
            }
        }
        Ok(is_dropped)
    }

    /// Drops a parked message for good. An instance that can go on without it is shown again as it is; one that waits for just
    /// this message is not.
    pub(crate) async fn drop(&self, id: &str) -> Result<()> {
        let row = self.read(id).await?;
        self.delete(&row).await?;
        let is_external = row.entity.text("EventType").is_some_and(|event| EXTERNAL.contains(&event));
        match row.entity.text("InstanceId") {
            Some(instance_id) if is_external => self.show_unless_parked(instance_id, None).await,
            _ => Ok(()),
        }
    }

    /// Shows an instance as it is, unless a message of it is parked, other than the one with this key.
    async fn show_unless_parked(&self, instance_id: &str, except: Option<&str>) -> Result<()> {
        let of_instance = Filter::eq("InstanceId", instance_id);
        let filter = match except {
            Some(key) => Filter::And(vec![of_instance, Filter::compare("RowKey", Cmp::Ne, Value::string(key))]),
            None => of_instance,
        };
        let parked = self.rows(Some(filter), &["RowKey"]).await?;
        if parked.is_empty() { self.instances.show_as_it_is(instance_id).await } else { Ok(()) }
    }

    async fn delete(&self, row: &Row) -> Result<()> {
        let (partition_key, row_key) = (PARTITION.to_owned(), row.entity.row_key.clone());
        let op = TableOp::Delete { partition_key, row_key, condition: Match::Any };
        self.table.write(&op).await.or_none()?;
        if let Some(blob) = row.entity.text("BodyBlobName") {
            self.payloads.delete(blob).await?;
        }
        Ok(())
    }

    async fn read(&self, id: &str) -> Result<Row> {
        let key = keys::escape(id);
        // What no row can have as its key is the id of none, and storage refuses to look for it.
        let row = match key.encode_utf16().count() {
            0..=KEY_UNITS_MAX => self.table.get(PARTITION, &key, &[]).await.or_none()?,
            _ => None,
        };
        row.ok_or_else(|| {
            let hub = &self.hub;
            let words = format!(
                "no message with the id \"{}\" is parked in task hub \"{hub}\"; list the parked ones first",
                shortened(id)
            );
            Error::new(ErrorKind::NotFound, words)
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
