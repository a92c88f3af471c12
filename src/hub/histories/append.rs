//! Appending to a history in transactions, each under the version of the sentinel that was loaded or written last.

use std::collections::BTreeMap;
use std::ops::Range;

use uuid::Uuid;

use super::Histories;
use super::batches::{Prepared, count_rows};
use super::remainder::Remainder;
use super::rows::{self, Sentinel};
use crate::error::{Error, ErrorKind, Result};
use crate::hub::keys;
use crate::model::StoredEvent;
use crate::sabotage::{self, Sabotage};
use crate::storage;
use crate::storage::table::{Etag, Match, TableOp};

/// How often a transaction is sent again when its reply is lost and the sentinel shows that it was not applied.
const TRIES_AFTER_LOST_REPLY: usize = 5;

/// What a checkpoint appends.
#[derive(Debug)]
pub(crate) struct Append<'a> {
    pub(crate) instance_id: &'a str,
    pub(crate) execution_id: &'a str,
    /// The version that was loaded; `None` inserts the sentinel.
    pub(crate) etag: Option<&'a Etag>,
    /// The ordinal of the first new row.
    pub(crate) first: u64,
    pub(crate) events: &'a [StoredEvent],
    /// Ordinals of an interrupted checkpoint that the new rows do not overwrite.
    pub(crate) surplus: Range<u64>,
    /// Rows up to this ordinal are carried over by continue-as-new: none of them is lost, whenever the append is interrupted.
    pub(crate) carried_to: u64,
    /// Carried-over events that the loaded history had in blobs and not in rows.
    pub(crate) remainder: Option<&'a Remainder>,
    /// Kept on the sentinel, beside what .NET keeps there.
    pub(crate) applied: Vec<Uuid>,
    pub(crate) superseded: Vec<String>,
    pub(crate) custom_status: Option<String>,
    /// The custom status that the execution leaves, if it ends with these events.
    pub(crate) ends_with: Option<Option<String>>,
}

/// The blobs to which large columns of the events of an append went, by the index of the event and the column.
pub(crate) type ColumnBlobs = BTreeMap<(usize, &'static str), String>;

/// What became of an append.
#[derive(Debug)]
pub(crate) enum Appended {
    /// It is stored.
    Done(Box<Committed>),
    /// Another worker has written since the load: nothing is stored.
    Lost,
    /// Another worker has written since the first transaction: that is stored, and the last one is not.
    Torn,
}

/// What an append has stored beside its events.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The ordinal of the first row that was written.
    pub(crate) first: usize,
    pub(crate) blobs: ColumnBlobs,
    /// For how many of the first rows the last one says that code has run on them.
    pub(crate) put_off: usize,
    pub(crate) sentinel: Sentinel,
    /// The version of the sentinel, if it is known.
    pub(crate) version: Option<Etag>,
    /// Blobs that were needed until now.
    pub(crate) spent: Vec<String>,
}

