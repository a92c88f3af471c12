//! What the storage calls of this worker were made for, and that people can read it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use crate::hub::WorkerUsage;
use crate::model::Timestamp;
use crate::usage::{Bills, Calls};

/// Between two writes of a worker that works.
const WHILE_WORKING: Duration = Duration::from_secs(300);
/// The same of one that only waits.
const WHILE_IDLE: Duration = Duration::from_secs(3600);

/// Who is billed for the calls of a worker.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// By orchestrators.
    pub(super) turns: Bills,
    /// By activities.
    pub(super) activities: Bills,
    /// When the worker started, and what its process had counted before.
    begun: OnceLock<(Timestamp, Calls)>,
    /// What had been billed when it was written down last.
    told: AtomicU64,
}

impl Usage {
    fn billed(&self) -> u64 {
        let all = |bills: &Bills| bills.read().values().map(Calls::total).sum::<u64>();
        all(&self.turns) + all(&self.activities)
    }
}

impl Shared {
    /// Writes down now and then what the worker has counted, for ever.
    pub(super) async fn tell_usage(&self) {
        self.usage.begun.get_or_init(|| (self.hub.now(), self.hub.meter.read()));
        let mut told = Instant::now();
        loop {
            // On virtual time as little as can be is done while nothing happens.
            tokio::time::sleep(WHILE_WORKING.max(self.options.refresh)).await;
            let last = self.usage.told.load(Relaxed);
            // Who has never done anything leaves no trace in the hub.
            if self.usage.billed() != last || last > 0 && told.elapsed() >= WHILE_IDLE {
                told = Instant::now();
                self.tell_usage_now().await;
            }
        }
    }

    /// Writes down what was counted since the last time, if anything was done.
    pub(super) async fn tell_last_usage(&self) {
        if self.usage.billed() != self.usage.told.load(Relaxed) {
            self.tell_usage_now().await;
        }
    }

    async fn tell_usage_now(&self) {
        const FAILED: &str = "the storage calls of this worker could not be written down";
        let billed = self.usage.billed();
        let written = self.hub.usage.write(&self.counted()).await;
        if written.is_ok() {
            self.usage.told.store(billed, Relaxed);
        }
        if let Some((error, failures)) = self.outages.after(FAILED, String::new, &written) {
            tracing::warn!(failures, %error, "the storage calls of this worker could not be written down");
        }
    }

    /// What was counted since the worker started, beyond what its process had before.
    fn counted(&self) -> WorkerUsage {
        let (since, before) = self.usage.begun.get_or_init(|| (self.hub.now(), self.hub.meter.read()));
        WorkerUsage {
            worker: self.worker_id.clone(),
            since: *since,
            until: self.hub.now(),
            calls: self.hub.meter.read().without(before),
            orchestrators: self.usage.turns.read(),
            activities: self.usage.activities.read(),
        }
    }
}
