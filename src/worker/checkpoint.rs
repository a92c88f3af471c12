//! The commit of a turn, in the one order that every crash point survives: messages, history, instance row, blobs, inputs.

#[cfg(test)]
mod sabotaged;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::delivery::Delivery;
use super::executor::Unavailable;
use super::litter;
use super::measures::MeasuredTurn;
use super::outbox::Outbox;
use super::partition::{Partition, SeenRow, is_in_order};
use super::recorder::{Outbound, Record};
use super::spans;
use super::step::Step;
use super::watch::{Code, What};
use crate::error::{Error, Result};
use crate::hub::histories::{Append, Appended, Committed, History};
use crate::hub::instances::{CommittedTurn, LaggingRow, RowVersion, RowWritten, TurnShown};
use crate::hub::{Hub, QueueId, Way};
use crate::model::{EventKind, Message, RuntimeStatus, State, StoredEvent};
use crate::replay::Turn;
use crate::sabotage::{self, Sabotage};

/// What has no more rows and bytes than these goes into one transaction, whatever is escaped in its texts.
const ONE_TRANSACTION_ROWS: usize = 95;
const ONE_TRANSACTION_BYTES: usize = 512 * 1024;

/// Storage calls of one step that are under way at once.
const PARALLEL_MAX: usize = 16;

/// Why a turn was not committed as a whole. Its inputs go back in every case: what was committed is recognised when they come again,
/// and what was not is run again.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// The sentinel has another version than the one that was loaded: somebody else has committed, and nothing of this turn is in the
    /// history.
    Fenced,
    /// The same, but between two transactions: a part of the turn is in the history, and needs what was sent.
    Torn,
    /// The history is committed, but the lease of the partition ran out before the instance row was written.
    LeaseExpired,
    /// The history is committed, but somebody else has committed since, and the instance row is his.
    RowTaken,
    /// Storage failed; how far the commit has come is not known.
    Storage(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

/// One act of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    SendMessages,
    AppendHistory,
    WriteRow,
    DeleteBlobs,
    /// Left to whoever holds the inputs, but in the wrong orders of tests.
    #[cfg(test)]
    DeleteInputs,
}

/// The order of a commit. Whoever holds the inputs of the turn deletes them after it.
///
/// | interrupted after | on storage | why nothing is wrong |
/// | --- | --- | --- |
/// | nothing | inputs reappear | the turn runs again |
/// | messages | messages without history | the retry decides the same under the same ids and receivers drop the repeats; or it decides otherwise, and answers to what was never committed are dropped by decision id |
/// | history | inputs reappear | completions are known by task id, external events by message id: deleted, not applied twice; the loader repairs the instance row |
/// | instance row, or blobs | inputs reappear | as above; whoever takes them looks for the blobs that are left |
const ORDER: &[Act] = &[Act::SendMessages, Act::AppendHistory, Act::WriteRow, Act::DeleteBlobs];

/// The order, unless a test breaks it.
fn order() -> &'static [Act] {
    #[cfg(test)]
    if let Some(wrong) = sabotaged::order() {
        return wrong;
    }
    ORDER
}

/// A turn's instance, as it was loaded.
pub(crate) struct Commit<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) instance_id: &'a str,
    pub(crate) history: &'a History,
    pub(crate) partition: &'a Partition,
    /// What the turn has applied.
    pub(crate) applied: &'a [&'a Delivery],
    /// What else goes with the turn. If there is any, the checkpoint that took it was interrupted, perhaps before its instance row.
    pub(crate) repeats: &'a [&'a Delivery],
    /// Blobs of its rows that were there before this checkpoint, where an earlier one may have been cut off.
    pub(crate) litter: &'a [String],
    /// The execution ends without its code having run in this turn.
    pub(crate) without_code: bool,
    /// Whether a row that lacks nothing but the time of the last update may wait.
    pub(crate) coalesces_rows: bool,
    /// Whether a turn that decided the same may have sent its messages before.
    pub(crate) sends_again: bool,
    /// Has what is held for readers of this process.
    pub(crate) outbox: &'a Outbox,
    pub(crate) measured: MeasuredTurn<'a>,
}

