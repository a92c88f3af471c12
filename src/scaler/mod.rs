//! An external scaler for KEDA: how many workers a hub needs, over gRPC, by the rule of the scaler that serves .NET's workers.
//!
//! [KEDA](https://keda.sh) asks such a scaler whether anything is to be done, and how much, and sets the replicas of a Kubernetes deployment by the
//! answer, down to none. The rule is that of [`Capacity`]; how to deploy it, in `docs/kubernetes.md`.

mod looks;
mod protocol;
mod rule;
mod service;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::Service as _;

pub use self::rule::Capacity;

use self::looks::Looks;
use self::service::Service;
use crate::client::Client;
use crate::connections::{self, Connection, FEW};

/// Requests that one connection may have under way; KEDA has one or two.
const REQUESTS_A_CONNECTION: u32 = 16;
/// An idle connection is asked whether it is still there, and is closed without an answer.
const PING_EVERY: Duration = Duration::from_secs(60);

/// Serves KEDA for one task hub.
///
/// It needs no worker, reads only the lengths of the queues, and makes one call for each of them, at most every five seconds however many ask.
///
/// ```no_run
/// # async fn run(client: taskhub::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:9090").await?;
/// taskhub::scaler::Scaler::new(&client).serve(listener, taskhub::shutdown_signal()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Scaler {
    looks: Looks,
    capacity: Capacity,
}

impl Scaler {
    /// A scaler of this hub.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self { looks: Looks::new(client), capacity: Capacity::default() }
    }

    /// What one worker takes on, where a scaled object does not say: ten activities and five orchestrations unless set, as in the scaler for .NET.
    #[must_use]
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Answers over gRPC, in plain HTTP/2, until `shutdown` completes; then it takes no more connections, ends streams, and lets other requests end
    /// for ten seconds. Of 128 connections the oldest gives way to a newer one.
    ///
    /// # Errors
    /// What the listener fails with.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let stopping = CancellationToken::new();
        let service = Service::new(self.looks, self.capacity, stopping.clone());
        let stop = async {
            shutdown.await;
            stopping.cancel();
        };
        connections::serve(listener, FEW, stop, |taken| connection(taken, service.clone(), stopping.clone())).await
    }
}

/// The requests of one connection.
async fn connection(Connection { stream, .. }: Connection, service: Service, stopping: CancellationToken) {
    // Without it short answers may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| service.clone().call(request.map(Body::new)));
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).max_concurrent_streams(REQUESTS_A_CONNECTION);
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
