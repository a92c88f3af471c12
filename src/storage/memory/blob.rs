//! Blobs and container leases in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::{Refusal, fair, lock, names};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::storage::blob::{Blob, BlobPage, BlobStore, Lease, PutCondition};
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::table::Etag;

const PAGE_NAMES_MAX: usize = 5000;
const ACCOUNT_URL: &str = "http://127.0.0.1:10000/devstoreaccount1";

const NO_CONTAINER: Refusal = Refusal(ErrorKind::NotFound, 404, "ContainerNotFound");
const NO_BLOB: Refusal = Refusal(ErrorKind::NotFound, 404, "BlobNotFound");
const BAD_HEADER: Refusal = Refusal(ErrorKind::Invalid, 400, "InvalidHeaderValue");
const LEASED: Refusal = Refusal(ErrorKind::Lease, 409, "LeaseAlreadyPresent");
const OTHER_LEASE: Refusal = Refusal(ErrorKind::Lease, 409, "LeaseIdMismatchWithLeaseOperation");
const NO_LEASE: Refusal = Refusal(ErrorKind::Lease, 409, "LeaseNotPresentWithLeaseOperation");

pub(super) struct MemoryBlobs {
    clock: Clock,
    state: Mutex<State>,
    page: AtomicUsize,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    last_write: i64,
}

#[derive(Default)]
struct Container {
    blobs: BTreeMap<String, Blob>,
    lease: Option<Held>,
}

struct Held {
    id: String,
    duration: Duration,
    until: Timestamp,
}

impl MemoryBlobs {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), page: AtomicUsize::new(PAGE_NAMES_MAX) }
    }

    #[cfg(test)]
    pub(super) fn page_at_most(&self, names: usize) {
        self.page.store(names.clamp(1, PAGE_NAMES_MAX), Relaxed);
    }

    #[cfg(test)]
    pub(super) fn create_raw(&self, container: &str) {
        lock(&self.state).containers.entry(container.to_owned()).or_default();
    }

    #[cfg(test)]
    pub(super) fn insert_raw(&self, container: &str, name: &str, bytes: Bytes) {
        let mut state = lock(&self.state);
        let etag = state.next_etag(&self.clock);
        let blobs = &mut state.containers.entry(container.to_owned()).or_default().blobs;
        blobs.insert(name.to_owned(), Blob { bytes, etag });
    }

    #[cfg(test)]
    /// Every blob of every container.
    pub(super) fn all(&self) -> BTreeMap<String, BTreeMap<String, Bytes>> {
        let blobs =
            |container: &Container| container.blobs.iter().map(|(name, blob)| (name.clone(), blob.bytes.clone())).collect();
        lock(&self.state).containers.iter().map(|(name, container)| (name.clone(), blobs(container))).collect()
    }
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    fn container_url(&self, container: &str) -> String {
        format!("{ACCOUNT_URL}/{container}")
    }

    async fn create_container(&self, container: &str) -> Result<()> {
        fair().await;
        names::check_dns(container).map_err(|refusal| refusal.of("container.create", container))?;
        let mut state = lock(&self.state);
        if state.containers.contains_key(container) {
            return Err(Refusal(ErrorKind::AlreadyExists, 409, "ContainerAlreadyExists").of("container.create", container));
        }
        state.containers.insert(container.to_owned(), Container::default());
        Ok(())
    }

    async fn delete_container(&self, container: &str) -> Result<()> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("container.drop", container);
        let mut state = lock(&self.state);
        let found = state.containers.get(container).ok_or_else(|| fail(NO_CONTAINER))?;
        if found.lease.as_ref().is_some_and(|held| held.until > self.clock.now()) {
            return Err(fail(Refusal(ErrorKind::Lease, 412, "LeaseIdMissing")));
        }
        state.containers.remove(container);
        Ok(())
    }

    async fn put(&self, container: &str, name: &str, bytes: Bytes, condition: PutCondition) -> Result<Etag> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("blob.put", format!("{container}/{name}"));
        let name = names::kept_blob(name).map_err(fail)?;
        let mut state = lock(&self.state);
        let found = state.containers.get(container).ok_or_else(|| fail(NO_CONTAINER))?.blobs.get(&name);
        match (&condition, found) {
            (PutCondition::Absent, Some(_)) => return Err(fail(Refusal(ErrorKind::AlreadyExists, 409, "BlobAlreadyExists"))),
            (PutCondition::Etag(etag), found) if found.is_none_or(|blob| blob.etag != *etag) => {
                return Err(fail(Refusal(ErrorKind::Precondition, 412, "ConditionNotMet")));
            }
            _ => {}
        }
        let etag = state.next_etag(&self.clock);
        let blobs = &mut state.containers.entry(container.to_owned()).or_default().blobs;
        blobs.insert(name, Blob { bytes, etag: etag.clone() });
        Ok(etag)
    }

    async fn get(&self, container: &str, name: &str, max: usize) -> Result<Blob> {
        fair().await;
        let target = || format!("{container}/{name}");
        let kept = names::kept_blob(name).map_err(|refusal| refusal.of("blob.get", target()))?;
        let state = lock(&self.state);
        let found = state.containers.get(container).ok_or_else(|| NO_CONTAINER.of("blob.get", target()))?;
        let blob = found.blobs.get(&kept).ok_or_else(|| NO_BLOB.of("blob.get", target()))?;
        if blob.bytes.len() > max {
            let message = format!("{} bytes, more than {max}", blob.bytes.len());
            return Err(Error::new(ErrorKind::Invalid, "blob.get", target()).with_message(message));
        }
        Ok(blob.clone())
    }

    async fn delete(&self, container: &str, name: &str) -> Result<()> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("blob.delete", format!("{container}/{name}"));
        let kept = names::kept_blob(name).map_err(fail)?;
        let mut state = lock(&self.state);
        let found = state.containers.get_mut(container).ok_or_else(|| fail(NO_CONTAINER))?;
        found.blobs.remove(&kept).map(|_| ()).ok_or_else(|| fail(NO_BLOB))
    }

    async fn list(&self, container: &str, prefix: &str, continuation: Option<&str>) -> Result<BlobPage> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("blob.list", container);
        let begin = match continuation {
            None => prefix.to_owned(),
            Some(marker) => unmark(marker).ok_or_else(|| fail(Refusal(ErrorKind::Invalid, 400, "InvalidQueryParameterValue")))?,
        };
        let state = lock(&self.state);
        let found = state.containers.get(container).ok_or_else(|| fail(NO_CONTAINER))?;
        let mut names = found.blobs.range(begin..).map(|(name, _)| name).take_while(|name| name.starts_with(prefix));
        let page = names.by_ref().take(self.page.load(Relaxed)).cloned().collect();
        Ok(BlobPage { names: page, continuation: names.next().map(|name| BASE64_URL_SAFE_NO_PAD.encode(name)) })
    }

    async fn lease(&self, container: &str, lease: &Lease) -> Result<()> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("container.lease", container);
        check_lease(lease).map_err(fail)?;
        let mut state = lock(&self.state);
        let found = state.containers.get_mut(container).ok_or_else(|| fail(NO_CONTAINER))?;
        found.act(lease, self.clock.now()).map_err(fail)
    }
}

