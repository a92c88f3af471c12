//! What the messages of a hub wait for because no worker that sees them hosts it.

use std::time::Duration;

use super::{Client, InstanceStatus, Unanswered, UnansweredTask};
use crate::error::{ErrorKind, Result};
use crate::hub::{Awaited, AwaitedKind, InstanceRow, Need};
use crate::model::{RuntimeStatus, Timestamp};

/// So far apart the clocks of machines may be that keep them well.
const CLOCKS_APART: Duration = Duration::from_secs(5);

impl Client {
    /// What is waited for now: code that workers are asked for, and that none of those which were asked has. What has not been seen
    /// again in its time, which is three minutes or more where much waits, is left out; and before, an orchestrator or activity that
    /// none of its instances waits for any more, where all of them are named.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn awaited(&self) -> Result<Vec<Awaited>> {
        let mut all = Vec::new();
        for awaited in self.hub.awaited.list().await? {
            if self.is_still_awaited(&awaited).await? {
                all.push(awaited);
            }
        }
        Ok(all)
    }

    /// Whether one of its instances waits, as far as can be told from what they have written since. One is enough, so that of what
    /// waits seldom more than one is read.
    async fn is_still_awaited(&self, awaited: &Awaited) -> Result<bool> {
        let knows_all = awaited.instances.is_some_and(|count| count as usize == awaited.instance_ids.len());
        if !knows_all || matches!(awaited.kind, AwaitedKind::Entity | AwaitedKind::Event) {
            return Ok(true);
        }
        for id in &awaited.instance_ids {
            match self.may_wait(id, awaited).await {
                Ok(false) => {}
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                Ok(true) | Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn may_wait(&self, id: &str, awaited: &Awaited) -> Result<bool> {
        // One whose row is not there yet has not begun.
        let Some(InstanceRow { status, last_updated, .. }) = self.hub.instances.read(id, false).await?.map(|stored| stored.row)
        else {
            return Ok(true);
        };
        if status.is_some_and(RuntimeStatus::is_terminal) {
            return Ok(false);
        }
        if awaited.kind != AwaitedKind::Activity {
            return Ok(!has_gone_on(last_updated, awaited));
        }
        let is_it = |open: &Unanswered| match &open.task {
            UnansweredTask::Activity { name } => name.to_lowercase() == awaited.name.to_lowercase(),
            _ => false,
        };
        Ok(Unanswered::in_history(&self.history(id).await?).iter().any(is_it))
    }

    /// Whether this instance waits for that, as far as its row tells. Of an activity or an event the first
    /// hundred instances are known.
    #[must_use]
    pub fn waits_for(&self, instance: &InstanceStatus, awaited: &Awaited) -> bool {
        if instance.status.is_terminal() || has_gone_on(instance.last_updated, awaited) {
            return false;
        }
        let is_named = awaited.instance_ids.contains(&instance.instance_id);
        if self.hub.queues.name(self.hub.queues.of_instance(&instance.instance_id)) != awaited.queue {
            return matches!(awaited.kind, AwaitedKind::Activity | AwaitedKind::Limit) && is_named;
        }
        match awaited.kind {
            AwaitedKind::Orchestrator | AwaitedKind::Drain => {
                instance.name.to_lowercase() == awaited.name.to_lowercase() && instance.version == awaited.version
            }
            AwaitedKind::Entity => Need::of_entity(&instance.instance_id).is_some_and(|entity| entity.name == awaited.name),
            AwaitedKind::Activity | AwaitedKind::Event | AwaitedKind::Limit => is_named,
        }
    }
}

/// What has gone on since has found its code.
fn has_gone_on(updated: Option<Timestamp>, awaited: &Awaited) -> bool {
    updated.is_some_and(|updated| updated > awaited.last_seen.plus(CLOCKS_APART))
}
