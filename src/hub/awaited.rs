//! Code that messages wait for because no worker that has seen them hosts it. Workers refresh these rows, and people read them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::keys;
use super::queues::{QueueId, Queues};
use super::table::Table;
use crate::clock::Clock;
use crate::error::Result;
use crate::ids;
use crate::model::Timestamp;
use crate::storage::error::{ErrorKind, OrNone};
use crate::storage::table::{Entity, Filter, Match, Query, Row, TableOp, Value};

/// A worker that has not been seen for this long is gone. It is also the validity of a row that states none.
const FRESH: Duration = Duration::from_secs(180);
/// Rows of workers that have not been seen for this long are deleted, and so are rows about code that nothing has waited for since. Until
/// then they tell for which messages the number of receives means nothing.
const LONG_GONE: Duration = Duration::from_secs(24 * 3600);
/// The most instance ids that a row lists.
pub(crate) const INSTANCE_IDS_MAX: usize = 100;
/// The most UTF-16 units in a column.
const COLUMN_UNITS_MAX: usize = 32_000;
/// Longer texts are truncated: anybody can choose a name, and it must fit a column.
const TEXT_CHARS_MAX: usize = 1000;
/// The partition key of rows that announce workers which own no partition.
const WORKERS: &str = "worker";
/// Namespace of row keys; persisted, never change it.
const NAMESPACE: Uuid = Uuid::from_u128(0x7461_736b_6875_6220_6177_6169_7465_6420);

/// What kind of thing messages wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AwaitedKind {
    /// A version of an orchestrator.
    Orchestrator,
    /// A version of an activity.
    Activity,
    /// An entity, which workers of this crate do not host yet.
    Entity,
    /// A kind of event that the workers which saw it do not know.
    Event,
    /// An orchestrator that is drained, so that no new instance of it begins: no code is missing.
    Drain,
    /// A place under [the limit](crate::Limit) of an activity or orchestrator.
    Limit,
}

/// What a worker must host to work on somebody's messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) kind: AwaitedKind,
    pub(crate) name: String,
    /// Empty for none.
    pub(crate) version: String,
}

/// Something that messages wait for, as the workers that see these messages tell: none of them hosts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Awaited {
    /// What kind of thing it is.
    pub kind: AwaitedKind,
    /// Its name: of an entity with the leading `@`, of an event its type.
    pub name: String,
    /// The version that was asked for, if any was.
    pub version: Option<String>,
    /// The queue in which the messages are.
    pub queue: String,
    /// Since when the oldest of the messages that were seen is due.
    pub since: Timestamp,
    /// Since when workers have been there to see such messages, without a break.
    pub first_seen: Timestamp,
    /// When such a message was last seen.
    pub last_seen: Timestamp,
    /// When the next one should have been seen at the latest: what is past that is not waited for any more.
    pub valid_until: Timestamp,
    /// The worker that saw it.
    pub worker: String,
    /// The instance that one of the messages is for; empty if the message does not tell.
    pub instance_id: String,
    /// Instances that the messages are for: up to a hundred, and fewer if their ids are long.
    pub instance_ids: Vec<String>,
    /// How many instances have such messages in the queue, as far as the worker remembers them; `None` if no message tells.
    pub instances: Option<u32>,
    /// What the worker that saw it hosts under a name that is like this one: perhaps that was meant.
    pub suggestion: Option<String>,
}

impl AwaitedKind {
    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Activity => "activity",
            Self::Entity => "entity",
            Self::Event => "event",
            Self::Drain => "drain",
            Self::Limit => "limit",
        }
    }

    const ALL: [Self; 6] = [Self::Orchestrator, Self::Activity, Self::Entity, Self::Event, Self::Drain, Self::Limit];
}

impl Need {
    pub(crate) fn new(kind: AwaitedKind, name: &str, version: Option<&str>) -> Self {
        Self { kind, name: name.to_owned(), version: version.unwrap_or_default().to_owned() }
    }

    /// What a worker must host for this instance, if it is an entity.
    pub(crate) fn of_entity(instance_id: &str) -> Option<Self> {
        ids::entity_name(instance_id).map(|name| Self::new(AwaitedKind::Entity, name, None))
    }
}

