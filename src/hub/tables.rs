//! What several parts of a hub ask of its tables: all rows of a query, and rows in tables that are made when they are needed.

use super::Hub;
use crate::error::Result;
use crate::storage;
use crate::storage::error::ErrorKind;
use crate::storage::table::{Query, Row, TableOp, TableStore};

/// The rows of all pages.
pub(super) async fn query_all(tables: &dyn TableStore, table: &str, mut query: Query) -> storage::error::Result<Vec<Row>> {
    let mut rows = Vec::new();
    loop {
        let page = tables.query(table, &query).await?;
        rows.extend(page.rows);
        if page.continuation.is_none() {
            return Ok(rows);
        }
        query.continuation = page.continuation;
    }
}

impl Hub {
    /// Writes to a table that only taskhub has: it is made when it is needed, so that a hub of .NET has none.
    pub(super) async fn write_own(&self, table: &str, op: &TableOp) -> Result<()> {
        let write = || self.storage.tables.write(table, op);
        match write().await {
            Err(e) if e.kind == ErrorKind::NotFound => {
                if let Err(e) = self.storage.tables.create_table(table).await
                    && e.kind != ErrorKind::AlreadyExists
                {
                    return Err(e.into());
                }
                write().await?
            }
            written => written?,
        };
        Ok(())
    }
}
