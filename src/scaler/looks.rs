//! Looks at the queues: one for all who ask at about the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::{Client, QueueLengths};
use crate::error::Result;

/// For so long what was seen last is good enough. KEDA asks twice in a row, and its metrics server once more.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// Clones share what they see.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    client: Client,
    last: Arc<Mutex<Option<(Instant, QueueLengths)>>>,
}

impl Looks {
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone(), last: Arc::default() }
    }

    pub(super) fn hub_name(&self) -> &str {
        self.client.hub_name()
    }

    /// The lengths, as they were five seconds ago or later.
    pub(super) async fn look(&self) -> Result<QueueLengths> {
        // Whoever asks while somebody looks waits for what he sees.
        let mut last = self.last.lock().await;
        if let Some((_, seen)) = last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return Ok(seen.clone());
        }
        let (begun, seen) = (Instant::now(), self.client.queue_lengths().await?);
        *last = Some((begun, seen.clone()));
        Ok(seen)
    }
}
