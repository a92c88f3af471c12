//! One HTTP exchange, after signing: pooled, timed, bounded, and repaired where the crates misread the service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::headers::{CONTENT_LENGTH, HeaderName, HeaderValue, Headers, MS_DATE};
use azure_core::{Body, BytesStream, Context, Method, Policy, PolicyResult, Request, Response, StatusCode, Url};
use azure_storage::clients::ServiceType;
use bytes::{Bytes, BytesMut};

use super::batch;
use super::entity::in_ascii;
use super::failure::{Effect, Failure};
use crate::storage::error::ErrorKind;
use crate::storage::pool;

/// Largest answer that is read when the call sets no other bound: a page of rows or messages is far below.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of an error's body is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Payload bytes for which one more second is granted, so that a slow line can carry a large blob.
const BYTES_PER_EXTRA_SECOND: usize = 1024 * 1024;
/// Longest total time of one exchange, whatever its size.
const TOTAL_MAX: Duration = Duration::from_secs(300);

/// Time limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimits {
    /// To connect, TLS included.
    pub(super) connect: Duration,
    /// For the whole exchange; payloads get a second more for each MiB.
    pub(super) total: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(30) }
    }
}

/// In the context of a call: the largest body that its caller takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyMax(pub(super) usize);

/// The last policy of every pipeline. It sends the signed request itself and never calls the crates' own transport, whose debug
/// log would print the `Authorization` header.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    client: reqwest::Client,
    /// For the threads that renew leases and held messages.
    renewing: reqwest::Client,
    limits: TimeLimits,
}

impl Exchange {
    /// A pooled client; connects to nothing yet.
    pub(super) fn new(loopback: bool, limits: TimeLimits) -> reqwest::Result<Arc<Self>> {
        // Azurite closes idle connections after about six seconds; a request on a dying one fails.
        let idle = Duration::from_secs(if loopback { 4 } else { 60 });
        let client = || Self::client(loopback, idle, limits);
        Ok(Arc::new(Self { client: client()?, renewing: client()?, limits }))
    }

    fn client(loopback: bool, idle: Duration, limits: TimeLimits) -> reqwest::Result<reqwest::Client> {
        let builder = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            .read_timeout(limits.total)
            .pool_idle_timeout(idle)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd();
        if loopback { builder.no_proxy() } else { builder }.build()
    }

    async fn exchange(&self, context: &Context, request: &Request) -> Result<Response, Failure> {
        let effect = effect_of(*request.method());
        let table = matches!(context.get::<ServiceType>(), Some(ServiceType::Table));
        let batch = table && request.url().path().ends_with("/$batch");
        let body = body_of(request, table, batch)?;
        let max = context.get::<BodyMax>().map_or(ANSWER_BYTES_MAX, |bound| bound.0);
        let payload = context.get::<BodyMax>().map_or(0, |bound| bound.0).saturating_add(body.len());
        let client = if pool::is_renewing() { &self.renewing } else { &self.client };
        let mut outgoing = client
            .request(method_of(*request.method())?, request.url().clone())
            .headers(headers_to_send(request, &body)?)
            .timeout(self.total(payload));
        if !body.is_empty() {
            outgoing = outgoing.body(body);
        }
        let answer = outgoing.send().await.map_err(|error| Failure::broke(effect, error))?;
        let status = answer.status().as_u16();
        let headers = headers_received(request, answer.headers());
        if !answer.status().is_success() {
            let body = read_beginning(answer).await;
            return Err(Failure::answered(effect, status, &headers, &body));
        }
        let body = read(answer, effect, max).await?;
        if let Some(failure) = batch.then(|| batch::refusal(&body)).flatten() {
            return Err(failure);
        }
        let status = StatusCode::try_from(status).map_err(|_| Failure::new(effect.unknown(), format!("odd status {status}")))?;
        Ok(Response::new(status, headers, Box::pin(BytesStream::new(body))))
    }

    fn total(&self, payload: usize) -> Duration {
        let extra = Duration::from_secs((payload / BYTES_PER_EXTRA_SECOND) as u64);
        (self.limits.total + extra).min(TOTAL_MAX)
    }
}

