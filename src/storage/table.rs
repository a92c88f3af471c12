//! The table port: entities, conditions, transactions and filtered queries of Azure Table storage.

use std::fmt;

use async_trait::async_trait;

use super::columns::{ColumnName, Columns};
use super::error::Result;
use crate::model::Timestamp;

/// Most operations in one transaction.
pub(crate) const TRANSACTION_OPERATIONS_MAX: usize = 100;
/// Most rows in one page of a query.
pub(crate) const PAGE_ROWS_MAX: usize = 1000;

/// An opaque version of an entity or blob, exactly as the service gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Etag(pub(crate) String);

/// A typed property value. `Null` is sent as JSON null: it is not stored by an insert or replace, and a merge leaves the old value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    String(String),
    Bool(bool),
    I32(i32),
    I64(i64),
    F64(f64),
    DateTime(Timestamp),
}

/// Keys and properties of a row, without the properties that the service owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entity {
    pub(crate) partition_key: String,
    pub(crate) row_key: String,
    pub(crate) properties: Columns,
}

/// A stored row: the entity, its version, and when the service last wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) entity: Entity,
    pub(crate) etag: Etag,
    pub(crate) timestamp: Timestamp,
}

/// Which version of a row a write is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// The row must exist, in any version.
    Any,
    /// The row must exist in exactly this version.
    Etag(Etag),
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TableOp {
    /// Fails with `AlreadyExists` if the row is there.
    Insert(Entity),
    /// Sets the given properties of an existing row and keeps the others.
    Merge(Entity, Match),
    /// Replaces an existing row.
    Replace(Entity, Match),
    /// Insert or merge.
    UpsertMerge(Entity),
    /// Insert or replace.
    UpsertReplace(Entity),
    /// Deletes an existing row.
    Delete { partition_key: String, row_key: String, condition: Match },
}

/// A comparison operator of OData.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A query filter; `Display` is its OData text. A row that lacks the property never matches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    Compare(String, Cmp, Value),
    And(Vec<Self>),
    Or(Vec<Self>),
}

/// What to read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Query {
    pub(crate) filter: Option<Filter>,
    /// Columns to return; empty means all.
    pub(crate) select: Vec<String>,
    /// Most rows in the page; `None` means what the service gives (1000).
    pub(crate) top: Option<usize>,
    pub(crate) continuation: Option<Continuation>,
}

/// Where the next page begins. Either part may be empty or missing; both are opaque (docs/storage-layout.md, Queries).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Continuation {
    pub(crate) next_partition_key: Option<String>,
    pub(crate) next_row_key: Option<String>,
}

/// One page of rows, in the order of partition key and row key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) continuation: Option<Continuation>,
}

/// A table service. Implementations do not retry; the retry layer does.
#[async_trait]
pub(crate) trait TableStore: Send + Sync {
    /// Creates a table; `AlreadyExists` if it is there.
    async fn create_table(&self, table: &str) -> Result<()>;
    /// The names of all tables of the account, in any order.
    async fn list_tables(&self) -> Result<Vec<String>>;
    /// Deletes a table with all its rows; `NotFound` if it is not there.
    async fn delete_table(&self, table: &str) -> Result<()>;
    /// A point read; `NotFound` if the row (or table) is not there. `select` empty means all columns.
    async fn get(&self, table: &str, partition_key: &str, row_key: &str, select: &[&str]) -> Result<Row>;
    /// One page. A page may hold fewer rows than asked for, even none, and still have a continuation.
    async fn query(&self, table: &str, query: &Query) -> Result<Page>;
    /// One write. The new version, except for a delete.
    async fn write(&self, table: &str, op: &TableOp) -> Result<Option<Etag>>;
    /// All or nothing, at most [`TRANSACTION_OPERATIONS_MAX`] writes of one partition and 4 MiB.
    /// One version per write, in order, `None` for deletes. A refusal names the index of the write where the service does.
    async fn transact(&self, table: &str, ops: &[TableOp]) -> Result<Vec<Option<Etag>>>;
}

/// How many bytes a text takes in the body of a write, where everything that is not ASCII is escaped.
pub(crate) fn json_bytes(text: &str) -> usize {
    let mut bytes = 0;
    for byte in text.as_bytes() {
        bytes += match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            b' '..=b'~' => 1,
            // The rest of a character, whose first byte has counted.
            0x80..0xc0 => 0,
            // Two halves of a pair, each escaped.
            0xf0.. => 12,
            _ => 6,
        };
    }
    bytes
}

impl Value {
    pub(crate) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// A time that the service can hold.
    pub(crate) fn time(time: Timestamp) -> Self {
        Self::DateTime(time.storable())
    }

    /// A string, or `Null`.
    pub(crate) fn optional(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Null, |t| Self::String(t.into()))
    }
}

impl Entity {
    pub(crate) fn new(partition_key: impl Into<String>, row_key: impl Into<String>) -> Self {
        Self { partition_key: partition_key.into(), row_key: row_key.into(), properties: Columns::default() }
    }

    pub(crate) fn set(&mut self, name: impl Into<ColumnName>, value: Value) -> &mut Self {
        self.properties.insert(name, value);
        self
    }

    pub(crate) fn with(mut self, name: impl Into<ColumnName>, value: Value) -> Self {
        self.set(name, value);
        self
    }

