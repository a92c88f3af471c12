//! The server of an API that stands by itself: how many connections there may be, and how long one may take to say what it wants.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use crate::connections::{self, Connection};

/// In this time the headers of a request have to be there, and so has the next request of a connection that is kept open.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// Of those beyond, one gives way that has no request under way.
const CONNECTIONS_MAX: usize = 4096;

/// Takes connections for an app until the API stops, and then lets requests end.
pub(super) async fn run(api: &Arc<Api>, app: Router, listener: TcpListener) -> io::Result<()> {
    let connection = |taken| connection(app.clone(), api.stopping.clone(), taken);
    connections::serve(listener, CONNECTIONS_MAX, api.stopping.cancelled(), connection).await
}

/// The requests of one connection, one after the other.
async fn connection(app: Router, stopping: CancellationToken, Connection { stream, peer, busy }: Connection) {
    // Without it short answers may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (answering, busy) = (app.call(request.map(Body::new)), Arc::clone(&busy));
        // The request is under way until the last of its answer is on its way.
        async move { Ok::<_, Infallible>(answering.await?.map(|body| until_told(body, busy))) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// A body that keeps something until all of it has been told.
fn until_told<T: Send + 'static>(body: Body, kept: T) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _ = &kept;
        frame
    }))
}
