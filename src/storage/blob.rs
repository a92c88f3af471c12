//! The blob port: small whole blobs, listings and container leases of Azure Blob storage.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Result;
use super::table::Etag;

/// Longest name of a blob, in UTF-16 units, and the most parts between slashes that it may have.
const NAME_UNITS_MAX: usize = 1024;
const NAME_PARTS_MAX: usize = 254;

/// When a put may take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PutCondition {
    /// Always: creates or overwrites.
    Always,
    /// Only if there is no such blob (`AlreadyExists` otherwise).
    Absent,
    /// Only over this version (`Precondition` otherwise).
    Etag(Etag),
}

/// A blob read whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blob {
    pub(crate) bytes: Bytes,
    pub(crate) etag: Etag,
}

/// What to do with the lease of a container. Ids are GUIDs in the form "D".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// Acquires, or acquires again with the same id. 15 to 60 seconds.
    Acquire {
        id: String,
        duration: Duration,
    },
    Renew {
        id: String,
    },
    /// Takes over a lease whose id is known.
    Change {
        id: String,
        proposed: String,
    },
    Release {
        id: String,
    },
}

/// One page of blob names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlobPage {
    pub(crate) names: Vec<String>,
    pub(crate) continuation: Option<String>,
}

/// The name that a request carries for a blob, as .NET's clients form it: slashes at the ends fall away, and parts of one or two
/// dots are resolved. The error says why there can be no such blob.
pub(crate) fn name_sent(name: &str) -> std::result::Result<String, &'static str> {
    let mut parts = Vec::new();
    for part in name.trim_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop().ok_or("it leaves its container")?),
            part => parts.push(part),
        }
    }
    let sent = parts.join("/");
    if sent.is_empty() {
        return Err("it is empty");
    }
    if sent.chars().any(char::is_control) {
        return Err("it has control characters");
    }
    if sent.encode_utf16().count() > NAME_UNITS_MAX || sent.split(['/', '\\']).count() > NAME_PARTS_MAX {
        return Err("it is longer than 1,024 characters or has more than 254 parts");
    }
    Ok(sent)
}

/// The name by which the service keeps and lists a blob: it takes a backslash for a slash.
pub(crate) fn name_kept(name: &str) -> std::result::Result<String, &'static str> {
    name_sent(name).map(|sent| sent.replace('\\', "/"))
}

/// A blob service. Implementations do not retry; the retry layer does. Names are taken as [`name_sent`] says.
#[async_trait]
pub(crate) trait BlobStore: Send + Sync {
    /// The absolute URL of a container, in the form that .NET clients use (no slash at the end).
    fn container_url(&self, container: &str) -> String;
    /// Creates a container; `AlreadyExists` if it is there.
    async fn create_container(&self, container: &str) -> Result<()>;
    /// Deletes a container with its blobs; `NotFound` if it is not there, `Lease` if it is leased.
    async fn delete_container(&self, container: &str) -> Result<()>;
    /// Writes a block blob in one call, without content encoding.
    async fn put(&self, container: &str, name: &str, bytes: Bytes, condition: PutCondition) -> Result<Etag>;
    /// Reads a blob of at most `max` bytes (`Invalid` if it is larger); `NotFound` if it is not there.
    async fn get(&self, container: &str, name: &str, max: usize) -> Result<Blob>;
    /// Deletes a blob and its snapshots; `NotFound` if it is not there.
    async fn delete(&self, container: &str, name: &str) -> Result<()>;
    /// One page of the names that begin with `prefix`.
    async fn list(&self, container: &str, prefix: &str, continuation: Option<&str>) -> Result<BlobPage>;
    /// Acts on the lease of the container; `Lease` if somebody else holds it or ours is gone.
    async fn lease(&self, container: &str, lease: &Lease) -> Result<()>;
}
