//! The checkpoint in orders that are wrong, for tests to find.

use super::{Commit, CommitError, append, send_messages};
use crate::error::Result;
use crate::sabotage::{self, Sabotage};
use crate::worker::turn::Record;

impl Commit<'_> {
    /// Commits in the wrong order that is chosen, if one is.
    pub(super) async fn run_sabotaged(&self, record: &Record) -> Option<std::result::Result<(), CommitError>> {
        let chosen = [Sabotage::HistoryBeforeMessages, Sabotage::InputsBeforeHistory, Sabotage::InputsBeforeRow];
        match chosen.into_iter().find(|sabotage| sabotage::is(*sabotage)) {
            Some(sabotage) => Some(self.run_with(sabotage, record).await),
            None => None,
        }
    }

    async fn run_with(&self, sabotage: Sabotage, record: &Record) -> std::result::Result<(), CommitError> {
        let (hub, instance_id, history) = (self.hub, self.instance_id, self.history);
        let late = sabotage == Sabotage::HistoryBeforeMessages;
        if !late {
            send_messages(hub, record).await?;
        }
        if sabotage == Sabotage::InputsBeforeHistory {
            self.delete_inputs(record).await?;
        }
        let stored = append(hub, instance_id, history, record).await?.ok_or(CommitError::Fenced)?;
        if late {
            send_messages(hub, record).await?;
        }
        if !self.partition.may_commit() {
            return Err(CommitError::LeaseExpired);
        }
        if sabotage == Sabotage::InputsBeforeRow {
            self.delete_inputs(record).await?;
        }
        if !self.write_row(record, &stored).await? {
            return Err(CommitError::RowTaken);
        }
        Ok(self.delete_blobs(record, &[]).await?)
    }

    async fn delete_inputs(&self, record: &Record) -> Result<()> {
        self.delete_blobs(record, &[]).await?;
        for delivery in self.applied.iter().chain(self.repeats) {
            self.hub.queues.delete(delivery).await?;
        }
        Ok(())
    }
}
