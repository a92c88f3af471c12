//! Tables in memory.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Refusal, fair, filter, lock, names, rules};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::table::{Continuation, Entity, Etag, Filter, Match, PAGE_ROWS_MAX, Page, Query, Row, TableOp, TableStore};

const NO_TABLE: Refusal = Refusal(ErrorKind::NotFound, 404, "TableNotFound");
const NO_ROW: Refusal = Refusal(ErrorKind::NotFound, 404, "ResourceNotFound");
const ROW_EXISTS: Refusal = Refusal(ErrorKind::AlreadyExists, 409, "EntityAlreadyExists");
const CHANGED: Refusal = Refusal(ErrorKind::Precondition, 412, "UpdateConditionNotSatisfied");
const INVALID: Refusal = Refusal(ErrorKind::Invalid, 400, "InvalidInput");

/// So many comparisons may a filter make.
const COMPARISONS_MAX: usize = 15;

pub(super) struct MemoryTables {
    clock: Clock,
    state: Mutex<State>,
    /// Most rows that one page looks at; fewer than asked for makes partial and empty pages.
    scan: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// By lower-case name: the service does not tell names apart by case.
    tables: BTreeMap<String, Table>,
    last_write: i64,
}

#[derive(Default)]
struct Table {
    /// As it was created; dumps show it.
    name: String,
    partitions: BTreeMap<Key, Partition>,
}

/// The rows of a partition key.
type Partition = BTreeMap<Key, Row>;

/// A key in the order of the service.
#[derive(Clone, PartialEq, Eq)]
struct Key(String);

impl MemoryTables {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), scan: AtomicUsize::new(usize::MAX) }
    }

    #[cfg(test)]
    pub(super) fn scan_at_most(&self, rows: usize) {
        self.scan.store(rows.max(1), Relaxed);
    }

    #[cfg(test)]
    /// Writes a row whatever was there, creating the table if need be.
    pub(super) fn insert_raw(&self, table: &str, mut entity: Entity) {
        entity.properties.retain(|_, value| *value != crate::storage::table::Value::Null);
        let mut state = lock(&self.state);
        state.tables.entry(table.to_ascii_lowercase()).or_insert_with(|| Table::named(table));
        let (partition_key, row_key) = (entity.partition_key.clone(), entity.row_key.clone());
        state.apply(&self.clock, table, &partition_key, [(&*row_key, Some(entity))]);
    }

    #[cfg(test)]
    pub(super) fn create_raw(&self, table: &str) {
        lock(&self.state).tables.entry(table.to_ascii_lowercase()).or_insert_with(|| Table::named(table));
    }

    #[cfg(test)]
    pub(super) fn of_table(&self, table: &str) -> Vec<Row> {
        lock(&self.state).table(table).map(|table| table.rows().cloned().collect()).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn of_partition(&self, table: &str, partition_key: &str) -> Vec<Row> {
        let state = lock(&self.state);
        let rows = state.table(table).and_then(|table| table.partitions.get(&key(partition_key)));
        rows.map(|rows| rows.values().cloned().collect()).unwrap_or_default()
    }

    #[cfg(test)]
    /// Every row of every table, by the name the table was created with.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<Row>> {
        let state = lock(&self.state);
        state.tables.values().map(|table| (table.name.clone(), table.rows().cloned().collect())).collect()
    }
}

#[async_trait]
impl TableStore for MemoryTables {
    async fn create_table(&self, table: &str) -> Result<()> {
        fair().await;
        names::check_table(table).map_err(|refusal| refusal.of("table.create", table))?;
        let mut state = lock(&self.state);
        if state.tables.contains_key(&table.to_ascii_lowercase()) {
            return Err(Refusal(ErrorKind::AlreadyExists, 409, "TableAlreadyExists").of("table.create", table));
        }
        state.tables.insert(table.to_ascii_lowercase(), Table::named(table));
        Ok(())
    }

    async fn list_tables(&self) -> Result<Vec<String>> {
        fair().await;
        Ok(lock(&self.state).tables.values().map(|table| table.name.clone()).collect())
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        fair().await;
        let removed = lock(&self.state).tables.remove(&table.to_ascii_lowercase());
        removed.map(|_| ()).ok_or_else(|| NO_ROW.of("table.drop", table))
    }

