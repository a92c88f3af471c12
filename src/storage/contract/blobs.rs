//! Rules of blobs, containers and their leases.

use std::time::Duration;

use bytes::Bytes;

use super::refused;
use crate::storage::Storage;
use crate::storage::blob::{BlobStore, Lease, PutCondition};
use crate::storage::error::ErrorKind::{self, AlreadyExists, Invalid, NotFound, Precondition};

const MINE: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

pub(super) async fn run(storage: &Storage, prefix: &str) {
    let blobs = storage.blobs.as_ref();
    a_container_is_created_once_and_must_exist(blobs, &format!("{prefix}-missing")).await;
    let container = &format!("{prefix}-blobs");
    blobs.create_container(container).await.unwrap();
    puts_keep_their_conditions(blobs, container).await;
    bytes_come_back_exactly(blobs, container).await;
    names_are_kept_as_they_are_sent(blobs, container).await;
    names_that_nothing_can_have_are_refused(blobs, container).await;
    listings_follow_prefix_and_order(blobs, container).await;
    leases_exclude_each_other(blobs, container).await;
    blobs.delete_container(container).await.unwrap();
}

async fn a_container_is_created_once_and_must_exist(blobs: &dyn BlobStore, container: &str) {
    let put = || blobs.put(container, "b", Bytes::from_static(b"1"), PutCondition::Always);
    refused(put().await, NotFound);
    refused(blobs.get(container, "b", 9).await, NotFound);
    refused(blobs.delete(container, "b").await, NotFound);
    refused(blobs.list(container, "", None).await, NotFound);
    refused(blobs.delete_container(container).await, NotFound);
    refused(blobs.lease(container, &acquire(MINE)).await, NotFound);
    blobs.create_container(container).await.unwrap();
    refused(blobs.create_container(container).await, AlreadyExists);
    put().await.unwrap();
    blobs.delete_container(container).await.unwrap();
    refused(blobs.get(container, "b", 9).await, NotFound);
    let url = blobs.container_url(container);
    assert!(url.starts_with("http") && url.ends_with(&format!("/{container}")), "{url}");
}

async fn puts_keep_their_conditions(blobs: &dyn BlobStore, container: &str) {
    let put = async |text: &'static str, condition| {
        blobs.put(container, "conditions", Bytes::from_static(text.as_bytes()), condition).await
    };
    refused(blobs.get(container, "conditions", 9).await, NotFound);
    let first = put("1", PutCondition::Absent).await.unwrap();
    refused(put("no", PutCondition::Absent).await, AlreadyExists);
    let second = put("2", PutCondition::Etag(first.clone())).await.unwrap();
    refused(put("no", PutCondition::Etag(first.clone())).await, Precondition);
    let read = blobs.get(container, "conditions", 9).await.unwrap();
    assert_eq!((read.bytes.as_ref(), &read.etag), (b"2".as_slice(), &second));
    let third = put("2", PutCondition::Always).await.unwrap();
    assert!(first != second && second != third && first != third, "every write makes a version");
    blobs.delete(container, "conditions").await.unwrap();
    refused(blobs.delete(container, "conditions").await, NotFound);
    refused(put("no", PutCondition::Etag(third)).await, Precondition);
    put("4", PutCondition::Absent).await.unwrap();
    blobs.delete(container, "conditions").await.unwrap();
}

async fn bytes_come_back_exactly(blobs: &dyn BlobStore, container: &str) {
    let large: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    for bytes in [Bytes::new(), Bytes::from_static(b"\x1f\x8b\x00 not text \xff"), Bytes::from(large)] {
        blobs.put(container, "bytes", bytes.clone(), PutCondition::Always).await.unwrap();
        assert_eq!(blobs.get(container, "bytes", bytes.len()).await.unwrap().bytes, bytes);
        if !bytes.is_empty() {
            refused(blobs.get(container, "bytes", bytes.len() - 1).await, Invalid);
        }
    }
    blobs.delete(container, "bytes").await.unwrap();
}

