//! The metrics of a program, and the page that shows them.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use metrics::{Key, KeyName, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use super::instruments::METADATA;
use super::{ALL, LIVE, Live, MEMORY, MetricKind, process, server};
use crate::error::{Error, ErrorKind, Result};
use crate::usage::Prices;

/// The metrics of one or several hubs, as they are measured in this process. Cheap to clone.
///
/// Give it to hubs by [`TaskHubBuilder::metrics`](crate::TaskHubBuilder::metrics). Names, labels and what it costs: docs/observability.md.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: Box<dyn Recorder + Send + Sync>,
    /// Of what is shown on a page here.
    page: Option<PrometheusHandle>,
    prices: Prices,
    /// Durations since the page was last kept small.
    recorded: AtomicU64,
}

/// Where the buckets of durations end, in seconds.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// The recorder of Prometheus keeps each duration until somebody looks; after so many it is told to add them up.
const RECORDED_MAX: u64 = 8192;

impl Metrics {
    /// Metrics on a [page](Self::page) for Prometheus.
    #[must_use]
    pub fn prometheus() -> Self {
        let builder = PrometheusBuilder::new();
        // Refused only if there are no buckets.
        let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
        let recorder = builder.unwrap_or_default().build_recorder();
        let page = recorder.handle();
        Self::new(recorder, Some(page))
    }

    /// Metrics for a recorder of the `metrics` crate: for programs that export theirs in another way. Names are those of Prometheus, and durations
    /// are in seconds. The recorder need not be the global one.
    pub fn to(recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Self::new(recorder, None)
    }

    fn new(recorder: impl Recorder + Send + Sync + 'static, page: Option<PrometheusHandle>) -> Self {
        for metric in ALL {
            let (name, help) = (KeyName::from_const_str(metric.name), metric.help.into());
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name, None, help),
                MetricKind::Gauge => recorder.describe_gauge(name, None, help),
                MetricKind::Seconds => recorder.describe_histogram(name, Some(metrics::Unit::Seconds), help),
            }
        }
        Self(Arc::new(Inner { recorder: Box::new(recorder), page, prices: Prices::default(), recorded: AtomicU64::new(0) }))
    }

    /// What storage calls cost, for `taskhub_storage_cost`; the default of [`Prices`] unless it is set. For metrics that no hub was
    /// given yet: clones keep the prices that they had.
    #[must_use]
    pub fn prices(self, prices: Prices) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Self(Arc::new(Inner { prices, ..inner })),
            Err(shared) => Self(shared),
        }
    }

    /// The page: the text format of Prometheus, version 0.0.4. Empty for metrics that go [to a recorder](Self::to).
    #[must_use]
    pub fn page(&self) -> String {
        let Some(page) = &self.0.page else { return String::new() };
        self.watch_process();
        page.render()
    }

    /// Serves the [page](Self::page) under `/metrics` until `shutdown` completes. Whoever reaches the listener may read it: it tells names of
    /// orchestrators and activities, and figures.
    ///
    /// # Errors
    /// `Invalid` for metrics without a page; `Storage` if the listener fails.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<()> {
        if self.0.page.is_none() {
            let words = "these metrics go to a recorder and have no page; make them by `Metrics::prometheus`, or serve what the recorder has";
            return Err(Error::new(ErrorKind::Invalid, words));
        }
        let failed = |error| Error::new(ErrorKind::Storage, format!("the listener of the metrics failed: {error}"));
        let serving = server::run(listener, self);
        tokio::select! {
            biased;
            () = shutdown => Ok(()),
            served = serving => served.map_err(failed),
        }
    }

    pub(super) fn recorder(&self) -> &(dyn Recorder + Send + Sync) {
        &*self.0.recorder
    }

    pub(crate) fn prices_of_calls(&self) -> &Prices {
        &self.0.prices
    }

    /// A duration was recorded.
    pub(super) fn has_recorded(&self) {
        let Some(page) = &self.0.page else { return };
        if self.0.recorded.fetch_add(1, Relaxed) % RECORDED_MAX == RECORDED_MAX - 1 {
            page.run_upkeep();
        }
    }

    /// Looks at what is of the process.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn watch_process(&self) {
        let set = |name, value: u64| self.recorder().register_gauge(&Key::from_static_name(name), &METADATA).set(value as f64);
        set(LIVE.name, Live::count() as u64);
        if let Some(bytes) = process::resident_bytes() {
            set(MEMORY.name, bytes);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("has_page", &self.0.page.is_some()).finish_non_exhaustive()
    }
}