    async fn get(&self, table: &str, partition_key: &str, row_key: &str, select: &[&str]) -> Result<Row> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("table.get", target(table, partition_key, row_key));
        rules::check_keys(partition_key, row_key).map_err(fail)?;
        let state = lock(&self.state);
        let table = state.table(table).ok_or_else(|| fail(NO_TABLE))?;
        let row = table.partitions.get(&key(partition_key)).and_then(|rows| rows.get(&key(row_key)));
        let row = row.ok_or_else(|| fail(NO_ROW))?;
        Ok(selected(row, |name| select.contains(&name), select.is_empty()))
    }

    async fn query(&self, table: &str, query: &Query) -> Result<Page> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("table.query", table);
        let top = query.top.unwrap_or(PAGE_ROWS_MAX);
        let is_too_much = |filter: &Filter| filter::compares_null(filter) || filter::comparisons(filter) > COMPARISONS_MAX;
        if top == 0 || top > PAGE_ROWS_MAX || query.filter.as_ref().is_some_and(is_too_much) {
            return Err(fail(INVALID));
        }
        let begin = query.continuation.as_ref().map(decode).transpose().map_err(fail)?;
        let state = lock(&self.state);
        let table = state.table(table).ok_or_else(|| fail(NO_TABLE))?;
        Ok(page(table, query, begin, top, self.scan.load(Relaxed)))
    }

    async fn write(&self, table: &str, op: &TableOp) -> Result<Option<Etag>> {
        fair().await;
        let (partition_key, row_key) = op.keys();
        let fail = |refusal: Refusal| refusal.of(op.operation(), target(table, partition_key, row_key));
        let mut state = lock(&self.state);
        let found = state.table(table).ok_or_else(|| fail(NO_TABLE))?;
        let after = outcome(op, found.partitions.get(&key(partition_key))).map_err(fail)?;
        Ok(state.apply(&self.clock, table, partition_key, [(row_key, after)]).pop().flatten())
    }

    async fn transact(&self, table: &str, ops: &[TableOp]) -> Result<Vec<Option<Etag>>> {
        fair().await;
        let partition_key = ops.first().map_or("", |op| op.keys().0);
        let fail = |(refusal, index): rules::IndexedRefusal| Error {
            index,
            ..refusal.of("table.transact", format!("{table}/{partition_key}"))
        };
        rules::check_transaction(ops).map_err(fail)?;
        let mut state = lock(&self.state);
        let rows = state.table(table).ok_or_else(|| fail((NO_TABLE, Some(0))))?.partitions.get(&key(partition_key));
        // No row occurs twice, so every outcome follows from what was there before: decide all, then apply all.
        let mut decided = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            decided.push((op.keys().1, outcome(op, rows).map_err(|refusal| fail((refusal, Some(index))))?));
        }
        Ok(state.apply(&self.clock, table, partition_key, decided))
    }
}

/// The row after the write, `None` if it is gone; or why the write is refused.
fn outcome(op: &TableOp, rows: Option<&Partition>) -> std::result::Result<Option<Entity>, Refusal> {
    let (partition_key, row_key) = op.keys();
    rules::check_keys(partition_key, row_key)?;
    let found = rows.and_then(|rows| rows.get(&key(row_key)));
    let (sent, merged) = match op {
        TableOp::Delete { condition, .. } => return expect(found, condition).map(|_| None),
        TableOp::Insert(entity) => (entity, None),
        TableOp::Merge(entity, _) | TableOp::UpsertMerge(entity) => (entity, found),
        TableOp::Replace(entity, _) | TableOp::UpsertReplace(entity) => (entity, None),
    };
    rules::check_sent(&sent.properties)?;
    match op {
        TableOp::Insert(_) if found.is_some() => return Err(ROW_EXISTS),
        TableOp::Merge(_, condition) | TableOp::Replace(_, condition) => {
            expect(found, condition)?;
        }
        TableOp::Insert(_) | TableOp::UpsertMerge(_) | TableOp::UpsertReplace(_) | TableOp::Delete { .. } => {}
    }
    let after = match merged {
        None => Entity { properties: sent.properties.without_nulls(), ..Entity::new(partition_key, row_key) },
        Some(row) => {
            let mut after = row.entity.clone();
            after.properties.merge(&sent.properties);
            after
        }
    };
    rules::check_stored(&after)?;
    Ok(Some(after))
}

fn expect<'a>(found: Option<&'a Row>, condition: &Match) -> std::result::Result<&'a Row, Refusal> {
    let row = found.ok_or(NO_ROW)?;
    match condition {
        Match::Etag(etag) if *etag != row.etag => Err(CHANGED),
        Match::Any | Match::Etag(_) => Ok(row),
    }
}

