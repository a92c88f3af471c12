//! Removing all that storage has of an instance that has ended: history, payloads, row; resumable, and fenced against whoever starts the
//! id again.

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::histories::rows::{self, Sentinel};
use super::{Hub, blob_names, instances, keys};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EventKind, Message, RuntimeStatus};
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::table::{Cmp, Entity, Etag, Filter, Match, Query, Row, TRANSACTION_OPERATIONS_MAX, TableOp, Value};

/// How often a purge begins again because somebody else writes, or the reply to a write was lost.
const TRIES_MAX: usize = 50;
/// Blobs that are deleted at once.
const PARALLEL_MAX: usize = 8;
/// What a purge reads of history rows.
const COLUMNS: [&str; 6] = ["PartitionKey", "RowKey", "ExecutionId", "EventType", "InstanceId", "Taskhub"];

/// What became of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purged {
    /// Nothing is left.
    Gone(Removed),
    /// It has not ended, or was started again meanwhile: what there is stays.
    Open(RuntimeStatus),
    /// There is no such instance.
    Absent,
}

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Of both tables.
    pub(crate) rows: u64,
    pub(crate) blobs: u64,
}

/// An instance that has ended, as a purge found it.
struct Ended {
    key: String,
    execution_id: Option<String>,
    etag: Etag,
    sentinel: Option<(Sentinel, Etag)>,
    /// Without the sentinel.
    rows: Vec<Row>,
}

/// What a look at an instance finds.
enum Found {
    Ended(Box<Ended>),
    Open(RuntimeStatus),
    Absent,
}

impl Hub {
    /// Removes an instance that has ended.
    ///
    /// | step | if it is cut off behind it | who comes between |
    /// | --- | --- | --- |
    /// | 1. read the row, then the rows of the history; list the blobs | nothing has happened | a start that has put its message blob before the list, and its row before step 4, changes the row: step 4 fails, and the look that follows finds it open |
    /// | 2. one transaction: the first rows go, and a fence takes the place of the sentinel, or the sentinel goes with them if that is all there is | the row shows the end, the history is empty: late messages are dropped, a new start begins, the next purge goes on | a worker that has loaded the old history cannot commit; one that has committed a new execution has changed the sentinel, and the transaction fails |
    /// | 3. the other rows go, each under the version that was read | the same: rows of an execution that the sentinel does not name are never read | a new execution writes over rows: they have other versions, and the transaction fails |
    /// | 4. the row gets a new version, if there are blobs | the same | a client that has read the old version cannot write its row, and takes its message back: no blob that was listed is that of a start to come |
    /// | 5. the blobs go that were listed | the same, and the next purge lists those that are left | blobs that were put since have names of their own |
    /// | 6. the fence goes | the row is all there is | a worker that has begun a new execution upon the fence has changed it |
    /// | 7. the row goes | nothing is left | a start that was written since has changed it; a worker that has yet to write its first row inserts it |
    ///
    /// Whatever fails because somebody else has written begins again from the first step. Message blobs of a child's start stay if they
    /// are of an execution that has not begun: no version of the row stands for it. Two things that are not told apart from what has ended:
    /// a large event that is sent to an execution before it has begun, and tags of more than a column, whose blob is the same for every
    /// start with these tags (the instance keeps its tags, its row may lose them until its next turn).
    ///
    /// # Errors
    /// `Corrupt` if its row or sentinel cannot be read; `Storage` if storage fails, or others write all the time. What is gone is gone, and
    /// another call goes on.
    pub(crate) async fn purge(&self, instance_id: &str) -> Result<Purged> {
        let (mut removed, mut has_begun) = (Removed::default(), false);
        for _ in 0..TRIES_MAX {
            let ended = match self.find_ended(instance_id).await? {
                Found::Ended(ended) => *ended,
                Found::Open(status) => return Ok(Purged::Open(status)),
                // The reply to the last step was lost.
                Found::Absent if has_begun => return Ok(Purged::Gone(removed)),
                Found::Absent => return Ok(Purged::Absent),
            };
            has_begun = true;
            let has_run = !ended.rows.is_empty();
            if self.remove(instance_id, &ended, &mut removed).await?.is_some() {
                if !has_run {
                    self.awaited.forget(instance_id).await?;
                }
                return Ok(Purged::Gone(removed));
            }
            tracing::debug!(hub = self.name(), instance = instance_id, "the instance has changed, and is looked at again");
        }
        let message = format!("instance \"{instance_id}\" changed during each of {TRIES_MAX} tries to purge it; try again later");
        Err(Error::new(ErrorKind::Storage, message))
    }

