//! Instruments without the feature `metrics`: they take up no room, and do nothing.

use std::time::Duration;

use super::Metric;

/// Where metrics go: nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink(());

/// Counts nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter;

/// Shows nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge;

/// Collects nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram;

/// Measures nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch;

/// Stands for nothing that is counted.
#[derive(Debug)]
pub(crate) struct Live;

impl Sink {
    /// Whether anybody looks.
    pub(crate) const fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn counter(&self, _: &Metric, _: &[(&'static str, &str)]) -> Counter {
        Counter
    }

    pub(crate) fn gauge(&self, _: &Metric, _: &[(&'static str, &str)]) -> Gauge {
        Gauge
    }

    pub(crate) fn histogram(&self, _: &Metric, _: &[(&'static str, &str)]) -> Histogram {
        Histogram
    }

    pub(crate) fn watch_process(&self) {}
}

impl Counter {
    pub(crate) fn one_more(&self) {}
}

impl Gauge {
    pub(crate) fn set(&self, _: f64) {}

    pub(crate) fn add(&self, _: f64) {}
}

impl Histogram {
    pub(crate) fn record(&self, _: Duration) {}
}

impl Stopwatch {
    pub(crate) fn start(_: &Sink) -> Self {
        Self
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::ZERO
    }
}

impl Live {
    pub(crate) fn begin() -> Self {
        Self
    }
}
