//! The page of metrics that a worker serves while it runs.

use std::net::SocketAddr;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::net::TcpListener;

use crate::error::{Error, ErrorKind, Result};
use crate::hub::Hub;
use crate::metrics::Metrics;

/// What a worker serves, and where; nothing unless it was told to.
#[derive(Debug)]
pub(super) struct Page(Option<(Metrics, SocketAddr)>);

impl Page {
    /// Fails if the hub has no metrics to be served.
    pub(super) fn of(hub: &Hub, address: Option<SocketAddr>) -> Result<Self> {
        let Some(address) = address else { return Ok(Self(None)) };
        let Some(metrics) = hub.metrics.metrics() else {
            let words =
                "the worker is to serve metrics, but its hub was opened without any; open it with `TaskHubBuilder::metrics`";
            return Err(Error::new(ErrorKind::Invalid, words));
        };
        Ok(Self(Some((metrics.clone(), address))))
    }

    /// Listens, and gives what serves until it is dropped. A listener that fails later costs the page, and not the worker.
    pub(super) async fn serve(&self) -> Result<BoxFuture<'static, ()>> {
        let Self(page) = self;
        let listening = match page {
            None => None,
            Some((metrics, address)) => {
                let failed =
                    |error| Error::new(ErrorKind::Invalid, format!("nothing can listen on {address} for metrics: {error}"));
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                tracing::info!(%address, "metrics are served");
                Some((metrics.clone(), listener))
            }
        };
        let serving = async {
            if let Some((metrics, listener)) = listening
                && let Err(error) = metrics.serve(listener, std::future::pending()).await
            {
                tracing::warn!(%error, "metrics are not served any more");
            }
            std::future::pending().await
        };
        Ok(serving.boxed())
    }
}