    /// The sub-orchestrations that the history of an instance names, `None` if it has not ended.
    pub(crate) async fn children_of_ended(&self, instance_id: &str) -> Result<std::result::Result<Vec<String>, Purged>> {
        Ok(match self.find_ended(instance_id).await? {
            Found::Absent => Err(Purged::Absent),
            Found::Open(status) => Err(Purged::Open(status)),
            Found::Ended(ended) => {
                let created = ended.rows.iter().map(|row| &row.entity);
                let created = created.filter(|row| row.text("EventType") == Some("SubOrchestrationInstanceCreated"));
                Ok(created.filter_map(|row| row.text("InstanceId").map(str::to_owned)).collect())
            }
        })
    }

    /// Whether the row says that another instance, or a client, has started the instance. Rows of .NET workers older than 2.11 do not say.
    pub(crate) async fn is_child_of_other(&self, instance_id: &str, parent: &str) -> Result<bool> {
        let row = self.instances.table.get(&keys::escape(instance_id), "", &[instances::PARENT]).await.or_none_in_it()?;
        Ok(row.is_some_and(|row| row.entity.text(instances::PARENT).is_some_and(|id| id != parent)))
    }

    /// Every instance whose row names its parent, with the parent first.
    pub(crate) async fn parents_and_children(&self) -> Result<Vec<(String, String)>> {
        let columns = ["PartitionKey", "RowKey", instances::PARENT].map(str::to_owned).to_vec();
        let has_parent = Filter::compare(instances::PARENT, Cmp::Gt, Value::string(""));
        let rows = self.instances.table.rows(Query { filter: Some(has_parent), select: columns, ..Query::default() }).await?;
        let pair = |row: &Row| Some((row.entity.text(instances::PARENT)?.to_owned(), keys::unescape(&row.entity.partition_key)));
        Ok(rows.iter().filter_map(pair).collect())
    }

    async fn find_ended(&self, instance_id: &str) -> Result<Found> {
        let Some(stored) = self.instances.read(instance_id, false).await? else { return Ok(Found::Absent) };
        // One that is shown as failed because a message of it is parked has not ended.
        let status = stored.row.own_status().unwrap_or(RuntimeStatus::Running);
        if !status.is_terminal() {
            return Ok(Found::Open(status));
        }
        let key = keys::escape(instance_id);
        let filter = Some(Filter::eq("PartitionKey", key.clone()));
        let query = Query { filter, select: COLUMNS.map(str::to_owned).to_vec(), ..Query::default() };
        let mut rows = self.histories.table.rows(query).await?;
        let at = rows.iter().position(|row| row.entity.row_key == rows::SENTINEL);
        let sentinel = at.map(|at| rows.swap_remove(at)).map(|row| match rows::sentinel_from_entity(&row.entity) {
            Ok(sentinel) => Ok((sentinel, row.etag)),
            Err(error) => Err(Error::corrupt(format!("history of instance \"{instance_id}\": {error}"), &error)),
        });
        let (sentinel, execution_id) = (sentinel.transpose()?, stored.row.execution_id);
        let ended = Ended { key, execution_id, etag: stored.etag, sentinel, rows };
        Ok(if ended.is_begun_again() { Found::Open(RuntimeStatus::Running) } else { Found::Ended(Box::new(ended)) })
    }

    /// Steps 2 to 7. `None` if somebody else has written.
    async fn remove(&self, instance_id: &str, ended: &Ended, removed: &mut Removed) -> Result<Option<()>> {
        let blobs = self.blobs_of_ended(instance_id, ended).await?;
        let Some(fence) = self.remove_history(ended, !blobs.is_empty(), removed).await? else { return Ok(None) };
        let mut etag = ended.etag.clone();
        if !blobs.is_empty() {
            let touch = TableOp::Merge(Entity::new(ended.key.as_str(), ""), Match::Etag(etag));
            let Some(Some(new)) = unless_changed(self.instances.put(&touch).await)? else { return Ok(None) };
            etag = new;
            let deletes: Vec<_> = blobs.iter().map(|blob| self.payloads.delete(blob).boxed()).collect();
            stream::iter(deletes).buffer_unordered(PARALLEL_MAX).try_collect::<()>().await?;
            removed.blobs += blobs.len() as u64;
        }
        if let Some(fence) = fence {
            let op = delete(&ended.key, rows::SENTINEL, &fence);
            if unless_changed(self.histories.table.write(&op).await)?.is_none() {
                return Ok(None);
            }
            removed.rows += 1;
        }
        let gone = unless_changed(self.instances.put(&delete(&ended.key, "", &etag)).await)?;
        removed.rows += u64::from(gone.is_some());
        Ok(gone.map(drop))
    }

