//! What the workers of a hub have cost.

use super::Client;
use crate::error::Result;
use crate::hub::WorkerUsage;
use crate::usage::Calls;

impl Client {
    /// The storage calls of the workers of this crate, each since it started; those first that have told last. A worker tells every five minutes while it
    /// works, every hour while it only waits, and when it stops; what it has told is kept for three months.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn usage(&self) -> Result<Vec<WorkerUsage>> {
        self.hub.usage.all().await
    }

    /// The storage calls that this process has made on the hub since it opened it: of this client, and of workers and clients that share its
    /// [`TaskHub`](crate::TaskHub).
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.hub.meter.read()
    }
}
