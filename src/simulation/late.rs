//! Writes to tables, and messages, that reach the store long after whoever sent them gave up: in front of it stand machines that
//! delay. Who puts a message again has sent it twice, and its twin may come when another generation has begun.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::time::Instant;

use super::checks::Checks;
use super::trace;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::queue::{QueueMessage, QueueStore};
use crate::storage::table::{Etag, Page, Query, Row, TableOp, TableStore};

/// How long anything may be on its way.
const LATE_MAX: Duration = Duration::from_secs(40);

/// What is on its way, whoever sent it. Clones share it.
#[derive(Clone)]
pub(super) struct Late {
    account: Storage,
    checks: Arc<Checks>,
    under_way: Arc<Mutex<Vec<(Instant, Parcel)>>>,
    over: Arc<AtomicBool>,
}

/// One request.
enum Parcel {
    Rows { table: String, ops: Vec<TableOp> },
    Message { queue: String, text: String, delay: Duration },
}

/// The account as one process reaches it.
struct Way {
    late: Late,
    rng: Rng,
    odds: f64,
}

impl Late {
    pub(super) fn new(account: Storage, checks: Arc<Checks>) -> Self {
        Self { account, checks, under_way: Arc::default(), over: Arc::default() }
    }

    /// The account for one process. `odds`: how much of what it sends arrives late.
    pub(super) fn account(&self, rng: Rng, odds: f64) -> Storage {
        let way = Arc::new(Way { late: self.clone(), rng, odds });
        Storage { tables: way.clone(), queues: way, ..self.account.clone() }
    }

    /// All that is under way arrives, and nothing is late any more.
    pub(super) fn end(&self) {
        self.over.store(true, SeqCst);
        self.arrive(true).now_or_never().expect("the store in memory waits for nothing");
    }

    /// Lets arrive what is due, or all of it.
    async fn arrive(&self, all: bool) {
        let arriving: Vec<_> = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let (arriving, others) = under_way.drain(..).partition(|(due, _)| all || *due <= Instant::now());
            *under_way = others;
            arriving
        };
        for (_, parcel) in arriving {
            match parcel {
                Parcel::Rows { table, ops } => self.write(&table, &ops).await,
                Parcel::Message { queue, text, delay } => self.put(&queue, &text, delay).await,
            }
        }
    }

    async fn write(&self, table: &str, ops: &[TableOp]) {
        // As on the service: a request of several writes is a transaction.
        let answer = match ops {
            [op] => self.account.tables.write(table, op).await.map(drop),
            ops => self.account.tables.transact(table, ops).await.map(drop),
        };
        let key = ops[0].keys().0;
        trace::line(&format_args!("late {} {table}/{key} {}", ops[0].operation(), shown(&answer)));
        if answer.is_ok() {
            trace::mark("a late write took effect");
            self.checks.look(table, key);
        }
    }

    async fn put(&self, queue: &str, text: &str, delay: Duration) {
        let answer = self.account.queues.put(queue, text, delay).await.map(drop);
        trace::line(&format_args!("late queue.put {queue} {}", shown(&answer)));
        trace::mark("a late message arrived");
    }
}

fn shown(answer: &Result<()>) -> String {
    answer.as_ref().map_or_else(|e| format!("{:?}", e.kind), |()| "ok".to_owned())
}

impl Way {
    /// Sends this on a long way. `true` if it is so.
    async fn delays(&self, parcel: impl FnOnce() -> Parcel) -> bool {
        self.late.arrive(false).await;
        let is_late = self.rng.chance(self.odds) && !self.late.over.load(SeqCst);
        if is_late {
            trace::mark("fault late");
            let due = Instant::now() + self.rng.between(Duration::ZERO, LATE_MAX);
            self.late.under_way.lock().unwrap_or_else(PoisonError::into_inner).push((due, parcel()));
        }
        is_late
    }
}

fn no_answer(operation: &'static str, target: &str) -> Error {
    Error::new(ErrorKind::Unknown, operation, target).with_message("no answer; it is on its way")
}

#[async_trait]
impl TableStore for Way {
    async fn create_table(&self, table: &str) -> Result<()> {
        self.late.account.tables.create_table(table).await
    }

    async fn list_tables(&self) -> Result<Vec<String>> {
        self.late.account.tables.list_tables().await
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        self.late.account.tables.delete_table(table).await
    }

    async fn get(&self, table: &str, partition_key: &str, row_key: &str, select: &[&str]) -> Result<Row> {
        self.late.account.tables.get(table, partition_key, row_key, select).await
    }

    async fn query(&self, table: &str, query: &Query) -> Result<Page> {
        self.late.account.tables.query(table, query).await
    }

    async fn write(&self, table: &str, op: &TableOp) -> Result<Option<Etag>> {
        if self.delays(|| Parcel::Rows { table: table.to_owned(), ops: vec![op.clone()] }).await {
            return Err(no_answer(op.operation(), table));
        }
        self.late.account.tables.write(table, op).await
    }

    async fn transact(&self, table: &str, ops: &[TableOp]) -> Result<Vec<Option<Etag>>> {
        if self.delays(|| Parcel::Rows { table: table.to_owned(), ops: ops.to_vec() }).await {
            return Err(no_answer("table.transact", table));
        }
        self.late.account.tables.transact(table, ops).await
    }
}

#[async_trait]
impl QueueStore for Way {
    async fn create_queue(&self, queue: &str) -> Result<()> {
        self.late.account.queues.create_queue(queue).await
    }

    async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.late.account.queues.delete_queue(queue).await
    }

    async fn put(&self, queue: &str, text: &str, delay: Duration) -> Result<QueueMessage> {
        if self.delays(|| Parcel::Message { queue: queue.to_owned(), text: text.to_owned(), delay }).await {
            return Err(no_answer("queue.put", queue));
        }
        self.late.account.queues.put(queue, text, delay).await
    }

    async fn receive(&self, queue: &str, max: usize, visibility: Duration) -> Result<Vec<QueueMessage>> {
        self.late.arrive(false).await;
        self.late.account.queues.receive(queue, max, visibility).await
    }

    async fn update(&self, queue: &str, id: &str, receipt: &str, visibility: Duration, text: Option<&str>) -> Result<String> {
        self.late.account.queues.update(queue, id, receipt, visibility, text).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &str) -> Result<()> {
        self.late.account.queues.delete(queue, id, receipt).await
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<QueueMessage>> {
        self.late.account.queues.peek(queue, max).await
    }

    async fn count(&self, queue: &str) -> Result<u64> {
        self.late.account.queues.count(queue).await
    }
}
