//! What this package's own integration target shares with it. Not part of the API: it changes without notice.

mod snapshot;

pub use crate::storage::azure::repairs as azure_repairs;
pub use crate::storage::contract::{run_contract, run_differential, run_strict};
pub use snapshot::{Leftovers, Snapshot, completed_twice, leftovers};
