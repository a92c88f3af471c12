//! Instruments: handles that are had once and cost an atomic addition each time, or nothing if nobody looks.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata};
use tokio::time::Instant;

use super::{Metric, Metrics};

pub(super) const METADATA: Metadata<'static> = Metadata::new("taskhub", Level::INFO, None);

/// Where the metrics of a hub go, if anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink(Option<(Metrics, String)>);

/// Counts.
#[derive(Clone, Debug)]
pub(crate) struct Counter(metrics::Counter);

/// Shows a number.
#[derive(Clone, Debug)]
pub(crate) struct Gauge(metrics::Gauge);

/// Collects durations.
#[derive(Clone, Debug)]
pub(crate) struct Histogram(metrics::Histogram, Sink);

/// Measures how long something takes, if anybody looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Option<Instant>);

/// Stands for an execution that stays in memory, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Live(());

/// How many of them there are.
static LIVE: AtomicUsize = AtomicUsize::new(0);

impl Sink {
    /// Those of the hub of this name.
    pub(crate) fn of_hub(metrics: Option<&Metrics>, hub: &str) -> Self {
        Self(metrics.map(|metrics| (metrics.clone(), hub.to_owned())))
    }

    /// Whether anybody looks.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Where they are shown.
    pub(crate) fn metrics(&self) -> Option<&Metrics> {
        self.0.as_ref().map(|(metrics, _)| metrics)
    }

    pub(crate) fn counter(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Counter {
        let register = |(metrics, key): (&Metrics, Key)| metrics.recorder().register_counter(&key, &METADATA);
        Counter(self.key(metric, labels).map_or_else(metrics::Counter::noop, register))
    }

    pub(crate) fn gauge(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Gauge {
        let register = |(metrics, key): (&Metrics, Key)| metrics.recorder().register_gauge(&key, &METADATA);
        Gauge(self.key(metric, labels).map_or_else(metrics::Gauge::noop, register))
    }

    pub(crate) fn histogram(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Histogram {
        let register = |(metrics, key): (&Metrics, Key)| metrics.recorder().register_histogram(&key, &METADATA);
        Histogram(self.key(metric, labels).map_or_else(metrics::Histogram::noop, register), self.clone())
    }

    fn key(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Option<(&Metrics, Key)> {
        let (metrics, hub) = self.0.as_ref()?;
        let labels = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()));
        let labels: Vec<_> = std::iter::once(Label::new("hub", hub.clone())).chain(labels).collect();
        Some((metrics, Key::from_parts(KeyName::from_const_str(metric.name), labels)))
    }

    /// Looks at what is of the process and not of one hub: where nobody asks for a page, somebody has to do so now and then.
    pub(crate) fn watch_process(&self) {
        if let Some(metrics) = self.metrics() {
            metrics.watch_process();
        }
    }
}

impl Counter {
    pub(crate) fn one_more(&self) {
        self.0.increment(1);
    }
}

impl Gauge {
    pub(crate) fn set(&self, value: f64) {
        self.0.set(value);
    }

    pub(crate) fn add(&self, value: f64) {
        self.0.increment(value);
    }
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        if let Some(metrics) = self.1.metrics() {
            self.0.record(duration.as_secs_f64());
            metrics.has_recorded();
        }
    }
}

impl Stopwatch {
    pub(crate) fn start(sink: &Sink) -> Self {
        Self(sink.is_on().then(Instant::now))
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.map(|begun| begun.elapsed()).unwrap_or_default()
    }
}

impl Live {
    pub(crate) fn begin() -> Self {
        LIVE.fetch_add(1, Relaxed);
        Self(())
    }

    /// How many there are in this process.
    pub(super) fn count() -> usize {
        LIVE.load(Relaxed)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Relaxed);
    }
}
