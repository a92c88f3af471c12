//! Spans that are kept instead of exported, for tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

/// What was exported. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Exported {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        self.spans().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Exported {
    pub(crate) fn all(&self) -> Vec<SpanData> {
        self.spans().clone()
    }

    fn spans(&self) -> MutexGuard<'_, Vec<SpanData>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