async fn names_are_kept_as_they_are_sent(blobs: &dyn BlobStore, container: &str) {
    let put = async |name: &str| {
        blobs.put(container, name, Bytes::copy_from_slice(name.as_bytes()), PutCondition::Absent).await.unwrap();
    };
    let all = [
        "a b/ü%2F?#'",
        "a//b",
        "x^y",
        "50%+1/&=;:@,$!~*()",
        "日本/😀",
        "a/.b",
        "%2e%2e/x",
        "Case",
        "case",
        "\u{a0}",
        &"n".repeat(1024),
    ];
    for name in all {
        put(name).await;
    }
    for name in all {
        assert_eq!(blobs.get(container, name, 5000).await.unwrap().bytes, name.as_bytes(), "{name}");
        assert!(blobs.list(container, name, None).await.unwrap().names.iter().any(|listed| listed == name), "{name}");
        blobs.delete(container, name).await.unwrap();
    }
    for (sent, kept) in [("/lead", "lead"), ("trail/", "trail"), ("d\\e", "d/e"), ("f/./g", "f/g"), ("h/../i", "i"), ("./j", "j")]
    {
        put(sent).await;
        for name in [sent, kept] {
            assert_eq!(blobs.get(container, name, 99).await.unwrap().bytes, sent.as_bytes(), "{sent} is {kept}");
        }
        assert_eq!(blobs.list(container, kept, None).await.unwrap().names, [kept]);
        blobs.delete(container, sent).await.unwrap();
        refused(blobs.get(container, kept, 99).await, NotFound);
    }
}

async fn names_that_nothing_can_have_are_refused(blobs: &dyn BlobStore, container: &str) {
    let (long, deep) = ("n".repeat(1025), "n/".repeat(254) + "n");
    for name in ["", "/", ".", "..", "../x", "a/../../x", "a\n", "a\u{0}", "a\u{7f}", "a\u{9f}", &long, &deep] {
        refused(blobs.put(container, name, Bytes::new(), PutCondition::Always).await, Invalid);
        refused(blobs.get(container, name, 9).await, Invalid);
        refused(blobs.delete(container, name).await, Invalid);
    }
}

async fn listings_follow_prefix_and_order(blobs: &dyn BlobStore, container: &str) {
    for name in ["b/2", "a/1.json.gz", "a/1", "b/1", "b/sub/x y", "c"] {
        blobs.put(container, name, Bytes::from_static(b"x"), PutCondition::Always).await.unwrap();
    }
    for (prefix, expected) in [("", 6), ("a/", 2), ("b/", 3), ("b/s", 1), ("d", 0)] {
        let mut names = Vec::new();
        let mut continuation = None;
        loop {
            let page = blobs.list(container, prefix, continuation.as_deref()).await.unwrap();
            names.extend(page.names);
            continuation = page.continuation;
            if continuation.is_none() {
                break;
            }
        }
        assert_eq!(names.len(), expected, "{prefix}: {names:?}");
        assert!(names.is_sorted_by(|a, b| a < b) && names.iter().all(|name| name.starts_with(prefix)));
    }
}

async fn leases_exclude_each_other(blobs: &dyn BlobStore, container: &str) {
    let act = async |lease: Lease| blobs.lease(container, &lease).await;
    let change = |id: &str, proposed: &str| Lease::Change { id: id.into(), proposed: proposed.into() };
    refused(act(renew(MINE)).await, ErrorKind::Lease);
    refused(act(release(MINE)).await, ErrorKind::Lease);
    act(acquire(MINE)).await.unwrap();
    act(acquire(MINE)).await.unwrap();
    refused(act(acquire(OTHER)).await, ErrorKind::Lease);
    refused(act(renew(OTHER)).await, ErrorKind::Lease);
    refused(act(release(OTHER)).await, ErrorKind::Lease);
    act(renew(MINE)).await.unwrap();
    refused(blobs.delete_container(container).await, ErrorKind::Lease);
    blobs.put(container, "under lease", Bytes::new(), PutCondition::Always).await.unwrap();
    act(change(MINE, OTHER)).await.unwrap();
    refused(act(renew(MINE)).await, ErrorKind::Lease);
    act(change(MINE, OTHER)).await.unwrap();
    act(renew(OTHER)).await.unwrap();
    act(release(OTHER)).await.unwrap();
    refused(act(release(OTHER)).await, ErrorKind::Lease);
    refused(act(renew(OTHER)).await, ErrorKind::Lease);
    act(acquire(MINE)).await.unwrap();
    act(release(MINE)).await.unwrap();
}

pub(super) fn acquire(id: &str) -> Lease {
    Lease::Acquire { id: id.to_owned(), duration: Duration::from_secs(15) }
}

pub(super) fn renew(id: &str) -> Lease {
    Lease::Renew { id: id.to_owned() }
}

pub(super) fn release(id: &str) -> Lease {
    Lease::Release { id: id.to_owned() }
}