#[async_trait]
impl Policy for Exchange {
    async fn send(&self, context: &Context, request: &mut Request, _next: &[Arc<dyn Policy>]) -> PolicyResult {
        self.exchange(context, request).await.map_err(Failure::into_azure)
    }
}

/// Whether the endpoint is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || host.ends_with(".localhost") || address.is_some_and(|address| address.is_loopback())
}

pub(super) fn effect_of(method: Method) -> Effect {
    if matches!(method, Method::Get | Method::Head) { Effect::Reads } else { Effect::Writes }
}

fn method_of(method: Method) -> Result<reqwest::Method, Failure> {
    reqwest::Method::from_bytes(method.as_ref().as_bytes()).map_err(|_| Failure::new(ErrorKind::Invalid, "odd method"))
}

fn body_of(request: &Request, table: bool, batch: bool) -> Result<Bytes, Failure> {
    let Body::Bytes(body) = request.body() else {
        return Err(Failure::new(ErrorKind::Invalid, "a streamed body is not supported"));
    };
    if !table {
        return Ok(body.clone());
    }
    let text = std::str::from_utf8(body).map_err(|_| Failure::new(ErrorKind::Invalid, "a body is not UTF-8"))?;
    let body = in_ascii(text);
    if !batch {
        return Ok(body.into_owned().into());
    }
    if body.len() > batch::BYTES_MAX {
        let failure = Failure::new(ErrorKind::Invalid, format!("a transaction of {} bytes exceeds 4 MiB", body.len()));
        return Err(Failure { code: Some("RequestBodyTooLarge".to_owned()), ..failure });
    }
    Ok(batch::without_echo(&body))
}

fn headers_to_send(request: &Request, body: &Bytes) -> Result<reqwest::header::HeaderMap, Failure> {
    let invalid = |name: &HeaderName| Failure::new(ErrorKind::Invalid, format!("header {} cannot be sent", name.as_str()));
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in request.headers().iter() {
        let text = value.as_str();
        if *name == CONTENT_LENGTH && !body.is_empty() {
            // The body may have been rewritten: the client counts it.
            continue;
        }
        let key = reqwest::header::HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| invalid(name))?;
        let mut value = reqwest::header::HeaderValue::from_str(text).map_err(|_| invalid(name))?;
        value.set_sensitive(key == reqwest::header::AUTHORIZATION);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// What the service sent, plus what the crates insist on and a proxy may have cut: a write that succeeded must not look failed.
fn headers_received(request: &Request, received: &reqwest::header::HeaderMap) -> Headers {
    let mut headers = Headers::new();
    let date = request.headers().get_optional_str(&MS_DATE).unwrap_or("Thu, 01 Jan 1970 00:00:00 GMT").to_owned();
    let defaults = [
        ("server", "unknown"),
        ("x-ms-version", "unknown"),
        ("x-ms-request-id", "00000000-0000-0000-0000-000000000000"),
        ("preference-applied", "return-no-content"),
        ("x-ms-request-server-encrypted", "true"),
        ("x-ms-delete-type-permanent", "true"),
    ];
    for (name, value) in defaults {
        headers.insert(name, value);
    }
    headers.insert("date", date.clone());
    headers.insert("last-modified", date);
    for (name, value) in received {
        if let Ok(value) = value.to_str() {
            headers.insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_owned()));
        }
    }
    headers
}

async fn read(mut answer: reqwest::Response, effect: Effect, max: usize) -> Result<Bytes, Failure> {
    let too_large = || Failure::new(ErrorKind::Invalid, format!("the answer is larger than {max} bytes"));
    let announced = answer.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > max {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(announced);
    while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::broke(effect, error))? {
        if body.len() + chunk.len() > max {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The beginning of an error's body. The status is known already, so a body that breaks off is no further error.
async fn read_beginning(mut answer: reqwest::Response) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < ERROR_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    body.freeze()
}

#[cfg(test)]
mod tests;
