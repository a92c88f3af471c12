//! The checkpoint in orders that are wrong, for tests to find.

use std::sync::Arc;

use super::{Commit, Committed, append, delete_inputs, send_messages};
use crate::error::Result;
use crate::hub::Held;
use crate::sabotage::{self, Sabotage};
use crate::worker::turn::Record;

impl Commit<'_> {
    /// Commits in the wrong order that is chosen, if one is.
    pub(super) async fn run_sabotaged(&self, record: &Record, inputs: &[Arc<Held>]) -> Option<Result<Committed>> {
        let chosen = [Sabotage::HistoryBeforeMessages, Sabotage::InputsBeforeHistory, Sabotage::InputsBeforeRow];
        match chosen.into_iter().find(|sabotage| sabotage::is(*sabotage)) {
            Some(sabotage) => Some(self.run_with(sabotage, record, inputs).await),
            None => None,
        }
    }

    async fn run_with(&self, sabotage: Sabotage, record: &Record, inputs: &[Arc<Held>]) -> Result<Committed> {
        let (hub, instance_id, history) = (self.hub, self.instance_id, self.history);
        let late = sabotage == Sabotage::HistoryBeforeMessages;
        if !late {
            send_messages(hub, record).await?;
        }
        if sabotage == Sabotage::InputsBeforeHistory {
            delete_inputs(hub, history, record, inputs).await?;
        }
        let Some(stored) = append(hub, instance_id, history, record).await? else { return Ok(Committed::Lost) };
        if late {
            send_messages(hub, record).await?;
        }
        if !self.partition.may_commit() {
            return Ok(Committed::Lost);
        }
        if sabotage == Sabotage::InputsBeforeRow {
            delete_inputs(hub, history, record, inputs).await?;
        }
        if !self.write_row(record, &stored).await? {
            return Ok(Committed::Lost);
        }
        delete_inputs(hub, history, record, inputs).await?;
        Ok(Committed::Yes)
    }
}
