//! Metrics of the hub itself: how much waits in its queues and for how long, and how much is parked.

use std::time::Duration;

use super::{Hub, QueueId};
use crate::error::Result;
use crate::metrics;

impl Hub {
    /// Looks at a queue, by two calls, and shows what it sees.
    pub(crate) async fn measure_queue(&self, queue: QueueId) -> Result<()> {
        let (messages, oldest) = self.queues.look_at(queue).await?;
        self.show_queue(queue, messages, oldest.map(|since| self.now().since(since)).unwrap_or_default());
        Ok(())
    }

    /// Counts what is parked, and shows it.
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) async fn measure_parked(&self) -> Result<()> {
        self.metrics.gauge(&metrics::PARKED_NOW, &[]).set(self.parked.count().await? as f64);
        Ok(())
    }

    /// A queue is for others to look at from now on: what was seen last would be shown for ever.
    pub(crate) fn show_nothing_of(&self, queue: QueueId) {
        self.show_queue(queue, 0, Duration::ZERO);
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn show_queue(&self, queue: QueueId, messages: u64, age: Duration) {
        let labels = [("queue", self.queues.name(queue))];
        self.metrics.gauge(&metrics::QUEUE_MESSAGES, &labels).set(messages as f64);
        self.metrics.gauge(&metrics::QUEUE_AGE, &labels).set(age.as_secs_f64());
    }
}