impl Histories {
    /// Appends events and moves the sentinel, in as many transactions as it takes.
    pub(crate) async fn append(&self, append: Append<'_>) -> Result<Appended> {
        let commit = self.rng.uuid();
        let mut etag = append.etag.cloned();
        let Prepared { batches, blobs, put, put_off, remainder } = self.prepare(&append).await?;
        let (last, mut end, mut written) = (batches.len() - 1, append.first, Sentinel::default());
        for (number, mut ops) in batches.into_iter().enumerate() {
            end += count_rows(&ops);
            let ends_with = append.ends_with.as_ref().filter(|_| number == last);
            let sentinel = Sentinel {
                execution_id: append.execution_id.to_owned(),
                is_complete: number == last,
                completed_at: (number == last).then(|| self.clock.now()),
                applied: append.applied.clone(),
                superseded: append.superseded.clone(),
                custom_status: ends_with.unwrap_or(&append.custom_status).clone(),
                has_ended: ends_with.is_some(),
                remainder: remainder.as_ref().filter(|_| end < append.carried_to).and_then(|known| known.after(end)),
                commit: Some(commit_id(commit, number)),
                has_parked: false,
                is_fence: false,
            };
            ops.push(sentinel_op(append.instance_id, &sentinel, etag.as_ref()));
            match self.transact_fenced(append.instance_id, &ops, etag.as_ref(), &sentinel).await? {
                Some(new) => (etag, written) = (Some(new), sentinel),
                None => {
                    // Blobs of an earlier transaction are in use: its rows refer to them.
                    if number > 0 {
                        return Ok(Appended::Torn);
                    }
                    self.drop_unused(append.instance_id, &put).await;
                    return Ok(Appended::Lost);
                }
            }
        }
        let spent = append.remainder.into_iter().chain(&remainder).flat_map(|known| known.blobs.clone());
        let first = usize::try_from(append.first).unwrap_or(usize::MAX);
        Ok(Appended::Done(Box::new(Committed {
            first,
            blobs,
            put_off,
            sentinel: written,
            version: etag,
            spent: spent.collect(),
        })))
    }

    /// Removes the blobs of a transaction that can no longer take effect.
    async fn drop_unused(&self, instance_id: &str, blobs: &[String]) {
        for blob in blobs {
            if let Err(error) = self.payloads.delete(blob).await {
                tracing::debug!(hub = self.hub, instance = instance_id, blob, %error, "a blob that nobody refers to stays");
            }
        }
    }

    /// One transaction under the fence. `None` if the fence did not hold.
    async fn transact_fenced(
        &self,
        instance_id: &str,
        ops: &[TableOp],
        expected: Option<&Etag>,
        sentinel: &Sentinel,
    ) -> Result<Option<Etag>> {
        for _ in 0..TRIES_AFTER_LOST_REPLY {
            let error = match self.table.transact(ops).await {
                Ok(mut etags) => return Ok(etags.pop().flatten()),
                Err(error) => error,
            };
            use storage::ErrorKind::{AlreadyExists, NotFound, Precondition};
            match error.kind {
                // An earlier attempt of this transaction whose reply was lost looks like a rival's: the sentinel tells who wrote.
                AlreadyExists | Precondition | NotFound | storage::ErrorKind::Unknown => {
                    match self.read_sentinel(instance_id).await? {
                        Some((found, etag))
                            if found.commit == sentinel.commit || sabotage::is(Sabotage::AnyCommitTakenForOurs) =>
                        {
                            tracing::debug!(
                                instance = instance_id,
                                "the sentinel says that a transaction without an answer is stored"
                            );
                            return Ok(Some(etag));
                        }
                        found if error.outcome_unknown() && found.as_ref().map(|f| &f.1) == expected => {}
                        _ if error.outcome_unknown() || error.kind != NotFound => return Ok(None),
                        None => return Ok(None),
                        Some(_) => return Err(error.into()),
                    }
                }
                _ => return Err(error.into()),
            }
        }
        Err(Error::new(
            ErrorKind::Storage,
            format!("history of instance \"{instance_id}\": no answer to {TRIES_AFTER_LOST_REPLY} tries of one transaction"),
        ))
    }
}

fn sentinel_op(instance_id: &str, sentinel: &Sentinel, etag: Option<&Etag>) -> TableOp {
    let entity = rows::sentinel_to_entity(&keys::escape(instance_id), sentinel);
    match etag {
        _ if sabotage::is(Sabotage::SentinelUnchecked) => TableOp::UpsertMerge(entity),
        Some(etag) => TableOp::Merge(entity, Match::Etag(etag.clone())),
        None => TableOp::Insert(entity),
    }
}

/// The id of one transaction, by which the sentinel settles a lost reply.
fn commit_id(commit: Uuid, number: usize) -> String {
    format!("{}-{number}", commit.simple())
}
