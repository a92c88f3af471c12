//! What this package's own integration target and command share with it. Not part of the API: it changes without notice.

mod pure;
mod snapshot;

pub use crate::storage::azure::repairs as azure_repairs;
pub use crate::storage::contract::{run_contract, run_differential, run_strict};
pub use pure::{HistoryPage, Sequence};
pub use snapshot::{Leftovers, Snapshot, completed_twice, leftovers, stored};

/// A storage account in memory whose time begins at `base` and runs with tokio's clock.
#[must_use]
pub fn memory_at(base: crate::Timestamp, seed: u64) -> (crate::Storage, crate::Clock) {
    let clock = crate::Clock::paused(base);
    (crate::Storage::memory(clock.clone(), crate::rng::Rng::seeded(seed)), clock)
}

/// A worker that makes about the calls that one of .NET makes: for the comparison of what they cost.
#[cfg(feature = "testing")]
pub fn like_dotnet(worker: crate::WorkerBuilder) -> crate::WorkerBuilder {
    worker.like_dotnet()
}

/// Whether a text is a message that can be read.
#[must_use]
pub fn is_message(json: &str) -> bool {
    crate::model::Incoming::from_json(json).is_ok()
}

/// Shows an instance as one whose message is parked.
///
/// # Errors
/// If storage fails.
pub async fn show_as_parked(hub: &crate::TaskHub, instance_id: &str) -> Result<(), crate::Error> {
    hub.0.instances.show_as_failed(crate::hub::instances::Culprit::Any(instance_id), "a message of it is parked").await
}
