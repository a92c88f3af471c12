//! The server of an API that stands by itself: how many connections there may be, and how long one may take to say what it wants.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::Api;

/// In this time the headers of a request have to be there, and so has the next request of a connection that is kept open.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// Those beyond wait until one ends.
const CONNECTIONS_MAX: usize = 4096;
/// How long a server that was told to stop lets requests end.
const GRACE: Duration = Duration::from_secs(10);
/// Between two tries to take a connection where the system gives none, as when there are too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Takes connections for an app until the API stops, and then lets requests end.
pub(super) async fn run(api: &Arc<Api>, app: Router, listener: TcpListener) -> io::Result<()> {
    let (places, connections, gone) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new(), CancellationToken::new());
    // Whoever drops this future takes the connections with it.
    let _gone = gone.clone().drop_guard();
    while let Some((stream, peer, place)) = next(api, &listener, &places).await {
        let (app, stopping, gone) = (app.clone(), api.stopping.clone(), gone.clone());
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = connection(app, stopping, stream, peer) => {}
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    drop(tokio::time::timeout(GRACE, connections.wait()).await);
    Ok(())
}

/// The next connection, and its place among those that may be; `None` once the API stops.
async fn next(
    api: &Api,
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let taking = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, place)),
                // That client has gone again.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken; tried again");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = api.stopping.cancelled() => None,
        taken = taking => taken,
    }
}

/// The requests of one connection, one after the other.
async fn connection(app: Router, stopping: CancellationToken, stream: TcpStream, peer: SocketAddr) {
    // Without it short answers may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.call(request.map(Body::new))
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
