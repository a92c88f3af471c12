//! Orchestrators that are drained, as this worker read last.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Result;
use crate::hub::{Draining, Hub};
use crate::limits::DRAIN_AFTER;
use crate::model::ExecutionStarted;

/// How old may be what decides that an instance begins.
const FRESH: Duration = Duration::from_secs(DRAIN_AFTER.as_secs() - 5);

/// What is drained, and when that was read.
#[derive(Debug, Default)]
pub(super) struct Drains(Mutex<Option<(Instant, Vec<Draining>)>>);

impl Drains {
    /// Reads it before anything is started. If that fails, the first start reads it.
    pub(super) async fn read_ahead(&self, hub: &Hub) {
        let mut known = self.0.lock().await;
        let read = Instant::now();
        if let Ok(all) = hub.drains.all().await {
            *known = Some((read, all));
        }
    }

    /// Whether no instance is to begin that is started so. It is read again where what is known is too old: a worker to which nothing
    /// is started reads nothing. The others wait for one that reads.
    pub(super) async fn keep_from_beginning(&self, hub: &Hub, start: &ExecutionStarted) -> Result<bool> {
        let mut known = self.0.lock().await;
        let all = match &mut *known {
            Some((read, all)) if read.elapsed() < FRESH => all,
            known => {
                // As of before the read.
                let read = Instant::now();
                &mut known.insert((read, hub.drains.all().await?)).1
            }
        };
        Ok(all.iter().any(|draining| draining.is_of(&start.name, start.version.as_deref())))
    }
}
