//! Orchestrators of which no new instance begins: what people have said, in rows that workers read.

use serde::Serialize;
use uuid::Uuid;

use super::table::Table;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::Timestamp;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Filter, Match, Query, Row, TableOp, Value};

/// The partition key of the rows, in the table of what is waited for.
const PARTITION_KEY: &str = "draining";
/// Namespace of row keys; persisted, never change it.
const NAMESPACE: Uuid = Uuid::from_u128(0x7461_736b_6875_6220_6472_6169_6e69_6e67);

/// An orchestrator of which no new instance begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Draining {
    /// Its name. Names are compared without regard to case.
    pub name: String,
    /// The version; empty for instances without one, `None` for all.
    pub version: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Draining {
    /// Whether that is said of an instance of this orchestrator and version.
    #[must_use]
    pub fn is_of(&self, name: &str, version: Option<&str>) -> bool {
        let is_version = self.version.as_deref().is_none_or(|of| of == version.unwrap_or_default());
        is_version && self.name.to_lowercase() == name.to_lowercase()
    }
}

/// The rows about orchestrators that are drained.
#[derive(Clone, Debug)]
pub(crate) struct Drains {
    pub(super) table: Table,
    pub(super) clock: Clock,
}

impl Drains {
    /// All of them, by name.
    pub(crate) async fn all(&self) -> Result<Vec<Draining>> {
        let query = Query { filter: Some(Filter::eq("PartitionKey", PARTITION_KEY)), ..Query::default() };
        let rows = self.table.rows(query).await.or_none()?.unwrap_or_default();
        let mut all: Vec<_> = rows.iter().map(from_row).collect();
        all.sort();
        Ok(all)
    }

    /// Says that no new instance is to begin. What has been said already stays, with its time.
    pub(crate) async fn set(&self, name: &str, version: Option<&str>) -> Result<Draining> {
        let row_key = row_key(name, version);
        if let Some(row) = self.table.get(PARTITION_KEY, &row_key, &[]).await.or_none()? {
            return Ok(from_row(&row));
        }
        let since = self.clock.now();
        let mut entity =
            Entity::new(PARTITION_KEY, row_key).with("Name", Value::string(name)).with("Since", Value::DateTime(since));
        if let Some(version) = version {
            entity.set("Version", Value::string(version));
        }
        self.table.put(entity).await?;
        Ok(Draining { name: name.to_owned(), version: version.map(str::to_owned), since })
    }

    /// Takes it back. `false` if nobody has said it.
    pub(crate) async fn lift(&self, name: &str, version: Option<&str>) -> Result<bool> {
        let row_key = row_key(name, version);
        let op = TableOp::Delete { partition_key: PARTITION_KEY.to_owned(), row_key, condition: Match::Any };
        Ok(self.table.write(&op).await.or_none()?.is_some())
    }
}

fn row_key(name: &str, version: Option<&str>) -> String {
    let name = name.to_lowercase();
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    Uuid::new_v5(&NAMESPACE, format!("{} {name}{version}", name.len()).as_bytes()).simple().to_string()
}

fn from_row(row: &Row) -> Draining {
    let text = |column: &str| row.entity.text(column).map(str::to_owned);
    let since = row.entity.time("Since").unwrap_or(row.timestamp);
    Draining { name: text("Name").unwrap_or_default(), version: text("Version"), since }
}
