//! The server of the page: a few connections, each of which has little time to say what it wants.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::Metrics;
use crate::connections::{self, Connection, FEW};

/// In this time a request has to be there, and so has the next one of a connection that is kept open.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the page until it is dropped.
pub(super) async fn run(listener: TcpListener, metrics: &Metrics) -> io::Result<()> {
    connections::serve(listener, FEW, std::future::pending(), |taken| connection(metrics.clone(), taken)).await
}

/// The requests of one connection, one after the other.
async fn connection(metrics: Metrics, Connection { stream, .. }: Connection) {
    let service = service_fn(async |request: Request<hyper::body::Incoming>| Ok::<_, Infallible>(answer(&request, &metrics)));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection broke off");
    }
}

fn answer<B>(request: &Request<B>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let text = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(TEXT));
        response
    };
    match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => text(StatusCode::OK, metrics.page()),
        ("/metrics", _) => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this path is for GET\n".to_owned());
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            response
        }
        // Who serves this works: it begins to once its hub is open, and ends with its work.
        ("/health/live" | "/health/ready", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok\n".to_owned()),
        _ => text(StatusCode::NOT_FOUND, "there is nothing here but /metrics and /health\n".to_owned()),
    }
}
