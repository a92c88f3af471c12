//! What the messages of a hub wait for because no worker that sees them hosts it.

use std::time::Duration;

use super::{Client, InstanceStatus};
use crate::error::Result;
use crate::hub::{Awaited, AwaitedKind, Need};

/// So far apart the clocks of machines may be that keep them well.
const CLOCKS_APART: Duration = Duration::from_secs(5);

impl Client {
    /// What is waited for now: code that workers are asked for, and that none of those which were asked has. What has not been seen
    /// again in its time, which is three minutes or more where much waits, is left out.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn awaited(&self) -> Result<Vec<Awaited>> {
        self.hub.awaited.list().await
    }

    /// Whether this instance waits for that, as far as its row tells. Of an activity or an event the first
    /// hundred instances are known.
    #[must_use]
    pub fn waits_for(&self, instance: &InstanceStatus, awaited: &Awaited) -> bool {
        // What has gone on since has found its code.
        let has_gone_on = instance.last_updated.is_some_and(|updated| updated > awaited.last_seen.plus(CLOCKS_APART));
        if instance.status.is_terminal() || has_gone_on {
            return false;
        }
        let is_named = awaited.instance_ids.contains(&instance.instance_id);
        if self.hub.queues.name(self.hub.queues.of_instance(&instance.instance_id)) != awaited.queue {
            return awaited.kind == AwaitedKind::Activity && is_named;
        }
        match awaited.kind {
            AwaitedKind::Orchestrator => {
                instance.name.to_lowercase() == awaited.name.to_lowercase() && instance.version == awaited.version
            }
            AwaitedKind::Entity => Need::of_entity(&instance.instance_id).is_some_and(|entity| entity.name == awaited.name),
            AwaitedKind::Activity | AwaitedKind::Event => is_named,
        }
    }
}
