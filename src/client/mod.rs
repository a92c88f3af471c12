//! The client: start instances, talk to them, look at them.

mod app_lease;
mod awaited;
mod control;
mod drain;
mod export;
mod history;
#[cfg(test)]
mod history_tests;
mod hub_status;
mod instance;
#[cfg(test)]
mod instance_tests;
#[cfg(feature = "metrics")]
mod measure;
#[cfg(test)]
mod operation_tests;
mod pages;
mod purge;
mod query;
mod restart;
#[cfg(test)]
mod restart_tests;
mod rewind;
mod start;
mod status;
mod terminate;
mod traced;
mod unanswered;
mod usage;
mod wait;

#[cfg(test)]
mod tests;

pub use drain::{Drain, DrainProgress};
pub use history::History;
pub use hub_status::{HubStatus, PartitionStatus, QueueLengths, QueueStatus};
pub use instance::Instance;
pub use pages::InstancePages;
pub use purge::{Purge, PurgeReport};
pub use query::{InstancePage, InstanceQuery};
pub use restart::Restart;
pub use rewind::{Rewind, RewindReport};
pub use start::Start;
pub use status::InstanceStatus;
pub use terminate::Terminate;
pub use unanswered::{Unanswered, UnansweredTask};
pub use usage::UsageReport;
pub use wait::WaitForEnd;

use std::sync::Arc;

use crate::hub::{Hub, TaskHub};
use crate::model::Timestamp;

/// Starts, observes and controls the instances of a task hub. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    hub: Arc<Hub>,
    /// Whether it looks for an instance before it sends something to it.
    looks: bool,
    /// What instances get that are started without a version; empty for none.
    default_version: String,
}

impl Client {
    /// A client of a hub.
    #[must_use]
    pub fn new(hub: &TaskHub) -> Self {
        Self { hub: Arc::clone(&hub.0), looks: true, default_version: String::new() }
    }

    /// A client whose starts have this version unless they [name one](Start::version). Empty for none.
    ///
    /// Workers take instances by their versions: docs/versioning.md.
    #[must_use]
    pub fn default_version(self, version: impl Into<String>) -> Self {
        Self { default_version: version.into(), ..self }
    }

    /// The hub's name as given.
    #[must_use]
    pub fn hub_name(&self) -> &str {
        self.hub.name()
    }

    /// The time now, by the clock of the hub.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.hub.now()
    }

    /// A client that sends events, terminations, suspensions and resumptions without looking for the instance first: one storage
    /// call less for each, and for instances that do not exist yet or have ended nothing tells that the message is in vain.
    ///
    /// For paths where every call counts, and for children that may not have begun: an instance that an orchestration starts can be
    /// seen from its first checkpoint on. A message that comes while the start is on its way waits for it; one that comes before
    /// anybody has started the instance is dropped.
    ///
    /// ```no_run
    /// # use taskhub::{Client, Event};
    /// const TICK: Event<u64> = Event::new("Tick");
    /// # async fn f(client: Client) -> Result<(), taskhub::Error> {
    /// let unchecked = client.unchecked();
    /// for n in 0..1000 {
    ///     unchecked.instance("meter-7").raise(TICK, n).await?;
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn unchecked(&self) -> Self {
        Self { looks: false, ..self.clone() }
    }
}
