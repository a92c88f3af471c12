//! The app lease: of the apps that share a hub, only one runs workers at a time (docs/storage-layout.md, App lease).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::fnv::fnv1a;
use crate::error::Result;
use crate::storage;
use crate::storage::blob::{BlobStore, Lease, PutCondition};
use crate::storage::error::OrNone;
use crate::storage::table::Etag;

/// The info blob holds two ids. Anything larger is not an info blob.
const INFO_BYTES_MAX: usize = 64 * 1024;

/// The info blob: who holds the lease, and who was told to take it over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AppLeaseInfo {
    pub(crate) owner_id: Option<String>,
    pub(crate) desired_swap_id: Option<String>,
}

/// The outcome of an attempt to acquire the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Held,
    /// Another app holds it; its lease id, if the info blob names it.
    Anothers(Option<String>),
}

/// The id under which every worker of an app holds the lease: the hash of its name as a GUID, as in .NET.
pub(crate) fn lease_id(app_name: &str) -> String {
    format!("{:08x}-0000-0000-0000-000000000000", fnv1a(app_name.as_bytes()))
}

/// The container that is leased, and its info blob.
#[derive(Clone, Debug)]
pub(crate) struct AppLease {
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) container: String,
    pub(super) info_blob: String,
    /// The name of the hub, for the log.
    pub(super) hub: String,
}

impl AppLease {
    /// Acquires the lease for an app; workers of one app share it.
    ///
    /// An app that was told to take over changes the lease instead; the other one notices at its next renewal.
    pub(crate) async fn acquire(&self, id: &str, duration: Duration) -> Result<Acquired> {
        let (info, etag) = self.info().await?;
        let wanted = is(info.desired_swap_id.as_deref(), id);
        let swapped = match &info.owner_id {
            Some(owner) if wanted && !is(Some(owner), id) => {
                let change = Lease::Change { id: owner.clone(), proposed: id.to_owned() };
                // Changing the id of a lease does not extend it.
                self.act(&change).await? && self.renew(id).await?
            }
            _ => false,
        };
        if !swapped && !self.act(&Lease::Acquire { id: id.to_owned(), duration }).await? {
            return Ok(Acquired::Anothers(info.owner_id));
        }
        if !is(info.owner_id.as_deref(), id) {
            let now = AppLeaseInfo { owner_id: Some(id.to_owned()), desired_swap_id: None };
            self.put_info(&now, etag).await?;
        }
        Ok(Acquired::Held)
    }

    /// Renews the lease. `false` if another app has it.
    pub(crate) async fn renew(&self, id: &str) -> Result<bool> {
        self.act(&Lease::Renew { id: id.to_owned() }).await
    }

    /// Takes the lease away from whoever holds it. `false` if the info blob does not name him.
    pub(crate) async fn break_off(&self) -> Result<bool> {
        match self.info().await?.0.owner_id {
            Some(owner) => self.act(&Lease::Release { id: owner }).await,
            None => Ok(false),
        }
    }

    /// Tells an app to take the lease over. `false` if the blob has changed meanwhile.
    pub(crate) async fn request_swap(&self, id: &str) -> Result<bool> {
        let (info, etag) = self.info().await?;
        self.put_info(&AppLeaseInfo { desired_swap_id: Some(id.to_owned()), ..info }, etag).await
    }

    /// The content of the info blob; empty if it is missing or is not JSON. The lease itself decides who holds it.
    pub(crate) async fn info(&self) -> Result<(AppLeaseInfo, Option<Etag>)> {
        let blob = self.blobs.get(&self.container, &self.info_blob, INFO_BYTES_MAX).await.or_none()?;
        let Some(blob) = blob else { return Ok((AppLeaseInfo::default(), None)) };
        let info = serde_json::from_slice(&blob.bytes).unwrap_or_else(|error| {
            tracing::warn!(hub = self.hub, %error, "the info blob of the app lease cannot be read and is replaced");
            AppLeaseInfo::default()
        });
        Ok((info, Some(blob.etag)))
    }

    /// Replaces the version of the blob that was read. `false` if another process wrote first; its content stands.
    async fn put_info(&self, info: &AppLeaseInfo, etag: Option<Etag>) -> Result<bool> {
        let condition = etag.map_or(PutCondition::Absent, PutCondition::Etag);
        let json = serde_json::to_vec(info).expect("two optional strings are JSON");
        let put = self.blobs.put(&self.container, &self.info_blob, Bytes::from(json), condition);
        match put.await {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind, storage::ErrorKind::Precondition | storage::ErrorKind::AlreadyExists) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// `false` if another app holds the lease.
    async fn act(&self, lease: &Lease) -> Result<bool> {
        match self.blobs.lease(&self.container, lease).await {
            Ok(()) => Ok(true),
            Err(e) if e.kind == storage::ErrorKind::Lease => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

fn is(found: Option<&str>, id: &str) -> bool {
    found.is_some_and(|found| found.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_ids_are_those_of_dotnet() {
        assert_eq!(lease_id(""), "811c9dc5-0000-0000-0000-000000000000");
        assert_eq!(lease_id("myapp"), "1312a8a6-0000-0000-0000-000000000000");
        assert_eq!(lease_id("func-app-1"), "a3ef3fbb-0000-0000-0000-000000000000");
    }

    #[test]
    fn the_blob_is_written_and_read_as_by_dotnet() {
        let json = r#"{"OwnerId":"1312a8a6-0000-0000-0000-000000000000","DesiredSwapId":null}"#;
        let info: AppLeaseInfo = serde_json::from_str(json).unwrap();
        assert_eq!(info, AppLeaseInfo { owner_id: Some(lease_id("myapp")), desired_swap_id: None });
        assert_eq!(serde_json::to_string(&info).unwrap(), json);
        assert_eq!(serde_json::from_str::<AppLeaseInfo>("{}").unwrap(), AppLeaseInfo::default());
    }
}
