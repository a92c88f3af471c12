//! What workers have counted: a row for each, which they refresh and people read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::keys;
use super::table::Table;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::Timestamp;
use crate::storage::error::{ErrorKind, OrNone};
use crate::storage::table::{Entity, Filter, Match, Query, Row, TableOp, Value};
use crate::usage::{CallKind, Calls};

/// The partition key of the rows, in the table of what is waited for.
const PARTITION_KEY: &str = "usage";
/// Rows that were not refreshed for so long are deleted.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// The most UTF-16 units of a column.
const COLUMN_UNITS_MAX: usize = 30_000;
/// The name of what has no room.
const OTHERS: &str = "(others)";
/// Longer names are truncated.
const NAME_CHARS_MAX: usize = 200;

/// The storage calls of a worker since it started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerUsage {
    /// The id of the worker.
    pub worker: String,
    /// When it started.
    pub since: Timestamp,
    /// Up to when it has told.
    pub until: Timestamp,
    /// All of its calls, and those of clients in the same process that share its [`TaskHub`](crate::TaskHub).
    pub calls: Calls,
    /// Those that were made for turns, by the names of their orchestrators. `(others)` are messages that began no turn, and names beyond what a row holds.
    pub orchestrators: BTreeMap<String, Calls>,
    /// Those that were made for activities, by their names.
    pub activities: BTreeMap<String, Calls>,
}

/// The rows of what workers have counted.
#[derive(Clone, Debug)]
pub(crate) struct UsageRows {
    pub(super) table: Table,
    pub(super) clock: Clock,
}

impl UsageRows {
    /// Writes down what a worker has counted.
    pub(crate) async fn write(&self, usage: &WorkerUsage) -> Result<()> {
        let entity = Entity::new(PARTITION_KEY, keys::escape(&usage.worker))
            .with("Worker", Value::string(&usage.worker))
            .with("Since", Value::DateTime(usage.since))
            .with("Until", Value::DateTime(usage.until))
            .with("Calls", Value::String(as_json(&usage.calls).to_string()))
            .with("Orchestrators", Value::String(column(&usage.orchestrators)))
            .with("Activities", Value::String(column(&usage.activities)));
        self.table.put(entity).await
    }

    /// What workers have counted, those first that have told last. Deletes what is older than three months.
    pub(crate) async fn all(&self) -> Result<Vec<WorkerUsage>> {
        let query = Query { filter: Some(Filter::eq("PartitionKey", PARTITION_KEY)), ..Query::default() };
        let (now, mut all) = (self.clock.now(), Vec::new());
        for row in self.table.rows(query).await.or_none()?.unwrap_or_default() {
            let usage = from_row(&row);
            if now.since(usage.until) <= KEPT {
                all.push(usage);
                continue;
            }
            let Entity { partition_key, row_key, .. } = row.entity;
            match self.table.write(&TableOp::Delete { partition_key, row_key, condition: Match::Etag(row.etag) }).await {
                Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::Precondition) => {}
                other => drop(other?),
            }
        }
        all.sort_by(|a, b| (b.until, &a.worker).cmp(&(a.until, &b.worker)));
        Ok(all)
    }
}

fn as_json(calls: &Calls) -> Json {
    let counted = CallKind::ALL.into_iter().map(|kind| (kind, calls.of(kind))).filter(|(_, count)| *count > 0);
    Json::Object(counted.map(|(kind, count)| (kind.name().to_owned(), count.into())).collect::<Map<_, _>>())
}

/// As many of the names as fit a column, those first that cost most calls.
fn column(all: &BTreeMap<String, Calls>) -> String {
    let mut by_calls: Vec<_> = all.iter().collect();
    by_calls.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.total()));
    let (mut column, mut room, mut others) = (Map::new(), COLUMN_UNITS_MAX, Calls::default());
    for (name, calls) in by_calls {
        let (name, json) = (name.chars().take(NAME_CHARS_MAX).collect::<String>(), as_json(calls));
        let units = Json::from(name.as_str()).to_string().encode_utf16().count() + json.to_string().len() + 2;
        if units > room || name == OTHERS || column.contains_key(&name) {
            others = others + *calls;
        } else {
            room -= units;
            column.insert(name, json);
        }
    }
    if others.total() > 0 {
        column.insert(OTHERS.to_owned(), as_json(&others));
    }
    Json::Object(column).to_string()
}

fn from_row(row: &Row) -> WorkerUsage {
    let entity = &row.entity;
    let json = |column: &str| serde_json::from_str::<Json>(entity.text(column).unwrap_or_default()).unwrap_or_default();
    let by_name = |column: &str| match json(column) {
        Json::Object(all) => all.into_iter().map(|(name, calls)| (name, from_json(&calls))).collect(),
        _ => BTreeMap::new(),
    };
    WorkerUsage {
        worker: entity.text("Worker").unwrap_or_default().to_owned(),
        since: entity.time("Since").unwrap_or(row.timestamp),
        until: entity.time("Until").unwrap_or(row.timestamp),
        calls: from_json(&json("Calls")),
        orchestrators: by_name("Orchestrators"),
        activities: by_name("Activities"),
    }
}

fn from_json(json: &Json) -> Calls {
    let mut calls = Calls::default();
    CallKind::ALL.into_iter().for_each(|kind| calls.set(kind, json[kind.name()].as_u64().unwrap_or(0)));
    calls
}
