//! The pages of a query over instance rows, one after the other.

use super::{Instances, StoredRow};
use crate::error::Result;
use crate::storage::table::Query;

/// What is left of a query; `None` behind the last page.
#[derive(Debug)]
pub(crate) struct RowPages(Option<Query>);

impl RowPages {
    /// From the query's continuation on.
    pub(crate) fn of(query: Query) -> Self {
        Self(Some(query))
    }

    /// No page at all.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// The next page, which may be empty and yet have a successor.
    pub(crate) async fn next(&mut self, instances: &Instances) -> Result<Option<Vec<StoredRow>>> {
        let Some(query) = &mut self.0 else { return Ok(None) };
        let (rows, page) = instances.query(query).await?;
        match page.continuation {
            None => self.0 = None,
            continuation => query.continuation = continuation,
        }
        Ok(Some(rows))
    }
}
