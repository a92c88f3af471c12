//! Sub-orchestrations, as far as their rows tell who has started them.

use super::row::{PARENT, TAGS_BLOB};
use super::{Instances, MARKED_AT, STATUS_BEHIND};
use crate::error::Result;
use crate::hub::keys;
use crate::model::{FIRE_AND_FORGET, RuntimeStatus};
use crate::storage::error::OrNone;
use crate::storage::table::{Filter, Query, Row};

/// The row of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) instance_id: String,
    /// `None` also if the writer of the row did not record it: .NET workers older than 2.11 do not.
    pub(crate) parent: Option<String>,
    /// Its own, also behind the mark of a parked message. What this version does not know counts as running.
    pub(crate) status: RuntimeStatus,
    /// Whether it was left to itself.
    pub(crate) is_detached: bool,
}

const COLUMNS: [&str; 10] = [
    "PartitionKey",
    "RowKey",
    "RuntimeStatus",
    "CompletedTime",
    "Tags",
    TAGS_BLOB,
    PARENT,
    MARKED_AT,
    STATUS_BEHIND,
    "ExecutionId",
];

impl Instances {
    /// The children of an instance that have not ended, as far as their rows name it; those that were left to themselves on request.
    pub(crate) async fn open_children(&self, parent: &str, with_detached: bool) -> Result<Vec<String>> {
        let query =
            Query { filter: Some(Filter::eq(PARENT, parent)), select: COLUMNS.map(str::to_owned).to_vec(), ..Query::default() };
        let mut open = Vec::new();
        for row in self.table.rows(query).await? {
            match self.child_from(&row).await {
                Ok(child) if child.status.is_terminal() || (child.is_detached && !with_detached) => {}
                Ok(child) => open.push(child.instance_id),
                // One that is damaged keeps no other.
                Err(error) if error.is_lasting() => {
                    tracing::warn!(hub = self.hub, %error, "a sub-orchestration whose row cannot be read is not terminated");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(open)
    }

    /// The row of this instance, `None` if there is none.
    pub(crate) async fn child(&self, instance_id: &str) -> Result<Option<Child>> {
        match self.table.get(&keys::escape(instance_id), "", &COLUMNS).await.or_none_in_it()? {
            Some(row) => self.child_from(&row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn child_from(&self, stored: &Row) -> Result<Child> {
        let row = self.instance_from(stored)?.row;
        let is_detached = self.resolve_tags(&row).await?.contains_key(FIRE_AND_FORGET);
        let status = row.own_status().unwrap_or(RuntimeStatus::Running);
        Ok(Child { instance_id: row.instance_id, parent: row.parent, status, is_detached })
    }
}
