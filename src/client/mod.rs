//! The client: start instances, talk to them, look at them.

mod control;
mod hub_status;
mod query;
mod start;
mod status;

#[cfg(test)]
mod tests;

pub use hub_status::{HubStatus, PartitionStatus, QueueStatus};
pub use query::{InstancePage, InstanceQuery};
pub use start::Start;
pub use status::InstanceStatus;

use std::sync::Arc;

use crate::hub::{Hub, TaskHub};

/// Starts, observes and controls the instances of a task hub. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    hub: Arc<Hub>,
}

impl Client {
    /// A client of a hub.
    #[must_use]
    pub fn new(hub: &TaskHub) -> Self {
        Self { hub: Arc::clone(&hub.0) }
    }
}
