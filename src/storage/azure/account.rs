//! An account: endpoints and credentials, and the pipelines of the crates that every call goes through.

use std::sync::Arc;

use azure_core::headers::{HeaderName, HeaderValue, Headers};
use azure_core::{ClientOptions, Context, Method, Pipeline, RetryOptions, Url};
use azure_storage::clients::{ServiceType, finalize_request, new_pipeline_from_options};
use azure_storage::{CloudLocation, StorageCredentials};
use bytes::Bytes;

use super::blob::AzureBlobs;
use super::exchange::{BodyMax, Exchange, TimeLimits, effect_of, is_loopback};
use super::failure::{Failure, describe};
use super::queue::AzureQueues;
use super::table::AzureTables;
use crate::storage::Storage;
use crate::storage::error::{CONNECT, Error, ErrorKind, Result};

/// Where an account is and what it takes to be let in. Endpoints have no slash at the end.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) blob: Url,
    pub(super) queue: Url,
    pub(super) table: Url,
    pub(super) credentials: StorageCredentials,
}

impl Account {
    /// The three ports. Nothing is sent until the first call.
    pub(super) fn open(self, limits: TimeLimits) -> Result<Storage> {
        let exchange = self.exchange(limits)?;
        Ok(Storage {
            tables: Arc::new(AzureTables::new(self.service(ServiceType::Table, &self.table, &exchange))),
            queues: Arc::new(AzureQueues::new(self.service(ServiceType::Queue, &self.queue, &exchange))),
            blobs: Arc::new(AzureBlobs::new(self.service(ServiceType::Blob, &self.blob, &exchange))),
            in_process: false,
        })
    }

    /// The queue service alone, for tests that look at what the port does not show.
    pub(super) fn queue_service(self, limits: TimeLimits) -> Result<Service> {
        Ok(self.service(ServiceType::Queue, &self.queue, &self.exchange(limits)?))
    }

    fn exchange(&self, limits: TimeLimits) -> Result<Arc<Exchange>> {
        let loopback = [&self.blob, &self.queue, &self.table].into_iter().any(is_loopback);
        Exchange::new(loopback, limits).map_err(|error| {
            Error::new(ErrorKind::Invalid, CONNECT, format!("the storage account \"{}\"", self.name))
                .with_message(format!("the HTTP client cannot be made: {error}"))
        })
    }

    fn service(&self, kind: ServiceType, endpoint: &Url, exchange: &Arc<Exchange>) -> Service {
        Service {
            kind,
            endpoint: endpoint.clone(),
            account: self.name.clone(),
            credentials: self.credentials.clone(),
            pipeline: new_pipeline_from_options(options(exchange), self.credentials.clone()),
            options: options(exchange),
        }
    }
}

/// The crates never retry (a lost answer would be taken for a rival's write), and our exchange is the last policy.
fn options(exchange: &Arc<Exchange>) -> ClientOptions {
    let policies: Vec<Arc<dyn azure_core::Policy>> = vec![exchange.clone()];
    ClientOptions::default().retry(RetryOptions::none()).per_retry_policies(policies)
}

/// One service of an account: what a client of the crates is built from, and a pipeline for calls that they do not offer.
#[derive(Clone, Debug)]
pub(super) struct Service {
    kind: ServiceType,
    endpoint: Url,
    account: String,
    pub(super) credentials: StorageCredentials,
    pipeline: Pipeline,
    pub(super) options: ClientOptions,
}

/// A request that the crates cannot express; they still sign it.
pub(super) struct Call<'a> {
    pub(super) operation: &'static str,
    pub(super) target: &'a str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Bytes>,
    pub(super) body_max: Option<usize>,
}

/// A success.
pub(super) struct Answer {
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

impl<'a> Call<'a> {
    pub(super) fn new(operation: &'static str, target: &'a str, method: Method, url: Url) -> Self {
        Self { operation, target, method, url, headers: Vec::new(), body: None, body_max: None }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Service {
    pub(super) fn location(&self) -> CloudLocation {
        CloudLocation::Custom { account: self.account.clone(), uri: self.endpoint.to_string() }
    }

    /// The endpoint, a slash, and the segments, each percent-encoded.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer> {
        let effect = effect_of(call.method);
        let failed = |error: &azure_core::Error| describe(effect, error, call.operation, call.target);
        let mut headers = Headers::new();
        for (name, value) in call.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
        let mut request = finalize_request(call.url, call.method, headers, call.body.map(Into::into)).map_err(|e| failed(&e))?;
        let mut context = Context::new();
        context.insert(self.kind);
        if let Some(max) = call.body_max {
            context.insert(BodyMax(max));
        }
        let response = self.pipeline.send(&context, &mut request).await.map_err(|e| failed(&e))?;
        let (_, headers, body) = response.deconstruct();
        let body = body.collect().await.map_err(|e| failed(&e))?;
        Ok(Answer { headers, body })
    }
}

/// An error found before anything was sent, with the code that the service would have given.
pub(super) fn refused(operation: &'static str, target: &str, code: &str, message: impl Into<String>) -> Error {
    let error = Error::new(ErrorKind::Invalid, operation, target).with_message(message);
    Error { code: Some(code.to_owned()), ..error }
}

/// A success whose content makes no sense.
pub(super) fn unreadable(call: (&'static str, &str), method: Method, what: &str) -> Error {
    Failure::new(effect_of(method).unknown(), format!("the answer could not be read ({what})"))
        .into_error(call.0, call.1.to_owned())
}