impl Commit<'_> {
    /// Commits a turn: whoever holds the inputs deletes them once this has succeeded. After an error some acts may have taken
    /// effect; the inputs are still held, and running the turn again makes the same messages under the same ids.
    pub(crate) async fn run(&self, record: &Record) -> std::result::Result<Committed, CommitError> {
        let committed = self.act(record).await;
        self.measured.ends(record, committed.as_ref().map(drop));
        committed
    }

    async fn act(&self, record: &Record) -> std::result::Result<Committed, CommitError> {
        let mut stored = Committed::default();
        for act in order() {
            match act {
                Act::SendMessages => self.send_messages(record).await?,
                Act::AppendHistory => {
                    stored = self.append(record).await?;
                    // Nobody ends again what has ended here, whatever becomes of the rest.
                    self.hub.tracer.export(record.spans.iter().cloned());
                }
                Act::WriteRow => self.write_row_if_ours(record, &stored).await?,
                Act::DeleteBlobs => self.delete_blobs(record, &stored.spent).await?,
                #[cfg(test)]
                Act::DeleteInputs => self.delete_inputs().await?,
            }
        }
        Ok(stored)
    }

    /// Tells what has kept a turn from being committed to its end. What has kept it from being committed at all is told where it is tried again.
    pub(super) fn log_loss(&self, error: &CommitError) {
        match error {
            CommitError::LeaseExpired => {
                tracing::info!("the lease ran out during the checkpoint; its row is left to the next owner")
            }
            CommitError::RowTaken => {
                tracing::info!("another worker has committed since; the row is left to him");
            }
            CommitError::Fenced | CommitError::Torn | CommitError::Storage(_) => {}
        }
    }

    /// Messages go first, because a .NET worker that takes over heals that order and no other. Starts go before the rest,
    /// so that no event overtakes the start of the child that it is for.
    async fn send_messages(&self, record: &Record) -> Result<()> {
        let is_start = |o: &&Outbound| matches!(o.message.event.kind, EventKind::ExecutionStarted(_));
        let (starts, others): (Vec<_>, Vec<_>) = record.outbound.iter().partition(is_start);
        // What is to be in front of an event is received as the event is.
        let in_order = record.outbound.iter().filter(|sent| is_in_order(&sent.message));
        let to: BTreeSet<_> = in_order.map(|sent| sent.message.target.instance_id.as_str()).collect();
        for sends in [starts, others] {
            several_at_once(in_lines(sends).into_iter().map(|line| self.send_in_order(line, &to).boxed()).collect()).await?;
        }
        Ok(())
    }

    /// `to`: the instances to which events go.
    async fn send_in_order(&self, line: Vec<&Outbound>, to: &BTreeSet<&str>) -> Result<()> {
        for Outbound { queue, message, delay } in line {
            let is_item = *queue == QueueId::WorkItems;
            let way = if is_item || !to.contains(&*message.target.instance_id) { Way::Direct } else { Way::Queue };
            let message = Message { seen_before: self.sends_again, ..message.clone() };
            self.outbox.add(self.hub.queues.put(*queue, message, *delay, way).await?);
        }
        Ok(())
    }

    /// The fence: it does not hold if somebody else has committed since the load.
    async fn append(&self, record: &Record) -> std::result::Result<Committed, CommitError> {
        let history = self.history;
        let end = record.kept_rows + record.events.len() as u64;
        let same_execution = history.execution_id.as_deref() == Some(&record.execution_id);
        let surplus = if same_execution { end..history.stored_rows.max(end) } else { end..end };
        // What was carried over and has no rows yet gets them now, in front of the new ones.
        let kept = record.kept_events(self.history);
        let has_rows = history.complete_rows.min(kept);
        let carried_to = if kept == 0 { record.first_rows } else { kept };
        let mut events = Cow::Borrowed(&record.events);
        if has_rows < kept {
            events = Cow::Owned(history.events[has_rows..kept].iter().chain(&record.events).cloned().collect());
        }
        let append = Append {
            instance_id: self.instance_id,
            execution_id: &record.execution_id,
            etag: history.etag.as_ref(),
            first: has_rows as u64,
            events: &events,
            surplus,
            carried_to: carried_to as u64,
            remainder: history.sentinel.remainder.as_ref(),
            applied: record.applied.clone(),
            superseded: record.superseded.clone(),
            custom_status: record.carried_status.clone(),
            ends_with: record.status.filter(|status| status.is_terminal()).map(|_| record.custom_status.clone()),
        };
        let committed = match self.hub.histories.append(append).await? {
            Appended::Done(committed) => *committed,
            Appended::Lost => return Err(CommitError::Fenced),
            Appended::Torn => return Err(CommitError::Torn),
        };
        self.log(record);
        self.log_runaways(record);
        Ok(committed)
    }

    /// Always before the inputs go: with them the next owner sees that the row may lag behind, and repairs it.
    async fn write_row_if_ours(&self, record: &Record, stored: &Committed) -> std::result::Result<(), CommitError> {
        let written = self.partition.while_ours(self.write_row(record, stored)).await;
        if written.ok_or(CommitError::LeaseExpired)?? { Ok(()) } else { Err(CommitError::RowTaken) }
    }

    /// `false` if the row is somebody else's by now.
    async fn write_row(&self, record: &Record, stored: &Committed) -> Result<bool> {
        let (hub, instance_id, history) = (self.hub, self.instance_id, self.history);
        let (kept, makes_up) = (record.kept_events(history), !self.repeats.is_empty());
        // What was loaded matters where the whole execution is shown again.
        let loaded = makes_up.then(|| history.columns_in_blobs().filter(|((ordinal, _), _)| *ordinal < kept));
        let new = stored.blobs.iter().map(|(&(index, column), blob)| ((stored.first + index, column), blob));
        let urls = loaded.into_iter().flatten().chain(new).map(|(column, blob)| (column, hub.payloads.url(blob))).collect();
        let turn = CommittedTurn {
            instance_id,
            execution_id: &record.execution_id,
            custom_status: record.custom_status.as_deref(),
            history,
            kept,
            new: &record.events,
            state: &record.state,
            urls: &urls,
            makes_up,
            version: stored.version.as_ref(),
            superseded: &record.superseded,
        };
        // A first turn most often makes the row of a child, or follows a start whose row was read.
        let is_first = history.etag.is_none();
        let seen = self.partition.take_row(instance_id);
        let version = seen.as_ref().map(|seen| RowVersion::Is(seen.version.clone())).or(is_first.then_some(RowVersion::Absent));
        let before = seen.as_ref().and_then(|seen| seen.shown.as_ref()).filter(|_| self.coalesces_rows);
        match hub.instances.show_turn(&turn, version, before).await? {
            TurnShown::OnlyLater(time) => {
                seen.into_iter().for_each(|seen| self.partition.left_row(instance_id, seen, time));
            }
            TurnShown::Written(RowWritten::Lost, _) => return Ok(false),
            TurnShown::Written(RowWritten::Is(version), shown) if !record.status.is_some_and(RuntimeStatus::is_terminal) => {
                self.partition.saw_row(instance_id, SeenRow { version, shown: Some(shown) });
            }
            TurnShown::Written(..) => {}
        }
        Ok(true)
    }

    /// Blobs of an execution that was replaced, and of checkpoints that were cut off, go before the inputs: once those are deleted,
    /// nothing comes again that would make anybody look for them.
    async fn delete_blobs(&self, record: &Record, spent: &[String]) -> Result<()> {
        let carried: BTreeSet<_> = record.events.iter().flat_map(|stored| &stored.blobs).map(|(_, blob)| &**blob).collect();
        let replaced = self.history.blobs.iter().filter(|_| record.kept_rows == 0).map(|(_, blob)| blob);
        for blob in replaced.chain(spent).filter(|blob| !carried.contains(&***blob)) {
            self.hub.payloads.delete(blob).await?;
        }
        let stays = |blob: &str| self.history.blobs.iter().any(|(at, known)| *at < record.kept_rows && known == blob);
        let is_kept = |blob: &str| carried.contains(blob) || stays(blob);
        litter::remove(self.hub, self.instance_id, self.litter, is_kept).await
    }
}