    /// Removes the rows of the history, the sentinel too unless more has to go than one transaction takes: a fence stands in its place then,
    /// and is given. `None` if somebody else has written.
    async fn remove_history(&self, ended: &Ended, has_blobs: bool, removed: &mut Removed) -> Result<Option<Option<Etag>>> {
        let (first, rest) = ended.rows.split_at(ended.rows.len().min(TRANSACTION_OPERATIONS_MAX - 1));
        let deletes =
            |rows: &[Row]| rows.iter().map(|row| delete(&ended.key, &row.entity.row_key, &row.etag)).collect::<Vec<_>>();
        let (mut ops, needs_fence) = (deletes(first), has_blobs || !rest.is_empty());
        if let Some((_, etag)) = &ended.sentinel {
            ops.push(if needs_fence {
                TableOp::Replace(
                    self.histories.fence(&ended.key, &self.rng.uuid().simple().to_string()),
                    Match::Etag(etag.clone()),
                )
            } else {
                delete(&ended.key, rows::SENTINEL, etag)
            });
        }
        let mut fence = None;
        if !ops.is_empty() {
            let Some(mut etags) = unless_changed(self.histories.table.transact(&ops).await)? else { return Ok(None) };
            fence = etags.pop().flatten();
            if fence.is_none() && needs_fence && ended.sentinel.is_some() {
                return Ok(None);
            }
            removed.rows += ops.len() as u64 - u64::from(fence.is_some());
        }
        for chunk in rest.chunks(TRANSACTION_OPERATIONS_MAX) {
            if unless_changed(self.histories.table.transact(&deletes(chunk)).await)?.is_none() {
                return Ok(None);
            }
            removed.rows += chunk.len() as u64;
        }
        Ok(Some(fence))
    }

    /// The blobs of the instance, and of no other, that no execution to come needs.
    async fn blobs_of_ended(&self, instance_id: &str, ended: &Ended) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let columns = blob_names::column_blobs(&ended.key);
        for name in self.payloads.list(&columns).await? {
            let rest = &name[columns.len()..];
            // Without a sentinel nothing holds off a worker that has put blobs for its first commit; those of the row begin with a hyphen.
            let is_settled = ended.sentinel.is_some() || rest.starts_with('-');
            if !rest.contains('/') && is_settled {
                found.push(name);
            }
        }
        for prefix in blob_names::message_blobs(instance_id) {
            for name in self.payloads.list(&prefix).await? {
                let is_direct = !name[prefix.len()..].contains('/');
                let is_own = || blob_names::parse_message_blob(&name).is_some_and(|(id, _)| id == instance_id);
                if is_direct && is_own() && self.is_spent(&name, ended).await? {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    /// Whether nobody will receive the message that lies in this blob. A start of a client needs the row, which step 4 guards.
    async fn is_spent(&self, blob: &str, ended: &Ended) -> Result<bool> {
        if !blob_names::is_start_message(blob) {
            return Ok(true);
        }
        let body = match self.payloads.get(blob).await {
            Err(error) if error.is_lasting() => return Ok(false),
            body => body?,
        };
        let Ok(Message { event, .. }) = Message::from_json(&body) else { return Ok(false) };
        let EventKind::ExecutionStarted(start) = event.kind else { return Ok(true) };
        Ok(start.parent.is_none() || start.instance.execution_id.is_some_and(|id| ended.knows(&id)))
    }
}

impl Ended {
    /// Whether the history is of an execution that the row does not know yet and that has not ended.
    fn is_begun_again(&self) -> bool {
        let Some((sentinel, _)) = &self.sentinel else { return false };
        let is_shown = self.execution_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(&sentinel.execution_id));
        let is_current = |row: &&Row| row.entity.text("ExecutionId") == Some(&sentinel.execution_id);
        let is_end = |row: &Row| row.entity.text("EventType") == Some("ExecutionCompleted");
        !is_shown && self.rows.iter().any(|row| is_current(&row)) && !self.rows.iter().filter(is_current).any(is_end)
    }

    /// Whether this is one of its executions.
    fn knows(&self, execution_id: &str) -> bool {
        let of_history = self.sentinel.iter().flat_map(|(known, _)| known.superseded.iter().chain([&known.execution_id]));
        of_history.chain(&self.execution_id).any(|known| known.eq_ignore_ascii_case(execution_id))
    }
}

fn delete(key: &str, row_key: &str, etag: &Etag) -> TableOp {
    TableOp::Delete { partition_key: key.to_owned(), row_key: row_key.to_owned(), condition: Match::Etag(etag.clone()) }
}

/// `None` if the rows are not what the write was meant for. So looks also a write whose reply was lost: a new look tells.
pub(super) fn unless_changed<T>(result: storage::error::Result<T>) -> Result<Option<T>> {
    use storage::ErrorKind::{AlreadyExists, NotFound, Precondition};
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind, AlreadyExists | NotFound | Precondition) || e.outcome_unknown() => Ok(None),
        Err(e) => Err(e.into()),
    }
}
