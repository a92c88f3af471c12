//! Traces: spans named, linked and persisted as those of `DurableTask.Core`, so that a trace crosses workers of both (docs/observability.md, Traces).
//!
//! With the feature `otel` they are exported; without it the context of an instance that was started with one is passed on unchanged.

mod context;
mod span;

#[cfg(all(test, feature = "otel"))]
mod collector;
#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
#[path = "nothing.rs"]
mod export;
#[cfg(all(test, feature = "otel"))]
pub(crate) mod kept;
#[cfg(feature = "otel")]
mod otlp;

#[cfg(test)]
mod tests;

pub(crate) use context::SpanContext;
pub(crate) use export::Tracer;
#[cfg(feature = "otel")]
pub use export::Traces;
pub(crate) use span::{Kind, Span, Status, Value};
