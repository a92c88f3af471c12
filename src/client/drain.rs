//! Draining an orchestrator: no new instance begins, and those that have begun go on to their ends.

use std::time::Duration;

use super::query::filter;
use super::{Client, InstanceQuery};
use crate::bounds;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::instances::{MARKED_AT, RowPages, STATUS_BEHIND};
use crate::hub::{Draining, InstanceRow};
use crate::limits::DRAIN_AFTER;
use crate::model::{RuntimeStatus, Timestamp};
use crate::storage::table::{Cmp, Filter, PAGE_ROWS_MAX, Query, Value};

/// A worker that has decided to begin an instance needs as long as that to show it.
const SHOWN_AFTER: Duration = Duration::from_secs(10);
/// What is read of an instance.
const COLUMNS: [&str; 9] =
    ["PartitionKey", "RowKey", "ExecutionId", "Name", "Version", "RuntimeStatus", "CompletedTime", STATUS_BEHIND, MARKED_AT];

/// An orchestrator, or one version of it, that is to be drained. Made by [`Client::drain`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Drain<'a> {
    client: &'a Client,
    name: String,
    version: Option<String>,
}

/// How far a drain is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainProgress {
    /// Since when no new instance is to begin; `None` if that is not said, or was lifted.
    pub draining: Option<Draining>,
    /// Instances that have begun and have not ended, also those that show as failed because a message of them is parked.
    /// Sub-orchestrations count, whoever started them.
    pub open: u64,
    /// Instances that were started and have not begun. They begin when the drain is lifted.
    pub waiting: u64,
    /// Whether nothing is left to wait for: no instance is open, and every worker knows that none is to begin.
    pub is_done: bool,
}

impl Client {
    /// Drains an orchestrator, so that its code can be replaced when no instance is left that has run it.
    ///
    /// From [`begin`](Drain::begin) on, workers of this crate begin no instance of it that a client starts, in any worker of the hub, within half a minute.
    /// What clients start all the same is accepted, and begins when that is [lifted](Drain::lift); nothing is lost. Instances that
    /// have begun go on, also as new, and so do their sub-orchestrations, drained or not. Workers of .NET know nothing of it.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use taskhub::{Client, Orchestrator};
    /// const FULFIL: Orchestrator<String, u64> = Orchestrator::new("Fulfil");
    /// # async fn f(client: Client) -> Result<(), taskhub::Error> {
    /// let drain = client.drain(FULFIL.name());
    /// drain.begin().await?;
    /// while !drain.progress().await?.is_done {
    ///     tokio::time::sleep(Duration::from_secs(5)).await;
    /// }
    /// // Workers with the new code are started, and then:
    /// drain.lift().await?;
    /// # Ok(()) }
    /// ```
    pub fn drain(&self, orchestrator: impl Into<String>) -> Drain<'_> {
        Drain { client: self, name: orchestrator.into(), version: None }
    }

    /// Every orchestrator of the hub that is drained.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn draining(&self) -> Result<Vec<Draining>> {
        self.hub.drains.all().await
    }
}

impl Drain<'_> {
    /// Only this version; empty for instances without one. Unless set it is about all of them.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Lets no new instance begin. Where that has been said already, nothing changes.
    ///
    /// # Errors
    /// `Invalid` if the name is empty, or name or version have more than 2,048 UTF-16 units; `Storage` if storage fails.
    pub async fn begin(&self) -> Result<Draining> {
        let version = self.version.as_deref();
        let why = bounds::why_no_name("the orchestrator name", &self.name)
            .or_else(|| bounds::why_no_version("the version", version.unwrap_or_default()));
        match why {
            Some(why) => Err(Error::new(ErrorKind::Invalid, why)),
            None => self.client.hub.drains.set(&self.name, version).await,
        }
    }

    /// Lets new instances begin again, those first that have waited: within a minute, or longer where more than 600 wait. `false` if it was not drained.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn lift(&self) -> Result<bool> {
        self.client.hub.drains.lift(&self.name, self.version.as_deref()).await
    }

    /// Looks how far it is. The rows of all instances that have not ended are read, without payloads.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn progress(&self) -> Result<DrainProgress> {
        let asked = self.client.now();
        let draining = self.client.draining().await?.into_iter().find(|draining| self.is(draining));
        let is_known = draining.as_ref().is_some_and(|draining| asked.since(draining.since) >= DRAIN_AFTER + SHOWN_AFTER);
        let (open, waiting) = self.count().await?;
        Ok(DrainProgress { draining, open, waiting, is_done: is_known && open == 0 })
    }

    fn is(&self, draining: &Draining) -> bool {
        draining.version == self.version && draining.name.to_lowercase() == self.name.to_lowercase()
    }

    /// Instances that have begun, and such that have not.
    async fn count(&self) -> Result<(u64, u64)> {
        let instances = &self.client.hub.instances;
        let it = Draining { name: self.name.clone(), version: self.version.clone(), since: self.client.now() };
        let select = COLUMNS.map(str::to_owned).to_vec();
        let query = Query { filter: Some(may_be_open()), select, top: Some(PAGE_ROWS_MAX), continuation: None };
        let (mut pages, mut open, mut waiting) = (RowPages::of(query), 0, 0);
        while let Some(rows) = pages.next(instances).await? {
            for row in rows.iter().map(|stored| &stored.row) {
                if is_open(row) && it.is_of(row.name.as_deref().unwrap_or_default(), row.version.as_deref()) {
                    *if self.has_begun(row).await? { &mut open } else { &mut waiting } += 1;
                }
            }
        }
        Ok((open, waiting))
    }

    async fn has_begun(&self, row: &InstanceRow) -> Result<bool> {
        let execution_id = row.execution_id.as_deref().unwrap_or_default();
        match (row.behind_mark, row.status) {
            // The time at which a rewound one had ended is behind the mark.
            (Some(RuntimeStatus::Pending), _) => self.client.hub.histories.is_of(&row.instance_id, execution_id).await,
            // One that was rewound is pending, and shows when it ended.
            (None, Some(RuntimeStatus::Pending)) => Ok(row.completed.is_some()),
            _ => Ok(true),
        }
    }
}

/// What has not ended, and what a message was parked of, which shows as failed meanwhile. The rows of others that have failed are not read.
pub(super) fn may_be_open() -> Filter {
    let open = RuntimeStatus::ALL.into_iter().filter(|status| !status.is_terminal());
    let open = open.map(|status| Filter::eq("RuntimeStatus", status.name()));
    let marked = Filter::compare(MARKED_AT, Cmp::Ge, Value::time(Timestamp::UNIX_EPOCH));
    let no_entity = filter(&InstanceQuery { exclude_entities: true, ..InstanceQuery::default() });
    Filter::And([Filter::Or(open.chain([marked]).collect())].into_iter().chain(no_entity).collect())
}

/// A worker of .NET leaves the column of a mark when the instance ends.
fn is_open(row: &InstanceRow) -> bool {
    !row.own_status().is_some_and(RuntimeStatus::is_terminal)
}
