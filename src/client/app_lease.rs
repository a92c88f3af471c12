//! Handing the app lease to an app.

use super::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::app_lease::lease_id;

/// How often it is tried while others write the same blob.
const TRIES: usize = 5;

impl Client {
    /// Tells an app to take the app lease of the hub over: its workers do so with their next attempt, within a minute, and those of the app that
    /// had it stop. It needs at least one worker of the app that stands by, and does nothing if the app has the lease already.
    ///
    /// # Errors
    /// `Mismatch` if others keep writing the same blob; `Storage` if storage fails.
    pub async fn make_primary(&self, app_name: &str) -> Result<()> {
        let id = lease_id(app_name);
        for _ in 0..TRIES {
            if self.hub.app_lease.request_swap(&id).await? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Mismatch, "the app lease is changing hands; try again in a while"))
    }
}
