//! Purging instances: one or all that match a query, alone or with their sub-orchestrations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::query::{filter, from_token};
use super::{Client, InstanceQuery};
use crate::error::{Error, ErrorKind, Result};
use crate::hub::instances::RowPages;
use crate::hub::{Hub, Purged, Removed};
use crate::ids;
use crate::model::RuntimeStatus;
use crate::storage::table::{PAGE_ROWS_MAX, Query};

/// Instances that are purged at once.
const PARALLEL_MAX: usize = 8;

/// A purge that is being prepared; awaiting it deletes the instances with their histories and payloads, for good.
///
/// Made by [`Client::purge`] for all that match a query, and by [`Instance::purge`](super::Instance::purge) for one. Only what has ended is deleted; an instance
/// that is shown as failed because a message of it is parked has not. Whoever stops it, or is killed, in the midst can call it again, which goes on.
/// An id may be started again while it is being purged: the new instance loses nothing.
///
/// ```no_run
/// # use taskhub::{Client, InstanceQuery, RuntimeStatus, Timestamp};
/// # async fn f(client: Client) -> Result<(), taskhub::Error> {
/// client.instance("order-7").purge().recursive(true).await?;
///
/// let old = InstanceQuery {
///     statuses: vec![RuntimeStatus::Completed],
///     created_to: Timestamp::parse("2026-01-01T00:00:00Z"),
///     ..InstanceQuery::default()
/// };
/// let report = client.purge(old).progress(|so_far| println!("{} instances", so_far.instances)).await?;
/// assert!(report.is_complete);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Of one instance: `NotFound` if there is none, `Open` if it has not ended, `Corrupt` if its row or the sentinel of its history cannot be
/// read. Of a query: `Invalid` if it names a status that is not final. Of both: `Invalid` if no orchestration can have this id, or an id
/// begin so; `Storage` if storage fails. What is gone by then is gone, and the same call goes on.
#[must_use = "nothing is purged until it is awaited"]
pub struct Purge<'a> {
    client: &'a Client,
    target: Target,
    recursive: bool,
    limit: Duration,
    progress: Option<Box<Progress>>,
}

type Progress = dyn Fn(&PurgeReport) + Send + Sync;

enum Target {
    One(String),
    Many(Box<InstanceQuery>),
}

/// What a purge has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// How many instances are gone, sub-orchestrations among them.
    pub instances: u64,
    /// How many rows went with them, from both tables.
    pub rows: u64,
    /// How many blobs of large payloads.
    pub blobs: u64,
    /// How many were left because they have not ended: sub-orchestrations, and what was started again meanwhile or has a parked message.
    pub open: u64,
    /// How many were left because their rows cannot be read; a warning names each.
    pub damaged: u64,
    /// Whether every instance that was meant is gone, or was left because it has not ended; `false` if the [time](Purge::within) was up, or
    /// something was damaged.
    pub is_complete: bool,
}

impl Client {
    /// Purges all instances that match the query, as far as they have ended: those of every final status, if it names none. Entities are
    /// left alone. The query's `page_size` and `with_payloads` do not matter.
    pub fn purge(&self, query: InstanceQuery) -> Purge<'_> {
        Purge::new(self, Target::Many(Box::new(query)))
    }
}

impl<'a> Purge<'a> {
    pub(super) fn of_one(client: &'a Client, id: &str) -> Self {
        Self::new(client, Target::One(id.to_owned()))
    }

    fn new(client: &'a Client, target: Target) -> Self {
        Self { client, target, recursive: false, limit: Duration::MAX, progress: None }
    }

    /// Whether sub-orchestrations go too, and theirs, whatever their names and times: those that have ended, before the instance that
    /// started them. They are found by its history and by the parent that their rows name, for which one pass reads the rows of all
    /// sub-orchestrations of the hub.
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    /// Begins no other instance after this time; the report says that it is not complete, and another call goes on.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Is told after each instance how far the purge has come.
    pub fn progress(mut self, told: impl Fn(&PurgeReport) + Send + Sync + 'static) -> Self {
        self.progress = Some(Box::new(told));
        self
    }

