//! Creating an instance: the message of its start first, and then its row, as every worker of a hub expects
//! (docs/storage-layout.md, Who writes an instance row).

use std::time::Duration;

use super::projection;
use super::write::IfWritten;
use crate::error::Result;
use crate::hub::{Hub, Way};
use crate::model::{EventKind, ExecutionStarted, HistoryEvent, Message, Timestamp};
use crate::storage::table::Etag;

impl Hub {
    /// Creates an instance whose start was asked for at this time and becomes visible after `delay`, or replaces the one whose row has
    /// the version `replaced`. `false` if another client was faster: its row stands, and the message is taken back.
    ///
    /// # Errors
    /// `Invalid` if the start is too large to be read back; `Storage` if storage fails. The message may have been sent then, and is
    /// dropped by workers as long as no row names its execution.
    pub(crate) async fn create_instance(
        &self,
        start: ExecutionStarted,
        at: Timestamp,
        delay: Duration,
        replaced: Option<&Etag>,
    ) -> Result<bool> {
        let message = Message::from_client(
            self.rng.uuid(),
            HistoryEvent::arriving(at, EventKind::ExecutionStarted(Box::new(start.clone()))),
            start.instance.clone(),
        );
        let queue = self.queues.of_instance(&start.instance.instance_id);
        let sent = self.queues.put(queue, message, delay, Way::Direct).await?;
        // The row of a large start refers to the body of its message.
        let url = sent.body.as_ref().map(|blob| self.payloads.url(blob));
        let input = url.as_deref().or(start.input.as_deref());
        let mut row = projection::pending(self.name(), &start, input, at, self.now());
        self.instances.offload(&mut row).await?;
        match self.instances.write_pending(row, replaced).await? {
            IfWritten::Is(version) => sent.with_row(version).hand_over(),
            IfWritten::Before => sent.hand_over(),
            IfWritten::Lost => {
                self.queues.take_back(sent).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}