impl Container {
    fn act(&mut self, lease: &Lease, now: Timestamp) -> std::result::Result<(), Refusal> {
        let held = self.lease.as_mut();
        match (lease, held) {
            (Lease::Acquire { id, .. }, Some(held)) if held.until > now && held.id != *id => return Err(LEASED),
            (Lease::Acquire { id, duration }, _) => {
                self.lease = Some(Held { id: id.clone(), duration: *duration, until: now.plus(*duration) });
            }
            // An expired lease may be renewed as long as nobody else has taken one.
            (Lease::Renew { id }, Some(held)) if held.id == *id => held.until = now.plus(held.duration),
            (Lease::Change { .. }, Some(held)) if held.until <= now => return Err(NO_LEASE),
            (Lease::Change { .. }, None) => return Err(NO_LEASE),
            (Lease::Change { id, proposed }, Some(held)) if held.id == *id || held.id == *proposed => {
                held.id.clone_from(proposed);
            }
            (Lease::Release { id }, Some(held)) if held.id == *id => self.lease = None,
            (Lease::Renew { .. } | Lease::Change { .. } | Lease::Release { .. }, _) => return Err(OTHER_LEASE),
        }
        Ok(())
    }
}

impl State {
    fn next_etag(&mut self, clock: &Clock) -> Etag {
        self.last_write = clock.now().ticks().max(self.last_write + 1);
        Etag(format!("\"0x{:X}\"", self.last_write))
    }
}

fn check_lease(lease: &Lease) -> std::result::Result<(), Refusal> {
    let guid = |id: &str| id.len() == 36 && uuid::Uuid::try_parse(id).is_ok();
    let valid = match lease {
        Lease::Acquire { id, duration } => guid(id) && (15..=60).contains(&duration.as_secs()) && duration.subsec_nanos() == 0,
        Lease::Change { id, proposed } => guid(id) && guid(proposed),
        Lease::Renew { id } | Lease::Release { id } => guid(id),
    };
    if valid { Ok(()) } else { Err(BAD_HEADER) }
}

fn unmark(marker: &str) -> Option<String> {
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(marker).ok()?).ok()
}
