//! Writes to tables that reach the store long after whoever sent them gave up: in front of it stand machines that delay.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::time::Instant;

use super::checks::Checks;
use super::trace;
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::table::{Etag, Page, Query, Row, TableOp, TableStore};

/// How long a write may be on its way.
const LATE_MAX: Duration = Duration::from_secs(40);

/// The writes that are on their way, whoever sent them. Clones share them.
#[derive(Clone)]
pub(super) struct Late {
    tables: Arc<dyn TableStore>,
    checks: Arc<Checks>,
    under_way: Arc<Mutex<Vec<Write>>>,
    over: Arc<AtomicBool>,
}

struct Write {
    due: Instant,
    table: String,
    ops: Vec<TableOp>,
}

/// The tables as one process reaches them.
struct Tables {
    late: Late,
    rng: Rng,
    odds: f64,
}

impl Late {
    pub(super) fn new(tables: Arc<dyn TableStore>, checks: Arc<Checks>) -> Self {
        Self { tables, checks, under_way: Arc::default(), over: Arc::default() }
    }

    /// `odds`: how many of the writes of a process arrive late.
    pub(super) fn tables(&self, rng: Rng, odds: f64) -> Arc<dyn TableStore> {
        Arc::new(Tables { late: self.clone(), rng, odds })
    }

    /// All that is under way arrives, and nothing is late any more.
    pub(super) fn end(&self) {
        self.over.store(true, SeqCst);
        self.arrive(true).now_or_never().expect("the store in memory waits for nothing");
    }

    /// Lets the writes arrive whose time has come, or all of them.
    async fn arrive(&self, all: bool) {
        let arriving: Vec<_> = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let (arriving, others) = under_way.drain(..).partition(|write| all || write.due <= Instant::now());
            *under_way = others;
            arriving
        };
        for Write { table, ops, .. } in arriving {
            // As on the service: a request of several writes is a transaction.
            let answer = match &ops[..] {
                [op] => self.tables.write(&table, op).await.map(drop),
                ops => self.tables.transact(&table, ops).await.map(drop),
            };
            let key = ops[0].keys().0;
            let result = answer.as_ref().map_or_else(|e| format!("{:?}", e.kind), |()| "ok".to_owned());
            trace::line(&format_args!("late {} {table}/{key} {result}", ops[0].operation()));
            if answer.is_ok() {
                trace::mark("a late write took effect");
                self.checks.look(&table, key);
            }
        }
    }
}

impl Tables {
    /// Sends the writes on a long way. `true` if it is so.
    async fn delays(&self, table: &str, ops: &[TableOp]) -> bool {
        self.late.arrive(false).await;
        let is_late = self.rng.chance(self.odds) && !self.late.over.load(SeqCst);
        if is_late {
            trace::mark("fault late");
            let due = Instant::now() + self.rng.between(Duration::ZERO, LATE_MAX);
            let write = Write { due, table: table.to_owned(), ops: ops.to_vec() };
            self.late.under_way.lock().unwrap_or_else(PoisonError::into_inner).push(write);
        }
        is_late
    }
}

fn no_answer(operation: &'static str, table: &str) -> Error {
    Error::new(ErrorKind::Unknown, operation, table).with_message("no answer; it is on its way")
}

#[async_trait]
impl TableStore for Tables {
    async fn create_table(&self, table: &str) -> Result<()> {
        self.late.tables.create_table(table).await
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        self.late.tables.delete_table(table).await
    }

    async fn get(&self, table: &str, partition_key: &str, row_key: &str, select: &[&str]) -> Result<Row> {
        self.late.tables.get(table, partition_key, row_key, select).await
    }

    async fn query(&self, table: &str, query: &Query) -> Result<Page> {
        self.late.tables.query(table, query).await
    }

    async fn write(&self, table: &str, op: &TableOp) -> Result<Option<Etag>> {
        if self.delays(table, std::slice::from_ref(op)).await {
            return Err(no_answer(op.operation(), table));
        }
        self.late.tables.write(table, op).await
    }

    async fn transact(&self, table: &str, ops: &[TableOp]) -> Result<Vec<Option<Etag>>> {
        if self.delays(table, ops).await {
            return Err(no_answer("table.transact", table));
        }
        self.late.tables.transact(table, ops).await
    }
}
