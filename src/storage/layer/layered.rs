//! The one decorator: every method of the three ports, run through a layer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Call, Class, Layer, Target};
use crate::storage::Storage;
use crate::storage::blob::{Blob, BlobPage, BlobStore, Lease, PutCondition};
use crate::storage::error::{ErrorKind, Result};
use crate::storage::queue::{QueueMessage, QueueStore};
use crate::storage::table::{Etag, Match, Page, Query, Row, TableOp, TableStore};

pub(super) fn wrap<L: Layer>(storage: Storage, layer: L) -> Storage {
    let layer = Arc::new(layer);
    Storage {
        tables: Arc::new(Layered { layer: layer.clone(), inner: storage.tables }),
        queues: Arc::new(Layered { layer: layer.clone(), inner: storage.queues }),
        blobs: Arc::new(Layered { layer, inner: storage.blobs }),
        in_process: storage.in_process,
    }
}

struct Layered<L, S: ?Sized> {
    layer: Arc<L>,
    inner: Arc<S>,
}

impl<'a> Call<'a> {
    fn new(op: &'static str, class: Class, target: Target<'a>) -> Self {
        Self { op, target, class, settled_by: None, carries: 1 }
    }

    fn read(op: &'static str, target: Target<'a>) -> Self {
        Self::new(op, Class::Read, target)
    }

    fn repeatable(op: &'static str, target: Target<'a>) -> Self {
        Self::new(op, Class::Repeatable, target)
    }

    fn removal(op: &'static str, target: Target<'a>) -> Self {
        Self { settled_by: Some(ErrorKind::NotFound), ..Self::repeatable(op, target) }
    }

