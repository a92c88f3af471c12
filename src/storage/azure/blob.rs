//! The blob port: whole blobs by the blob crate, reads, listings and container leases by its pipeline.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::Method;
use azure_core::headers::ETAG;
use azure_core::request_options::IfMatchCondition;
use azure_storage_blobs::prelude::{BlobServiceClient, ClientBuilder};
use bytes::Bytes;

use super::account::{Call, Service, refused, unreadable};
use super::failure::{Effect, describe};
use super::xml;
use crate::storage::blob::{Blob, BlobPage, BlobStore, Lease, PutCondition, name_sent};
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::table::Etag;

pub(super) struct AzureBlobs {
    service: Service,
    client: BlobServiceClient,
}

impl AzureBlobs {
    pub(super) fn new(service: Service) -> Self {
        let client = ClientBuilder::with_location(service.location(), service.credentials.clone())
            .client_options(service.options.clone())
            .blob_service_client();
        Self { service, client }
    }
}

#[async_trait]
impl BlobStore for AzureBlobs {
    fn container_url(&self, container: &str) -> String {
        self.service.url(&[container]).into()
    }

    async fn create_container(&self, container: &str) -> Result<()> {
        let created = self.client.container_client(container).create().into_future().await;
        created.map_err(failed("container.create", container))
    }

    async fn delete_container(&self, container: &str) -> Result<()> {
        let deleted = self.client.container_client(container).delete().into_future().await;
        deleted.map_err(failed("container.drop", container))
    }

    async fn put(&self, container: &str, name: &str, bytes: Bytes, condition: PutCondition) -> Result<Etag> {
        let (target, name) = checked("blob.put", container, name)?;
        let put = self.client.container_client(container).blob_client(name).put_block_blob(bytes);
        let put = match &condition {
            PutCondition::Always => put,
            PutCondition::Absent => put.if_match(IfMatchCondition::NotMatch("*".to_owned())),
            PutCondition::Etag(etag) => put.if_match(IfMatchCondition::Match(etag.0.clone())),
        };
        let put = put.into_future().await.map_err(failed("blob.put", &target));
        put.map(|answer| Etag(answer.etag)).map_err(|error| match (&condition, error.kind) {
            (PutCondition::Absent, ErrorKind::Precondition) => Error { kind: ErrorKind::AlreadyExists, ..error },
            _ => error,
        })
    }

    async fn get(&self, container: &str, name: &str, max: usize) -> Result<Blob> {
        let (target, name) = checked("blob.get", container, name)?;
        // The crate always asks for a range, which an empty blob does not have, and may mix two versions of a large one.
        let url = self.blob_url(container, &name);
        let call = Call { body_max: Some(max), ..Call::new("blob.get", &target, Method::Get, url) };
        let answer = self.service.call(call).await?;
        let etag = answer.headers.get_optional_string(&ETAG);
        let etag = etag.ok_or_else(|| unreadable(("blob.get", &target), Method::Get, "no version"))?;
        Ok(Blob { bytes: answer.body, etag: Etag(etag) })
    }

    async fn delete(&self, container: &str, name: &str) -> Result<()> {
        let (target, name) = checked("blob.delete", container, name)?;
        // The crate includes snapshots unless told otherwise.
        let deleted = self.client.container_client(container).blob_client(name).delete().into_future().await;
        deleted.map(drop).map_err(failed("blob.delete", &target))
    }

    async fn list(&self, container: &str, prefix: &str, continuation: Option<&str>) -> Result<BlobPage> {
        let mut url = self.service.url(&[container]);
        url.query_pairs_mut().extend_pairs([("restype", "container"), ("comp", "list")]);
        let optional = [("prefix", Some(prefix)), ("marker", continuation)];
        for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?))) {
            url.query_pairs_mut().append_pair(name, value);
        }
        let answer = self.service.call(Call::new("blob.list", container, Method::Get, url)).await?;
        let unreadable = |what| unreadable(("blob.list", container), Method::Get, what);
        let root = xml::parse(&answer.body).ok_or_else(|| unreadable("no XML"))?;
        let blobs = root.child("Blobs").ok_or_else(|| unreadable("no list"))?;
        let names = blobs.all("Blob").filter_map(|blob| blob.text_of("Name")).map(str::to_owned).collect();
        let continuation = root.text_of("NextMarker").filter(|marker| !marker.is_empty()).map(str::to_owned);
        Ok(BlobPage { names, continuation })
    }

    async fn lease(&self, container: &str, lease: &Lease) -> Result<()> {
        let mut url = self.service.url(&[container]);
        url.query_pairs_mut().extend_pairs([("restype", "container"), ("comp", "lease")]);
        // The crate cannot change a container's lease, and cuts the duration to eight bits.
        let call = Call::new("container.lease", container, Method::Put, url);
        let call = match lease {
            Lease::Acquire { id, duration } => call
                .header("x-ms-lease-action", "acquire")
                .header("x-ms-lease-duration", lease_seconds(container, *duration)?.to_string())
                .header("x-ms-proposed-lease-id", id),
            Lease::Renew { id } => call.header("x-ms-lease-action", "renew").header("x-ms-lease-id", id),
            Lease::Change { id, proposed } => {
                call.header("x-ms-lease-action", "change").header("x-ms-lease-id", id).header("x-ms-proposed-lease-id", proposed)
            }
            Lease::Release { id } => call.header("x-ms-lease-action", "release").header("x-ms-lease-id", id),
        };
        self.service.call(call).await.map(drop)
    }
}

impl AzureBlobs {
    fn blob_url(&self, container: &str, name: &str) -> azure_core::Url {
        let segments: Vec<&str> = std::iter::once(container).chain(name.split('/')).collect();
        self.service.url(&segments)
    }
}

fn failed<'a>(operation: &'static str, target: &'a str) -> impl Fn(azure_core::Error) -> Error + 'a {
    move |error| describe(Effect::Writes, &error, operation, target)
}

fn lease_seconds(container: &str, duration: Duration) -> Result<u64> {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    if !(15..=60).contains(&seconds) {
        return Err(refused("container.lease", container, "InvalidHeaderValue", "a lease lasts from 15 to 60 seconds"));
    }
    Ok(seconds)
}

/// The target of a call, and the name that it sends.
fn checked(operation: &'static str, container: &str, name: &str) -> Result<(String, String)> {
    let target = format!("{container}/{name}");
    match name_sent(name) {
        Ok(sent) => Ok((target, sent)),
        Err(why) => Err(refused(operation, &target, "InvalidUri", format!("a blob cannot have this name: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_a_length_that_the_service_takes() {
        assert_eq!(lease_seconds("c", Duration::from_millis(59_001)).unwrap(), 60);
        assert!(lease_seconds("c", Duration::from_secs(61)).is_err());
        assert!(lease_seconds("c", Duration::from_secs(14)).is_err());
    }
}