impl Record {
    /// How many of the events that were loaded are of the execution that the turn has left.
    pub(super) fn kept_events(&self, history: &History) -> usize {
        usize::try_from(self.kept_rows).unwrap_or(usize::MAX).min(history.events.len())
    }

    /// Whether the commit may take several transactions, and be interrupted between two of them.
    pub(super) fn may_be_torn(&self, history: &History) -> bool {
        let kept = self.kept_events(history);
        let rows = self.events.len() + kept - history.complete_rows.min(kept);
        let bytes: usize = self.events.iter().map(StoredEvent::weight).sum();
        rows > ONE_TRANSACTION_ROWS || bytes > ONE_TRANSACTION_BYTES
    }
}

/// Makes calls, several at once, up to the first that fails.
async fn several_at_once(calls: Vec<BoxFuture<'_, Result<()>>>) -> Result<()> {
    stream::iter(calls).buffered(PARALLEL_MAX).try_for_each(|()| std::future::ready(Ok(()))).await
}

/// Messages that may be sent at once, and those that may not: events for one instance arrive in the order in which they were sent.
fn in_lines(messages: Vec<&Outbound>) -> Vec<Vec<&Outbound>> {
    let (mut events, mut lines) = (BTreeMap::<&str, Vec<_>>::new(), Vec::new());
    for sent in messages {
        match sent.message.event.kind {
            EventKind::EventRaised { .. } => events.entry(&sent.message.target.instance_id).or_default().push(sent),
            _ => lines.push(vec![sent]),
        }
    }
    events.into_values().chain(lines).collect()
}