    fn of_op(op: &TableOp, table: &'a str, (partition_key, row_key): (&'a str, &'a str)) -> Self {
        let target = Target(table, Some(partition_key), Some(row_key));
        match op {
            TableOp::Delete { condition: Match::Any, .. } => Self::removal(op.operation(), target),
            TableOp::UpsertMerge(_)
            | TableOp::UpsertReplace(_)
            | TableOp::Merge(_, Match::Any)
            | TableOp::Replace(_, Match::Any) => Self::repeatable(op.operation(), target),
            TableOp::Insert(_) | TableOp::Merge(..) | TableOp::Replace(..) | TableOp::Delete { .. } => {
                Self::new(op.operation(), Class::Once, target)
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Layer> TableStore for Layered<L, dyn TableStore> {
    async fn create_table(&self, table: &str) -> Result<()> {
        let call = Call::repeatable("table.create", Target(table, None, None));
        self.layer.run(&call, || self.inner.create_table(table)).await
    }

    async fn list_tables(&self) -> Result<Vec<String>> {
        let call = Call::read("table.list", Target("", None, None));
        self.layer.run(&call, || self.inner.list_tables()).await
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        let call = Call::removal("table.drop", Target(table, None, None));
        self.layer.run(&call, || self.inner.delete_table(table)).await
    }

    async fn get(&self, table: &str, partition_key: &str, row_key: &str, select: &[&str]) -> Result<Row> {
        let call = Call::read("table.get", Target(table, Some(partition_key), Some(row_key)));
        self.layer.run(&call, || self.inner.get(table, partition_key, row_key, select)).await
    }

    async fn query(&self, table: &str, query: &Query) -> Result<Page> {
        let call = Call::read("table.query", Target(table, query.partition(), None));
        self.layer.run(&call, || self.inner.query(table, query)).await
    }

    async fn write(&self, table: &str, op: &TableOp) -> Result<Option<Etag>> {
        let call = Call::of_op(op, table, op.keys());
        self.layer.run(&call, || self.inner.write(table, op)).await
    }

    async fn transact(&self, table: &str, ops: &[TableOp]) -> Result<Vec<Option<Etag>>> {
        let call = Call::new("table.transact", Class::Once, Target(table, ops.first().map(|op| op.keys().0), None));
        let call = Call { carries: ops.len(), ..call };
        self.layer.run(&call, || self.inner.transact(table, ops)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Layer> QueueStore for Layered<L, dyn QueueStore> {
    async fn create_queue(&self, queue: &str) -> Result<()> {
        let call = Call::repeatable("queue.create", Target(queue, None, None));
        self.layer.run(&call, || self.inner.create_queue(queue)).await
    }

    async fn delete_queue(&self, queue: &str) -> Result<()> {
        let call = Call::removal("queue.drop", Target(queue, None, None));
        self.layer.run(&call, || self.inner.delete_queue(queue)).await
    }

    async fn put(&self, queue: &str, text: &str, delay: Duration) -> Result<QueueMessage> {
        let call = Call::repeatable("queue.put", Target(queue, None, None));
        self.layer.run(&call, || self.inner.put(queue, text, delay)).await
    }

    async fn receive(&self, queue: &str, max: usize, visibility: Duration) -> Result<Vec<QueueMessage>> {
        let call = Call::repeatable("queue.receive", Target(queue, None, None));
        self.layer.run(&call, || self.inner.receive(queue, max, visibility)).await
    }

    async fn update(&self, queue: &str, id: &str, receipt: &str, visibility: Duration, text: Option<&str>) -> Result<String> {
        let call = Call::repeatable("queue.update", Target(queue, Some(id), None));
        self.layer.run(&call, || self.inner.update(queue, id, receipt, visibility, text)).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &str) -> Result<()> {
        let call = Call::removal("queue.delete", Target(queue, Some(id), None));
        self.layer.run(&call, || self.inner.delete(queue, id, receipt)).await
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<QueueMessage>> {
        let call = Call::read("queue.peek", Target(queue, None, None));
        self.layer.run(&call, || self.inner.peek(queue, max)).await
    }

    async fn count(&self, queue: &str) -> Result<u64> {
        let call = Call::read("queue.count", Target(queue, None, None));
        self.layer.run(&call, || self.inner.count(queue)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Layer> BlobStore for Layered<L, dyn BlobStore> {
    fn container_url(&self, container: &str) -> String {
        self.inner.container_url(container)
    }

    async fn create_container(&self, container: &str) -> Result<()> {
        let call = Call::repeatable("container.create", Target(container, None, None));
        self.layer.run(&call, || self.inner.create_container(container)).await
    }

    async fn delete_container(&self, container: &str) -> Result<()> {
        let call = Call::removal("container.drop", Target(container, None, None));
        self.layer.run(&call, || self.inner.delete_container(container)).await
    }

    async fn put(&self, container: &str, name: &str, bytes: Bytes, condition: PutCondition) -> Result<Etag> {
        let class = if condition == PutCondition::Always { Class::Repeatable } else { Class::Once };
        let call = Call::new("blob.put", class, Target(container, Some(name), None));
        let call = Call { carries: bytes.len(), ..call };
        self.layer.run(&call, || self.inner.put(container, name, bytes.clone(), condition.clone())).await
    }

    async fn get(&self, container: &str, name: &str, max: usize) -> Result<Blob> {
        let call = Call::read("blob.get", Target(container, Some(name), None));
        self.layer.run(&call, || self.inner.get(container, name, max)).await
    }

    async fn delete(&self, container: &str, name: &str) -> Result<()> {
        let call = Call::removal("blob.delete", Target(container, Some(name), None));
        self.layer.run(&call, || self.inner.delete(container, name)).await
    }

    async fn list(&self, container: &str, prefix: &str, continuation: Option<&str>) -> Result<BlobPage> {
        let call = Call::read("blob.list", Target(container, Some(prefix), None));
        self.layer.run(&call, || self.inner.list(container, prefix, continuation)).await
    }

    async fn lease(&self, container: &str, lease: &Lease) -> Result<()> {
        let call = Call::repeatable("container.lease", Target(container, None, None));
        // A second release finds no lease of ours; the other acts may be done twice with one result.
        let settled_by = matches!(lease, Lease::Release { .. }).then_some(ErrorKind::Lease);
        self.layer.run(&Call { settled_by, ..call }, || self.inner.lease(container, lease)).await
    }
}