/// The table of code that messages wait for.
#[derive(Clone, Debug)]
pub(crate) struct AwaitedCode {
    pub(super) table: Table,
    pub(super) queues: Arc<Queues>,
    pub(super) clock: Clock,
}

impl AwaitedCode {
    /// Records what messages of a queue wait for. The first record creates the table.
    pub(crate) async fn write(&self, need: &Need, queue: QueueId, row: &Awaited) -> Result<()> {
        let mut entity = Entity::new(need.kind.name(), self.key(need, queue))
            .with("Name", text(&row.name))
            .with("Queue", text(&row.queue))
            .with("Since", Value::DateTime(row.since))
            .with("FirstSeen", Value::DateTime(row.first_seen))
            .with("LastSeen", Value::DateTime(row.last_seen))
            .with("ValidUntil", Value::DateTime(row.valid_until))
            .with("Worker", text(&row.worker))
            .with("InstanceId", text(&row.instance_id))
            .with("InstanceIds", Value::String(ids_column(&row.instance_ids)));
        if let Some(version) = &row.version {
            entity.set("Version", text(version));
        }
        if let Some(suggestion) = &row.suggestion {
            entity.set("Suggestion", text(suggestion));
        }
        if let Some(instances) = row.instances {
            entity.set("Instances", Value::I32(i32::try_from(instances).unwrap_or(i32::MAX)));
        }
        self.table.put(entity).await
    }

    fn key(&self, need: &Need, queue: QueueId) -> String {
        let key = format!("{} {} {}", need.name.len(), need.name, need.version);
        format!("{} {}", self.queues.name(queue), Uuid::new_v5(&NAMESPACE, key.as_bytes()).simple())
    }

    /// The record of one need.
    pub(crate) async fn read(&self, need: &Need, queue: QueueId) -> Result<Option<Awaited>> {
        let key = self.key(need, queue);
        let row = self.table.get(need.kind.name(), &key, &[]).await.or_none()?;
        Ok(row.as_ref().and_then(from_row))
    }