impl Step<'_> {
    /// Repairs the row of an instance whose last checkpoint was interrupted after its history. Called when
    /// messages come again that history has taken: such a checkpoint leaves them. `false` if somebody has committed since the load.
    pub(super) async fn repair_row(&self, history: &History, state: &State) -> Result<bool> {
        let (Some(status), Some(started)) = (state.status(), &state.started) else { return Ok(true) };
        if sabotage::is(Sabotage::RowNotRepaired) {
            return Ok(true);
        }
        let (hub, instance_id) = (self.hub, self.instance_id);
        let stored = hub.instances.read(instance_id, false).await?;
        let Some(lagging) = LaggingRow::of(stored, history, started.timestamp, status) else { return Ok(true) };
        let execution_id = history.execution_id.as_deref().unwrap_or_default();
        tracing::info!(execution = execution_id, "the instance row lags behind its history and is repaired");
        // Only the code knows the custom status that the lost row had.
        let is_end = |stored: &StoredEvent| matches!(stored.event.kind, EventKind::ExecutionCompleted { .. });
        let past = history.events.split(is_end).next().unwrap_or_default();
        let turn = Turn { execution_id, past, custom_status: history.sentinel.custom_status.as_deref(), ..Turn::default() };
        let code = Code::new(spans::orchestrator(execution_id, &started.event.name), What::Turn);
        let shown = self.executor.custom_status(turn, &code).await;
        let shown = shown.unwrap_or_else(|Unavailable| lagging.custom_status.clone());
        let written = hub.instances.repair(instance_id, lagging, history, shown.as_deref()).await?;
        Ok(written != RowWritten::Lost)
    }
}
