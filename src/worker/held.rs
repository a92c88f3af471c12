//! The keeper: renews every message that is held long, so that the hold itself can be short.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::hub::{Held, Hub, QueueId};

/// All messages that this worker holds.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    held: Mutex<BTreeMap<(QueueId, String), Weak<Held>>>,
}

impl Keeper {
    /// Keeps a message until it is dropped by all who work on it.
    pub(crate) fn keep(&self, held: Held) -> Arc<Held> {
        let held = Arc::new(held);
        self.lock().insert((held.queue, held.id.clone()), Arc::downgrade(&held));
        held
    }

    /// Renews, for ever, what has used up a third of its hold.
    pub(crate) async fn run(&self, hub: &Hub, hold: Duration) {
        loop {
            tokio::time::sleep(hold / 6).await;
            for held in self.due(hold).await {
                match hub.renew(&held, hold).await {
                    Ok(true) => {}
                    Ok(false) => {
                        tracing::debug!(
                            instance = held.message.target.instance_id,
                            "a held message was received by somebody else"
                        );
                    }
                    // The next round tries again; there are three before the hold ends.
                    Err(error) => tracing::warn!(%error, "a held message could not be renewed"),
                }
            }
        }
    }

    async fn due(&self, hold: Duration) -> Vec<Arc<Held>> {
        let all: Vec<_> = {
            let mut held = self.lock();
            held.retain(|_, h| h.strong_count() > 0);
            held.values().filter_map(Weak::upgrade).collect()
        };
        let mut due = Vec::new();
        for held in all {
            if held.expires().await.is_some_and(|at| at < Instant::now() + hold * 2 / 3) {
                due.push(held);
            }
        }
        due
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(QueueId, String), Weak<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