    /// Deletes records that have long been void. `true` if records of this worker are left.
    pub(crate) async fn sweep(&self, worker_id: &str) -> Result<bool> {
        let (now, mut is_left) = (self.clock.now(), false);
        for row in self.rows(None).await? {
            let Some(awaited) = from_row(&row) else { continue };
            if now.since(awaited.valid_until) <= LONG_GONE {
                is_left |= awaited.worker == worker_id;
                continue;
            }
            let Entity { partition_key, row_key, .. } = row.entity;
            let op = TableOp::Delete { partition_key, row_key, condition: Match::Etag(row.etag) };
            match self.table.write(&op).await {
                // Another worker has refreshed or deleted it.
                Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::Precondition) => {}
                other => drop(other?),
            }
        }
        Ok(is_left)
    }

    /// Takes an instance out of what is recorded, that was purged before it began. A worker may write its record again while others wait; it names an
    /// instance then that nobody finds.
    pub(crate) async fn forget(&self, instance_id: &str) -> Result<()> {
        for row in self.rows(None).await? {
            let Some(mut awaited) = from_row(&row) else { continue };
            let Some(place) = awaited.instance_ids.iter().position(|id| id == instance_id) else { continue };
            awaited.instance_ids.remove(place);
            let mut entity = row.entity;
            let op = match awaited.instance_ids.first() {
                None if awaited.instances.is_none_or(|count| count <= 1) => {
                    let Entity { partition_key, row_key, .. } = entity;
                    TableOp::Delete { partition_key, row_key, condition: Match::Etag(row.etag) }
                }
                first => {
                    entity.set("InstanceId", text(first.map_or("", String::as_str)));
                    entity.set("InstanceIds", Value::String(ids_column(&awaited.instance_ids)));
                    if let Some(count) = awaited.instances {
                        entity.set("Instances", Value::I32(i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX)));
                    }
                    TableOp::Replace(entity, Match::Etag(row.etag))
                }
            };
            match self.table.write(&op).await {
                Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::Precondition) => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// What is waited for now.
    pub(crate) async fn list(&self) -> Result<Vec<Awaited>> {
        let now = self.clock.now();
        let rows = self.rows(None).await?;
        let mut all: Vec<_> = rows.iter().filter_map(from_row).filter(|awaited| now <= awaited.valid_until).collect();
        all.sort_by(|a, b| (a.kind, &a.name, &a.version, &a.queue).cmp(&(b.kind, &b.name, &b.version, &b.queue)));
        Ok(all)
    }

    /// Whether messages of this queue may have waited for code since then, so that their number of receives means nothing.
    pub(crate) async fn may_have_waited(&self, queue: QueueId, since: Timestamp) -> Result<bool> {
        let rows = self.rows(Some(Filter::eq("Queue", self.queues.name(queue)))).await?;
        Ok(rows.iter().filter_map(from_row).any(|awaited| awaited.valid_until >= since))
    }

    /// Announces a worker that owns no partition. Nothing is written while the table does not exist, because nobody asks then.
    pub(crate) async fn show_presence(&self, worker_id: &str) -> Result<()> {
        let entity = Entity::new(WORKERS, keys::escape(worker_id)).with("LastSeen", Value::DateTime(self.clock.now()));
        self.table.write(&TableOp::UpsertReplace(entity)).await.or_none()?;
        Ok(())
    }

    /// Withdraws the announcement.
    pub(crate) async fn withdraw_presence(&self, worker_id: &str) -> Result<()> {
        self.delete_presence(keys::escape(worker_id)).await
    }

    /// Whether other taskhub workers that own no partition are present.
    pub(crate) async fn others_are_present(&self, me: &str) -> Result<bool> {
        let (now, me) = (self.clock.now(), keys::escape(me));
        let mut found = false;
        for row in self.rows(Some(Filter::eq("PartitionKey", WORKERS))).await? {
            let age = now.since(row.entity.time("LastSeen").unwrap_or(row.timestamp));
            if age > LONG_GONE {
                self.delete_presence(row.entity.row_key).await?;
            } else {
                found |= row.entity.row_key != me && age <= FRESH;
            }
        }
        Ok(found)
    }

    async fn delete_presence(&self, row_key: String) -> Result<()> {
        let op = TableOp::Delete { partition_key: WORKERS.to_owned(), row_key, condition: Match::Any };
        self.table.write(&op).await.or_none()?;
        Ok(())
    }

    async fn rows(&self, filter: Option<Filter>) -> Result<Vec<Row>> {
        let query = Query { filter, ..Query::default() };
        Ok(self.table.rows(query).await.or_none()?.unwrap_or_default())
    }
}

fn text(text: &str) -> Value {
    Value::string(text.chars().take(TEXT_CHARS_MAX).collect::<String>())
}

/// As many of the ids as fit a column, as a JSON array.
fn ids_column(ids: &[String]) -> String {
    let mut column = String::from("[");
    for id in ids.iter().map(|id| serde_json::Value::from(id.as_str()).to_string()) {
        if column.len() + id.len() + 2 > COLUMN_UNITS_MAX {
            break;
        }
        if column.len() > 1 {
            column.push(',');
        }
        column.push_str(&id);
    }
    column + "]"
}

fn from_row(row: &Row) -> Option<Awaited> {
    let entity = &row.entity;
    let kind = AwaitedKind::ALL.into_iter().find(|kind| kind.name() == entity.partition_key)?;
    let text = |column: &str| entity.text(column).unwrap_or_default().to_owned();
    let last_seen = entity.time("LastSeen").unwrap_or(row.timestamp);
    let instance_ids = entity.text("InstanceIds").and_then(|ids| serde_json::from_str::<Vec<String>>(ids).ok());
    Some(Awaited {
        kind,
        name: text("Name"),
        version: entity.text("Version").map(str::to_owned),
        queue: text("Queue"),
        since: entity.time("Since").unwrap_or(row.timestamp),
        first_seen: entity.time("FirstSeen").unwrap_or(last_seen),
        last_seen,
        valid_until: entity.time("ValidUntil").unwrap_or_else(|| last_seen.plus(FRESH)),
        worker: text("Worker"),
        instance_ids: instance_ids.unwrap_or_else(|| entity.text("InstanceId").map(str::to_owned).into_iter().collect()),
        instance_id: text("InstanceId"),
        instances: entity.int("Instances").and_then(|count| u32::try_from(count).ok()),
        suggestion: entity.text("Suggestion").map(str::to_owned),
    })
}