    /// How many instances match now, without their sub-orchestrations. Nothing is deleted.
    ///
    /// # Errors
    /// As the purge itself, but that one instance which is not there, or has not ended, counts as none.
    pub async fn count(&self) -> Result<u64> {
        match &self.target {
            Target::One(id) => {
                ids::check_orchestration(id)?;
                let status = self.client.hub.instances.own_status(id).await?;
                Ok(u64::from(status.is_some_and(RuntimeStatus::is_terminal)))
            }
            Target::Many(query) => {
                let (mut pages, mut count) = (Pages::new(query)?, 0);
                while let Some(ids) = pages.next(&self.client.hub).await? {
                    count += ids.len() as u64;
                }
                Ok(count)
            }
        }
    }

    async fn run(self) -> Result<PurgeReport> {
        let hub = &*self.client.hub;
        let mut pages = match &self.target {
            Target::One(id) => {
                ids::check_orchestration(id)?;
                None
            }
            Target::Many(query) => Some(Pages::new(query)?),
        };
        let mut family = BTreeMap::<String, Vec<String>>::new();
        if self.recursive {
            for (parent, child) in hub.parents_and_children().await? {
                family.entry(parent).or_default().push(child);
            }
        }
        let report = PurgeReport { is_complete: true, ..PurgeReport::default() };
        let run = Run { hub, purge: &self, family, begun: Instant::now(), state: Mutex::new((report, BTreeSet::new())) };
        match (&self.target, &mut pages) {
            (Target::Many(_), Some(pages)) => {
                while !run.is_over()
                    && let Some(ids) = pages.next(hub).await?
                {
                    let purges: Vec<_> = ids.into_iter().map(|id| run.tree_of_many(id).boxed()).collect();
                    stream::iter(purges).buffer_unordered(PARALLEL_MAX).try_collect::<()>().await?;
                }
            }
            (Target::One(id), _) => run.only(id).await?,
            (Target::Many(_), None) => {}
        }
        Ok(run.report())
    }
}

/// A purge under way.
struct Run<'a> {
    hub: &'a Hub,
    purge: &'a Purge<'a>,
    /// The children that the rows name, by their parents.
    family: BTreeMap<String, Vec<String>>,
    begun: Instant,
    /// What was done, and which instances were looked at.
    state: Mutex<(PurgeReport, BTreeSet<String>)>,
}

/// A step of a purge that goes through a tree.
enum Visit {
    /// Its children are found first.
    Enter { id: String, parent: Option<String> },
    /// They are gone.
    Leave(String),
}

