//! Writes down every effect on an account with all that it carried, for tests that judge how storage is spoken to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::storage::Storage;
use crate::storage::blob::{Blob, BlobPage, BlobStore, Lease, PutCondition};
use crate::storage::error::Result;
use crate::storage::queue::{QueueMessage, QueueStore};
use crate::storage::table::{Etag, Page, Query, Row, TableOp, TableStore};

/// One call that changes something.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Rows { table: String, ops: Vec<TableOp>, is_transaction: bool },
    Put { queue: String, id: String, text: String },
    Received { queue: String, messages: Vec<QueueMessage>, hidden: Duration },
    Hidden { queue: String, id: String, hidden: Duration },
    Deleted { queue: String, id: String },
    Blob { name: String, bytes: Bytes },
    Lease(Lease),
}

/// An effect, when it came about, and whether the account took it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Timestamp,
    pub(crate) effect: Effect,
    pub(crate) done: bool,
}

/// What was seen so far. Clones share it.
#[derive(Clone)]
pub(crate) struct Tap {
    clock: Clock,
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct Tapped<S: ?Sized> {
    tap: Tap,
    inner: Arc<S>,
}

impl Tap {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, seen: Arc::default() }
    }

    /// The account with the tap on it.
    pub(crate) fn on(&self, storage: Storage) -> Storage {
        Storage {
            tables: Arc::new(Tapped { tap: self.clone(), inner: storage.tables }),
            queues: Arc::new(Tapped { tap: self.clone(), inner: storage.queues }),
            blobs: Arc::new(Tapped { tap: self.clone(), inner: storage.blobs }),
            in_process: storage.in_process,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note<T>(&self, result: Result<T>, effect: impl FnOnce(Option<&T>) -> Effect) -> Result<T> {
        let effect = effect(result.as_ref().ok());
        let seen = Seen { at: self.clock.now(), effect, done: result.is_ok() };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        result
    }
}

#[async_trait]
impl TableStore for Tapped<dyn TableStore> {
    async fn create_table(&self, table: &str) -> Result<()> {
        self.inner.create_table(table).await
    }

    async fn list_tables(&self) -> Result<Vec<String>> {
        self.inner.list_tables().await
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        self.inner.delete_table(table).await
    }

    async fn get(&self, table: &str, partition_key: &str, row_key: &str, select: &[&str]) -> Result<Row> {
        self.inner.get(table, partition_key, row_key, select).await
    }

    async fn query(&self, table: &str, query: &Query) -> Result<Page> {
        self.inner.query(table, query).await
    }

    async fn write(&self, table: &str, op: &TableOp) -> Result<Option<Etag>> {
        let effect = |_: Option<&_>| Effect::Rows { table: table.to_owned(), ops: vec![op.clone()], is_transaction: false };
        self.tap.note(self.inner.write(table, op).await, effect)
    }

    async fn transact(&self, table: &str, ops: &[TableOp]) -> Result<Vec<Option<Etag>>> {
        let effect = |_: Option<&_>| Effect::Rows { table: table.to_owned(), ops: ops.to_vec(), is_transaction: true };
        self.tap.note(self.inner.transact(table, ops).await, effect)
    }
}

#[async_trait]
impl QueueStore for Tapped<dyn QueueStore> {
    async fn create_queue(&self, queue: &str) -> Result<()> {
        self.inner.create_queue(queue).await
    }

    async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.inner.delete_queue(queue).await
    }

    async fn put(&self, queue: &str, text: &str, delay: Duration) -> Result<QueueMessage> {
        let effect = |put: Option<&QueueMessage>| {
            let id = put.map(|message| message.id.clone()).unwrap_or_default();
            Effect::Put { queue: queue.to_owned(), id, text: text.to_owned() }
        };
        self.tap.note(self.inner.put(queue, text, delay).await, effect)
    }

    async fn receive(&self, queue: &str, max: usize, visibility: Duration) -> Result<Vec<QueueMessage>> {
        let effect = |messages: Option<&Vec<_>>| {
            let messages = messages.cloned().unwrap_or_default();
            Effect::Received { queue: queue.to_owned(), messages, hidden: visibility }
        };
        self.tap.note(self.inner.receive(queue, max, visibility).await, effect)
    }

    async fn update(&self, queue: &str, id: &str, receipt: &str, visibility: Duration, text: Option<&str>) -> Result<String> {
        let effect = |_: Option<&_>| Effect::Hidden { queue: queue.to_owned(), id: id.to_owned(), hidden: visibility };
        self.tap.note(self.inner.update(queue, id, receipt, visibility, text).await, effect)
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &str) -> Result<()> {
        let effect = |_: Option<&_>| Effect::Deleted { queue: queue.to_owned(), id: id.to_owned() };
        self.tap.note(self.inner.delete(queue, id, receipt).await, effect)
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<QueueMessage>> {
        self.inner.peek(queue, max).await
    }

    async fn count(&self, queue: &str) -> Result<u64> {
        self.inner.count(queue).await
    }
}

#[async_trait]
impl BlobStore for Tapped<dyn BlobStore> {
    fn container_url(&self, container: &str) -> String {
        self.inner.container_url(container)
    }

    async fn create_container(&self, container: &str) -> Result<()> {
        self.inner.create_container(container).await
    }

    async fn delete_container(&self, container: &str) -> Result<()> {
        self.inner.delete_container(container).await
    }

    async fn put(&self, container: &str, name: &str, bytes: Bytes, condition: PutCondition) -> Result<Etag> {
        let effect = |_: Option<&_>| Effect::Blob { name: name.to_owned(), bytes: bytes.clone() };
        self.tap.note(self.inner.put(container, name, bytes.clone(), condition).await, effect)
    }

    async fn get(&self, container: &str, name: &str, max: usize) -> Result<Blob> {
        self.inner.get(container, name, max).await
    }

    async fn delete(&self, container: &str, name: &str) -> Result<()> {
        self.inner.delete(container, name).await
    }

    async fn list(&self, container: &str, prefix: &str, continuation: Option<&str>) -> Result<BlobPage> {
        self.inner.list(container, prefix, continuation).await
    }

    async fn lease(&self, container: &str, lease: &Lease) -> Result<()> {
        self.tap.note(self.inner.lease(container, lease).await, |_| Effect::Lease(lease.clone()))
    }
}
