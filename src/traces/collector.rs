//! A collector of spans on loopback, for tests: it takes what is exported over OTLP, and decodes it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;

/// What was exported.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let content_type = request.headers().get("content-type").cloned();
        let is_ours = request.uri().path() == "/v1/traces" && content_type.is_some_and(|text| text == "application/x-protobuf");
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut answer = Response::new(Full::new(Bytes::new()));
        match ExportTraceServiceRequest::decode(body) {
            Ok(exported) if is_ours => self.0.lock().unwrap_or_else(PoisonError::into_inner).push(exported),
            _ => *answer.status_mut() = StatusCode::BAD_REQUEST,
        }
        answer
    }

    /// Takes what comes, for ever.
    pub(crate) async fn run(&self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request| Ok::<_, Infallible>(self.take(request).await));
            drop(http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await);
        }
    }

    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names of all spans, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let requests = self.requests();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let spans = resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
        let mut names: Vec<_> = spans.map(|span| span.name.clone()).collect();
        names.sort_unstable();
        names
    }
}
