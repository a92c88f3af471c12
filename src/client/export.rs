//! Taking instances from one hub to another.

use super::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::ExportedInstance;
use crate::ids;

impl Client {
    /// An instance with its history and its payloads, for an archive or another hub. Messages that are under way are not in it.
    ///
    /// # Errors
    /// `NotFound` if there is none with this id; `Corrupt` if a payload of it is lost or damaged; `Storage` if storage fails.
    pub async fn export(&self, id: &str) -> Result<ExportedInstance> {
        ids::check_key(id)?;
        let found = self.hub.export(id).await?;
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no instance \"{id}\"")))
    }

    /// Writes an instance that was exported, from this hub or another: row, history and payloads. Only one that has ended, because the messages are
    /// missing by which another would go on; it is there to be looked at, restarted or purged.
    ///
    /// If it is cut off, the instance is there with a part of its history: importing the same again goes on.
    ///
    /// # Errors
    /// `AlreadyExists` if there is an instance with this id, or a history; `Invalid` if it has not ended, or was exported by a later version of this crate; `Storage` if storage
    /// fails.
    pub async fn import(&self, exported: &ExportedInstance) -> Result<()> {
        ids::check_key(exported.instance_id())?;
        self.hub.import(exported).await
    }
}
