//! One table of a hub.

use std::sync::Arc;

use crate::error::Result;
use crate::storage;
use crate::storage::error::ErrorKind;
use crate::storage::table::{Entity, Etag, Page, Query, Row, TableOp, TableStore};

/// A table. Errors are those of storage, so that callers can tell a conflict from a failure.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) store: Arc<dyn TableStore>,
    pub(super) name: String,
}

impl Table {
    pub(super) async fn get(&self, partition_key: &str, row_key: &str, columns: &[&str]) -> storage::error::Result<Row> {
        self.store.get(&self.name, partition_key, row_key, columns).await
    }

    pub(super) async fn write(&self, op: &TableOp) -> storage::error::Result<Option<Etag>> {
        self.store.write(&self.name, op).await
    }

    pub(super) async fn transact(&self, ops: &[TableOp]) -> storage::error::Result<Vec<Option<Etag>>> {
        self.store.transact(&self.name, ops).await
    }

    /// One page of a query.
    pub(super) async fn page(&self, query: &Query) -> storage::error::Result<Page> {
        self.store.query(&self.name, query).await
    }

    /// The rows of all pages of a query.
    pub(super) async fn rows(&self, mut query: Query) -> storage::error::Result<Vec<Row>> {
        let mut rows = Vec::new();
        loop {
            let page = self.page(&query).await?;
            rows.extend(page.rows);
            if page.continuation.is_none() {
                return Ok(rows);
            }
            query.continuation = page.continuation;
        }
    }

    /// Puts a row into a table that only taskhub has. The table is created with its first row, so that a hub of .NET has none.
    pub(super) async fn put(&self, entity: Entity) -> Result<()> {
        let op = TableOp::UpsertReplace(entity);
        match self.write(&op).await {
            Err(e) if e.kind == ErrorKind::NotFound => {
                if let Err(e) = self.store.create_table(&self.name).await
                    && e.kind != ErrorKind::AlreadyExists
                {
                    return Err(e.into());
                }
                self.write(&op).await?
            }
            written => written?,
        };
        Ok(())
    }
}
