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

use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::rule::Capacity;

use self::looks::Looks;
use self::service::Service;
use crate::client::Client;

/// Requests that one connection may have under way; KEDA has one or two.
const REQUESTS_A_CONNECTION: usize = 16;
/// How long a server that was told to stop lets requests end.
const GRACE: Duration = Duration::from_secs(10);
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
    /// for ten seconds.
    ///
    /// # Errors
    /// What the listener fails with.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let incoming = futures::stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        // A client that has gone before it was taken is no fault of the listener.
        let incoming = incoming.filter(|accepted| std::future::ready(accepted.is_ok()));
        let stopping = CancellationToken::new();
        let service = Service::new(self.looks, self.capacity, stopping.clone());
        let server = tonic::transport::Server::builder()
            .concurrency_limit_per_connection(REQUESTS_A_CONNECTION)
            .http2_keepalive_interval(Some(PING_EVERY))
            .serve_with_incoming_shutdown(service, incoming.boxed(), stopping.cancelled());
        let told_to_stop = async {
            shutdown.await;
            stopping.cancel();
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            served = server => served.map_err(io::Error::other),
            () = told_to_stop => Ok(()),
        }
    }
}
