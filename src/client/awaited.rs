//! What the messages of a hub wait for because no worker that sees them hosts it.

use super::{Client, InstanceStatus};
use crate::error::Result;
use crate::hub::{Awaited, AwaitedKind, Need};

impl Client {
    /// What is waited for now: code that workers were asked for in the last three minutes, and that none of those which were asked
    /// has.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn awaited(&self) -> Result<Vec<Awaited>> {
        self.hub.list_awaited().await
    }

    /// Whether this instance waits for that, as far as its row tells. Of an activity or an event only the instance is known that the
    /// row of the hub names as an example.
    #[must_use]
    pub fn waits_for(&self, instance: &InstanceStatus, awaited: &Awaited) -> bool {
        if instance.status.is_terminal() || self.hub.queue_name(self.hub.control_queue_of(&instance.instance_id)) != awaited.queue
        {
            let is_example = awaited.kind == AwaitedKind::Activity && instance.instance_id == awaited.instance_id;
            return is_example && !instance.status.is_terminal();
        }
        match awaited.kind {
            AwaitedKind::Orchestrator => {
                instance.name.to_lowercase() == awaited.name.to_lowercase() && instance.version == awaited.version
            }
            AwaitedKind::Entity => Need::of_entity(&instance.instance_id).is_some_and(|entity| entity.name == awaited.name),
            AwaitedKind::Activity | AwaitedKind::Event => instance.instance_id == awaited.instance_id,
        }
    }
}
