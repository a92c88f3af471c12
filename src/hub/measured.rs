//! Metrics of the hub itself: how much waits in its queues and for how long, and how much is parked.

use futures::future::join_all;

use super::{Hub, QueueId};
use crate::error::Result;
use crate::metrics;

impl Hub {
    /// Looks at these queues, and at what is parked. The first error, behind all of them.
    pub(crate) async fn measure(&self, queues: impl Iterator<Item = QueueId>, parked: bool) -> Result<()> {
        let measured = join_all(queues.map(|queue| self.measure_queue(queue))).await.into_iter().collect();
        if parked { self.measure_parked().await.and(measured) } else { measured }
    }

    /// Looks at a queue, by two calls, and shows what it sees. What cannot be seen is shown as no number: what was seen last may be long over.
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    async fn measure_queue(&self, queue: QueueId) -> Result<()> {
        let looked = self.queues.look_at(queue).await;
        let (messages, age) = match &looked {
            Ok((messages, oldest)) => {
                (*messages as f64, oldest.map(|since| self.now().since(since)).unwrap_or_default().as_secs_f64())
            }
            Err(_) => (f64::NAN, f64::NAN),
        };
        self.show_queue(queue, messages, age);
        looked.map(drop)
    }

    /// Counts what is parked, and shows it.
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    async fn measure_parked(&self) -> Result<()> {
        let counted = self.parked.count().await;
        self.metrics.gauge(&metrics::PARKED_NOW, &[]).set(counted.as_ref().map_or(f64::NAN, |count| *count as f64));
        counted.map(drop)
    }

    /// A queue is for others to look at from now on: what was seen last would be shown for ever.
    pub(crate) fn show_nothing_of(&self, queue: QueueId) {
        self.show_queue(queue, 0.0, 0.0);
    }

    fn show_queue(&self, queue: QueueId, messages: f64, age: f64) {
        let labels = [("queue", self.queues.name(queue))];
        self.metrics.gauge(&metrics::QUEUE_MESSAGES, &labels).set(messages);
        self.metrics.gauge(&metrics::QUEUE_AGE, &labels).set(age);
    }
}