impl Run<'_> {
    /// Whether the time is up.
    fn is_over(&self) -> bool {
        let is_over = self.begun.elapsed() >= self.purge.limit;
        if is_over {
            self.note(|report| report.is_complete = false);
        }
        is_over
    }

    fn note(&self, change: impl FnOnce(&mut PurgeReport)) -> PurgeReport {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.0);
        state.0
    }

    fn report(&self) -> PurgeReport {
        self.note(|_| {})
    }

    /// The instance that was named, whose state is told.
    async fn only(&self, id: &str) -> Result<()> {
        match self.hub.children_of_ended(id).await? {
            Ok(_) => self.tree(id.to_owned()).await,
            Err(Purged::Open(status)) => {
                let message = format!(
                    "instance \"{id}\" is {status}; only an instance that has ended can be purged: wait for it, or terminate it first"
                );
                Err(Error::new(ErrorKind::Open, message))
            }
            Err(_) => Err(self.purge.client.no_instance(id)),
        }
    }

    /// One of many: damage of one keeps no other.
    async fn tree_of_many(&self, id: String) -> Result<()> {
        match self.tree(id.clone()).await {
            Err(error) if error.is_lasting() => {
                tracing::warn!(hub = self.hub.name(), instance = id, %error, "an instance cannot be purged");
                self.note(|report| (report.damaged, report.is_complete) = (report.damaged + 1, false));
                Ok(())
            }
            done => done,
        }
    }

    /// An instance, and before it its children: as long as one of them is left, the parent tells where to go on.
    async fn tree(&self, id: String) -> Result<()> {
        let mut open = vec![Visit::Enter { id, parent: None }];
        while let Some(visit) = open.pop() {
            if self.is_over() {
                return Ok(());
            }
            match visit {
                Visit::Enter { id, .. } if !self.purge.recursive => self.one(&id).await?,
                Visit::Enter { id, parent } => open.extend(self.enter(id, parent.as_deref()).await?),
                Visit::Leave(id) => self.one(&id).await?,
            }
        }
        Ok(())
    }

    /// What to visit for an instance and its children, the last one first.
    async fn enter(&self, id: String, parent: Option<&str>) -> Result<Vec<Visit>> {
        let is_new = self.state.lock().unwrap_or_else(PoisonError::into_inner).1.insert(id.clone());
        if !is_new || id.starts_with('@') {
            return Ok(Vec::new());
        }
        // The call of an id that was in use has left it in the history, but not started it.
        if let Some(parent) = parent
            && self.hub.is_child_of_other(&id, parent).await?
        {
            return Ok(Vec::new());
        }
        let named = match self.hub.children_of_ended(&id).await? {
            Ok(named) => named,
            Err(Purged::Open(_)) => {
                self.tell(|report| report.open += 1);
                return Ok(Vec::new());
            }
            Err(_) => return Ok(Vec::new()),
        };
        let children: BTreeSet<String> = named.into_iter().chain(self.family.get(&id).into_iter().flatten().cloned()).collect();
        let enter = |child| Visit::Enter { id: child, parent: Some(id.clone()) };
        let children: Vec<_> = children.into_iter().map(enter).collect();
        Ok([Visit::Leave(id)].into_iter().chain(children).collect())
    }

    async fn one(&self, id: &str) -> Result<()> {
        match self.hub.purge(id).await? {
            Purged::Gone(Removed { rows, blobs }) => self.tell(|report| {
                report.instances += 1;
                report.rows += rows;
                report.blobs += blobs;
            }),
            Purged::Open(_) => self.tell(|report| report.open += 1),
            Purged::Absent => {}
        }
        Ok(())
    }

    fn tell(&self, change: impl FnOnce(&mut PurgeReport)) {
        let report = self.note(change);
        if let Some(progress) = &self.purge.progress {
            progress(&report);
        }
    }
}

/// The ids that match a query, page by page.
struct Pages {
    rows: RowPages,
    /// Only rows without a version, for which there is no filter.
    without_version: bool,
}

impl Pages {
    fn new(wanted: &InstanceQuery) -> Result<Self> {
        let prefix = wanted.id_prefix.as_deref().unwrap_or_default();
        ids::check_prefix(prefix)?;
        if let Some(status) = wanted.statuses.iter().find(|status| !status.is_terminal()) {
            let message = format!("an instance that is {status} has not ended and cannot be purged; leave out that status");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let mut wanted = InstanceQuery { exclude_entities: true, ..wanted.clone() };
        if wanted.statuses.is_empty() {
            wanted.statuses = RuntimeStatus::ALL.into_iter().filter(|status| status.is_terminal()).collect();
        }
        let query = Query {
            filter: filter(&wanted),
            select: ["PartitionKey", "RowKey", "Version"].map(str::to_owned).to_vec(),
            top: Some(PAGE_ROWS_MAX),
            continuation: wanted.continuation.as_deref().map(from_token),
        };
        let without_version = wanted.version.as_deref() == Some("");
        let rows = if prefix.starts_with('@') { RowPages::none() } else { RowPages::of(query) };
        Ok(Self { rows, without_version })
    }

    async fn next(&mut self, hub: &Hub) -> Result<Option<Vec<String>>> {
        let Some(rows) = self.rows.next(&hub.instances).await? else { return Ok(None) };
        let fits = |version: Option<&str>| !self.without_version || version.unwrap_or_default().is_empty();
        Ok(Some(
            rows.into_iter()
                .map(|stored| stored.row)
                .filter(|row| fits(row.version.as_deref()))
                .map(|row| row.instance_id)
                .collect(),
        ))
    }
}

impl<'a> IntoFuture for Purge<'a> {
    type Output = Result<PurgeReport>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<PurgeReport>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Purge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target: &dyn fmt::Debug = match &self.target {
            Target::One(id) => id,
            Target::Many(query) => query,
        };
        f.debug_struct("Purge").field("target", target).field("recursive", &self.recursive).finish_non_exhaustive()
    }
}
