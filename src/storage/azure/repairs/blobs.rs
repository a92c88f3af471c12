//! Faults of the blob crate.

use std::time::Duration;

use bytes::Bytes;

use super::assert_failed;
use crate::storage::Storage;
use crate::storage::blob::{Lease, PutCondition};
use crate::storage::error::{ErrorKind, Result};
use crate::storage::table::Etag;

/// Blobs of every size and name come back; conditions hold; a bound on the size is kept.
///
/// # Errors
/// Of a call that should have worked.
pub async fn blobs_come_back(storage: &Storage, container: &str) -> Result<()> {
    let blobs = &storage.blobs;
    blobs.create_container(container).await?;
    assert_failed(blobs.create_container(container).await, ErrorKind::AlreadyExists, "ContainerAlreadyExists");
    let large = Bytes::from(vec![7; 20 << 20]);
    let names = ["empty", "dir/it's.json.gz", "Grüße 🚀 %2F?#&+", "a.", "large"];
    let contents = [Bytes::new(), Bytes::from_static(b"\x1f\x8b\0"), Bytes::from_static(b" "), Bytes::from_static(b"x"), large];
    for (name, content) in names.into_iter().zip(&contents) {
        assert_failed(blobs.get(container, name, 10).await, ErrorKind::NotFound, "BlobNotFound");
        let version = blobs.put(container, name, content.clone(), PutCondition::Absent).await?;
        let blob = blobs.get(container, name, content.len()).await?;
        assert!(blob.bytes == content && blob.etag == version, "{name}");
        let again = blobs.put(container, name, content.clone(), PutCondition::Absent).await;
        assert_failed(again, ErrorKind::AlreadyExists, "BlobAlreadyExists");
        if !content.is_empty() {
            assert_failed(blobs.get(container, name, content.len() - 1).await, ErrorKind::Invalid, "");
        }
        let newer = blobs.put(container, name, content.clone(), PutCondition::Etag(version.clone())).await?;
        assert_ne!(newer, version);
        let stale = blobs.put(container, name, content.clone(), PutCondition::Etag(version)).await;
        assert_failed(stale, ErrorKind::Precondition, "ConditionNotMet");
        blobs.put(container, name, content.clone(), PutCondition::Always).await?;
    }
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    let page = blobs.list(container, "", None).await?;
    assert_eq!((page.names.as_slice(), page.continuation), (sorted.as_slice(), None));
    assert_eq!(blobs.list(container, "dir/it's", None).await?.names, ["dir/it's.json.gz"]);
    blobs.delete(container, "empty").await?;
    assert_failed(blobs.delete(container, "empty").await, ErrorKind::NotFound, "BlobNotFound");
    let stale = PutCondition::Etag(Etag("\"0x1\"".to_owned()));
    assert_failed(blobs.put(container, "empty", Bytes::new(), stale).await, ErrorKind::Precondition, "ConditionNotMet");
    assert_failed(blobs.put(container, "up/../../y", Bytes::new(), PutCondition::Always).await, ErrorKind::Invalid, "InvalidUri");
    blobs.delete_container(container).await?;
    assert_failed(blobs.delete_container(container).await, ErrorKind::NotFound, "ContainerNotFound");
    assert_failed(blobs.list(container, "", None).await, ErrorKind::NotFound, "ContainerNotFound");
    Ok(())
}

/// The lease of a container: the same id may acquire again, another one may not; whoever knows the id may take over.
///
/// # Errors
/// Of a call that should have worked.
pub async fn a_container_lease_has_one_holder(storage: &Storage, container: &str) -> Result<()> {
    let blobs = &storage.blobs;
    blobs.create_container(container).await?;
    let id = |n: u8| format!("00000000-0000-4000-8000-00000000000{n}");
    let acquire = |n| Lease::Acquire { id: id(n), duration: Duration::from_secs(15) };
    blobs.lease(container, &acquire(1)).await?;
    blobs.lease(container, &acquire(1)).await?;
    assert_failed(blobs.lease(container, &acquire(2)).await, ErrorKind::Lease, "LeaseAlreadyPresent");
    blobs.lease(container, &Lease::Renew { id: id(1) }).await?;
    let renew = blobs.lease(container, &Lease::Renew { id: id(2) }).await;
    assert_failed(renew, ErrorKind::Lease, "LeaseIdMismatchWithLeaseOperation");
    assert_failed(blobs.delete_container(container).await, ErrorKind::Lease, "LeaseIdMissing");
    blobs.lease(container, &Lease::Change { id: id(1), proposed: id(3) }).await?;
    let release = blobs.lease(container, &Lease::Release { id: id(1) }).await;
    assert_failed(release, ErrorKind::Lease, "LeaseIdMismatchWithLeaseOperation");
    blobs.lease(container, &Lease::Release { id: id(3) }).await?;
    let renew = blobs.lease(container, &Lease::Renew { id: id(3) }).await;
    assert_failed(renew, ErrorKind::Lease, "LeaseIdMismatchWithLeaseOperation");
    blobs.lease(container, &acquire(2)).await?;
    blobs.lease(container, &Lease::Release { id: id(2) }).await?;
    blobs.delete_container(container).await?;
    assert_failed(blobs.lease(container, &acquire(1)).await, ErrorKind::NotFound, "ContainerNotFound");
    Ok(())
}
