//! Batches of spans on their way to a collector, over OTLP.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanExporter as Exporter, SpanProcessor};

use super::export::resource;
use crate::error::{Error, ErrorKind, Result};

/// The path of traces behind an endpoint.
const PATH: &str = "/v1/traces";

/// A processor that sends batches to this endpoint, or to that of the variables.
pub(super) fn processor(endpoint: Option<&str>, service: &str) -> Result<impl SpanProcessor + use<>> {
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    let exporter = match endpoint {
        Some(endpoint) => exporter.with_endpoint(format!("{}{PATH}", endpoint.trim_end_matches('/'))),
        None => exporter,
    };
    let refused = |error| {
        let words = format!("spans cannot be exported: {error}; give an endpoint such as http://localhost:4318");
        Error::new(ErrorKind::Invalid, words)
    };
    let exporter = Told { exporter: exporter.build().map_err(refused)?, failures: AtomicU64::new(0) };
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource(service));
    Ok(processor)
}

/// Tells when a collector does not take spans, and when it does again: nothing else would, and they are lost.
#[derive(Debug)]
struct Told {
    exporter: SpanExporter,
    /// In a row.
    failures: AtomicU64,
}

impl Exporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) => {
                let failures = self.failures.swap(0, Relaxed);
                if failures > 0 {
                    tracing::info!(failures, "spans are exported again");
                }
            }
            // At the first failure, and then after twice as many each time.
            Err(error) => {
                let failures = self.failures.fetch_add(1, Relaxed) + 1;
                if failures.is_power_of_two() {
                    tracing::warn!(%error, failures, spans, "spans could not be exported and are lost");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