    /// The text of a column, `None` if it is absent or of another type.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.properties.get(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn int(&self, name: &str) -> Option<i32> {
        match self.properties.get(name) {
            Some(Value::I32(number)) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        match self.properties.get(name) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub(crate) fn time(&self, name: &str) -> Option<Timestamp> {
        match self.properties.get(name) {
            Some(Value::DateTime(time)) => Some(*time),
            _ => None,
        }
    }
}

impl TableOp {
    pub(crate) fn keys(&self) -> (&str, &str) {
        match self {
            Self::Insert(e) | Self::Merge(e, _) | Self::Replace(e, _) | Self::UpsertMerge(e) | Self::UpsertReplace(e) => {
                (&e.partition_key, &e.row_key)
            }
            Self::Delete { partition_key, row_key, .. } => (partition_key, row_key),
        }
    }

    /// What it writes; nothing if it deletes.
    pub(crate) fn entity(&self) -> Option<&Entity> {
        match self {
            Self::Insert(e) | Self::Merge(e, _) | Self::Replace(e, _) | Self::UpsertMerge(e) | Self::UpsertReplace(e) => Some(e),
            Self::Delete { .. } => None,
        }
    }

    /// The name of this write in errors, counters and logs.
    pub(crate) fn operation(&self) -> &'static str {
        match self {
            Self::Insert(_) => "table.insert",
            Self::Merge(..) => "table.merge",
            Self::Replace(..) => "table.replace",
            Self::UpsertMerge(_) => "table.upsert_merge",
            Self::UpsertReplace(_) => "table.upsert_replace",
            Self::Delete { .. } => "table.delete",
        }
    }
}

impl Query {
    /// The one partition in which all rows of the answer are, if the filter names it.
    pub(crate) fn partition(&self) -> Option<&str> {
        self.filter.as_ref()?.partition()
    }
}

impl Filter {
    fn partition(&self) -> Option<&str> {
        match self {
            Self::Compare(name, Cmp::Eq, Value::String(key)) if name == "PartitionKey" => Some(key),
            Self::And(filters) => filters.iter().find_map(Self::partition),
            Self::Compare(..) | Self::Or(_) => None,
        }
    }

    pub(crate) fn eq(name: &str, value: impl Into<String>) -> Self {
        Self::Compare(name.to_owned(), Cmp::Eq, Value::String(value.into()))
    }

    pub(crate) fn compare(name: &str, cmp: Cmp, value: Value) -> Self {
        Self::Compare(name.to_owned(), cmp, value)
    }
}

/// The text of `$filter`. An empty `And` holds for every row and an empty `Or` for none, as in logic.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(name, cmp, value) => write!(f, "{name} {cmp} {}", Literal(value)),
            Self::And(filters) => match filters.as_slice() {
                [] => f.write_str("PartitionKey ge ''"),
                [only] => fmt::Display::fmt(only, f),
                several => joined(f, several, " and ", |_| true),
            },
            Self::Or(filters) => match filters.as_slice() {
                [] => f.write_str("PartitionKey lt ''"),
                [only] => fmt::Display::fmt(only, f),
                several => joined(f, several, " or ", |inner| !matches!(inner, Self::Compare(..))),
            },
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, filters: &[Filter], word: &str, grouped: fn(&Filter) -> bool) -> fmt::Result {
    for (i, filter) in filters.iter().enumerate() {
        if i > 0 {
            f.write_str(word)?;
        }
        if grouped(filter) {
            write!(f, "({filter})")?;
        } else {
            write!(f, "{filter}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Cmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
        })
    }
}

/// A value as OData writes it in a filter.
struct Literal<'a>(&'a Value);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Value::Bool(flag) => write!(f, "{flag}"),
            Value::I32(number) => write!(f, "{number}"),
            Value::I64(number) => write!(f, "{number}L"),
            Value::F64(number) => write!(f, "{number:?}"),
            Value::DateTime(time) => write!(f, "datetime'{}'", time.to_table_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_the_text_that_dotnet_sends() {
        let time = Timestamp::parse("2024-03-14T16:00:05.12Z").unwrap();
        let since = Filter::compare("CreatedTime", Cmp::Ge, Value::DateTime(time));
        let status = Filter::Or(vec![Filter::eq("RuntimeStatus", "Running"), Filter::eq("RuntimeStatus", "Pending")]);
        let both = Filter::And(vec![since.clone(), status.clone()]);
        assert_eq!(
            both.to_string(),
            "(CreatedTime ge datetime'2024-03-14T16:00:05.1200000Z') and (RuntimeStatus eq 'Running' or RuntimeStatus eq 'Pending')"
        );
        assert_eq!(Filter::And(vec![status]).to_string(), "RuntimeStatus eq 'Running' or RuntimeStatus eq 'Pending'");
        assert_eq!(Filter::eq("PartitionKey", "it's").to_string(), "PartitionKey eq 'it''s'");
        assert_eq!(Filter::Or(vec![both, Filter::eq("a", "")]).to_string().matches('(').count(), 3);
        assert_eq!(Filter::compare("n", Cmp::Lt, Value::I64(-7)).to_string(), "n lt -7L");
        assert_eq!(Filter::compare("n", Cmp::Ne, Value::F64(2.0)).to_string(), "n ne 2.0");
        assert_eq!(Filter::compare("n", Cmp::Gt, Value::Bool(true)).to_string(), "n gt true");
    }
}
