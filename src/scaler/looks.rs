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
    last: Arc<Mutex<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    seen: Option<(Instant, QueueLengths)>,
    /// How many looks have failed since one has not.
    failures: u64,
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
        if let Some((_, seen)) = last.seen.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return Ok(seen.clone());
        }
        let begun = Instant::now();
        let looked = self.client.queue_lengths().await;
        match &looked {
            Ok(seen) => *last = Last { seen: Some((begun, seen.clone())), failures: 0 },
            Err(error) => {
                last.failures += 1;
                // The first, the second, the fourth: KEDA asks again and again.
                if last.failures.is_power_of_two() {
                    tracing::warn!(failures = last.failures, %error, "the lengths of the queues could not be read for KEDA");
                }
            }
        }
        looked
    }
}