fn page(table: &Table, query: &Query, begin: Option<(Key, Key)>, top: usize, scan: usize) -> Page {
    let (low, high) = query.filter.as_ref().map_or((None, None), filter::partition_bounds);
    let low = (key(low.unwrap_or_default()), key(""));
    let begin = begin.map_or_else(|| low.clone(), |begin| begin.max(low.clone()));
    let mut page = Page::default();
    for (looked_at, (partition_key, row_key, row)) in table.rows_from(&begin).enumerate() {
        if high.is_some_and(|high| filter::ordinal(&partition_key.0, high).is_gt()) {
            break;
        }
        if page.rows.len() == top || looked_at == scan {
            page.continuation = Some(encode(partition_key, row_key));
            break;
        }
        if query.filter.as_ref().is_none_or(|f| filter::matches(f, row)) {
            page.rows.push(selected(row, |name| query.select.iter().any(|s| s == name), query.select.is_empty()));
        }
    }
    page
}

fn selected(row: &Row, wanted: impl Fn(&str) -> bool, all: bool) -> Row {
    if all {
        return row.clone();
    }
    let Entity { partition_key, row_key, properties } = &row.entity;
    let properties = properties.only(wanted);
    let entity = Entity { partition_key: partition_key.clone(), row_key: row_key.clone(), properties };
    Row { entity, etag: row.etag.clone(), timestamp: row.timestamp }
}

/// The form of the real service, `1!8!YWJj`; the part of an empty row key is missing, as callers must expect.
fn encode(partition_key: &Key, row_key: &Key) -> Continuation {
    let part = |key: &Key| {
        let text = BASE64_STANDARD.encode(&key.0);
        format!("1!{}!{text}", text.len())
    };
    Continuation {
        next_partition_key: Some(part(partition_key)),
        next_row_key: Some(part(row_key)).filter(|_| !row_key.0.is_empty()),
    }
}

fn decode(continuation: &Continuation) -> std::result::Result<(Key, Key), Refusal> {
    let part = |token: &Option<String>| {
        let Some(token) = token.as_deref().filter(|token| !token.is_empty()) else { return Some(String::new()) };
        let text = token.strip_prefix("1!")?.split_once('!')?.1;
        String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()
    };
    match (part(&continuation.next_partition_key), part(&continuation.next_row_key)) {
        (Some(partition_key), Some(row_key)) => Ok((Key(partition_key), Key(row_key))),
        _ => Err(INVALID),
    }
}

fn key(text: &str) -> Key {
    Key(text.to_owned())
}

fn target(table: &str, partition_key: &str, row_key: &str) -> String {
    format!("{table}/{partition_key}/{row_key}")
}

impl State {
    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(&name.to_ascii_lowercase())
    }

    /// Makes these rows of one partition key what they are to be; one that is to be nothing is gone.
    fn apply<'a>(
        &mut self,
        clock: &Clock,
        table: &str,
        partition_key: &str,
        rows: impl IntoIterator<Item = (&'a str, Option<Entity>)>,
    ) -> Vec<Option<Etag>> {
        let Self { tables, last_write } = self;
        let Some(table) = tables.get_mut(&table.to_ascii_lowercase()) else { return Vec::new() };
        let partition_key = key(partition_key);
        let partition = table.partitions.entry(partition_key.clone()).or_default();
        let mut etags = Vec::new();
        for (row_key, after) in rows {
            let version = Version::next(last_write, clock);
            let row = after.map(|entity| version.row(entity));
            etags.push(row.as_ref().map(|row| row.etag.clone()));
            match row {
                Some(row) => drop(partition.insert(key(row_key), row)),
                None => drop(partition.remove(&key(row_key))),
            }
        }
        if partition.is_empty() {
            table.partitions.remove(&partition_key);
        }
        etags
    }
}

struct Version(Timestamp);

impl Version {
    /// The time of a write, moved on where the clock stood still: no two writes share one.
    fn next(last_write: &mut i64, clock: &Clock) -> Self {
        *last_write = clock.now().ticks().max(*last_write + 1);
        Self(Timestamp::from_ticks(*last_write))
    }

    fn row(&self, entity: Entity) -> Row {
        let etag = Etag(["W/\"datetime'", &self.0.to_table_text().replace(':', "%3A"), "'\""].concat());
        Row { entity, etag, timestamp: self.0 }
    }
}

impl Table {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), partitions: BTreeMap::new() }
    }

    #[cfg(test)]
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.partitions.values().flat_map(BTreeMap::values)
    }

    /// The rows from this place on, in the order of the service.
    fn rows_from<'a>(&'a self, (partition_key, row_key): &'a (Key, Key)) -> impl Iterator<Item = (&'a Key, &'a Key, &'a Row)> {
        self.partitions.range(partition_key.clone()..).flat_map(move |(partition, rows)| {
            let from = if partition == partition_key { row_key.clone() } else { key("") };
            rows.range(from..).map(move |(row_key, row)| (partition, row_key, row))
        })
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        filter::ordinal(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
