//! Batches of spans on their way to a collector, over OTLP.

use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};

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
    let mut processor = BatchSpanProcessor::builder(exporter.build().map_err(refused)?).build();
    processor.set_resource(&resource(service));
    Ok(processor)
}
