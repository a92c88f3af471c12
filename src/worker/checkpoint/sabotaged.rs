//! The checkpoint in orders that are wrong, for tests to find.

use super::Act::{self, AppendHistory, DeleteBlobs, DeleteInputs, SendMessages, WriteRow};
use super::Commit;
use crate::error::Result;
use crate::sabotage::{self, Sabotage};

const WRONG: [(Sabotage, &[Act]); 3] = [
    (Sabotage::HistoryBeforeMessages, &[AppendHistory, SendMessages, WriteRow, DeleteBlobs]),
    (Sabotage::InputsBeforeHistory, &[SendMessages, DeleteBlobs, DeleteInputs, AppendHistory, WriteRow]),
    (Sabotage::InputsBeforeRow, &[SendMessages, AppendHistory, DeleteBlobs, DeleteInputs, WriteRow]),
];

/// The wrong order that is chosen, if one is.
pub(super) fn order() -> Option<&'static [Act]> {
    WRONG.into_iter().find(|(sabotage, _)| sabotage::is(*sabotage)).map(|(_, order)| order)
}

impl Commit<'_> {
    pub(super) async fn delete_inputs(&self) -> Result<()> {
        for delivery in self.applied.iter().chain(self.repeats) {
            self.hub.queues.delete(delivery).await?;
        }
        Ok(())
    }
}
