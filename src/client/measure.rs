//! Metrics of a hub, for who has no worker in it.

use super::Client;
use crate::error::Result;
use crate::hub::QueueId;

impl Client {
    /// Looks at all queues of the hub and counts what is parked, so that its [metrics](crate::metrics::Metrics) show them as they are now: two
    /// calls for each queue, and one. What cannot be seen is shown as NaN. A worker does so by itself for the partitions that it owns. Without metrics nothing is done.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn measure_queues(&self) -> Result<()> {
        if !self.hub.metrics.is_on() {
            return Ok(());
        }
        let control = (0..self.hub.partition_count).map(QueueId::Control);
        self.hub.measure(control.chain([QueueId::WorkItems]), true).await
    }
}
