//! The export of spans by the SDK of OpenTelemetry.
//!
//! Its tracers draw the ids of spans and end a span where it began. Here ids are persisted, and a span may begin in one process and end in
//! another: so finished spans are given to the processor as they are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    FutureExt as _, SpanContext as OtelContext, SpanId, SpanKind, Status as OtelStatus, TraceContextExt as _, TraceFlags,
    TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, Value as OtelValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor};

use super::{Kind, Span, SpanContext, Status, Value, otlp};
use crate::error::{Error, ErrorKind, Result};
use crate::rng::Rng;

/// The name under which .NET emits the same spans: filters and dashboards for it find ours too.
const SCOPE: &str = "DurableTask.Core";
/// The longest text of a span, in bytes. The whole of it is in the history.
const TEXT_MAX: usize = 4096;
/// How long ending waits for a collector.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the spans of hubs go. Cheap to clone.
///
/// Give it to hubs by [`TaskHubBuilder::traces`](crate::TaskHubBuilder::traces). What is still to be exported is sent when the last clone is dropped.
///
/// ```no_run
/// use taskhub::{Storage, TaskHub, traces::Traces};
///
/// # async fn f(storage: Storage) -> Result<(), taskhub::Error> {
/// let traces = Traces::otlp("shop-worker")?;
/// let hub = TaskHub::builder(storage, "Shop").traces(&traces).open().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Traces(Arc<Inner>);

struct Inner {
    processor: Box<dyn SpanProcessor>,
    scope: InstrumentationScope,
    rng: Rng,
}

/// Exports the spans of a hub, if anybody wants them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracer(Option<Traces>);

impl Traces {
    /// Exports over OTLP, as Protobuf over HTTP, to where the variables of OpenTelemetry say: `OTEL_EXPORTER_OTLP_ENDPOINT`, or
    /// `http://localhost:4318`; with `OTEL_EXPORTER_OTLP_HEADERS`. `service` is the name of the program, unless `OTEL_SERVICE_NAME` says otherwise.
    ///
    /// Spans are sent in batches by a thread of their own. Those that no collector takes are lost, and keep nobody waiting.
    ///
    /// # Errors
    /// `Invalid` if the variables name no endpoint that can be.
    pub fn otlp(service: &str) -> Result<Self> {
        otlp::processor(None, service).map(Self::to)
    }

    /// The same to this endpoint, such as `http://collector:4318`, whatever the variables say.
    ///
    /// # Errors
    /// `Invalid` if it is no URL.
    pub fn otlp_to(endpoint: &str, service: &str) -> Result<Self> {
        otlp::processor(Some(endpoint), service).map(Self::to)
    }

    /// Gives finished spans to a processor of the OpenTelemetry SDK, for programs with an exporter of their own. Set its resource first.
    pub fn to(processor: impl SpanProcessor + 'static) -> Self {
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        Self(Arc::new(Inner { processor: Box::new(processor), scope, rng: Rng::system() }))
    }

    /// Sends what is still to be sent, and waits for that, on the thread of the caller.
    ///
    /// # Errors
    /// `Storage` if the collector does not take it.
    pub fn flush(&self) -> Result<()> {
        let failed = |error| Error::new(ErrorKind::Storage, format!("spans could not be exported: {error}"));
        self.0.processor.force_flush().map_err(failed)
    }

    fn export(&self, span: Span) {
        let attribute = |(key, value): (&'static str, Value)| match value {
            Value::Text(text) => KeyValue::new(key, bounded(text)),
            Value::Number(number) => KeyValue::new(key, OtelValue::I64(number)),
        };
        self.0.processor.on_end(SpanData {
            span_context: otel(&span.context, false),
            parent_span_id: SpanId::from(span.parent),
            parent_span_is_remote: span.parent != 0 && matches!(span.kind, Kind::Server),
            span_kind: kind(span.kind),
            name: bounded(span.name).into(),
            start_time: span.begun.into(),
            end_time: span.ended.max(span.begun).into(),
            attributes: span.attributes.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: match span.status {
                Status::Unset => OtelStatus::Unset,
                Status::Ok => OtelStatus::Ok,
                Status::Error(why) => OtelStatus::error(bounded(why)),
            },
            instrumentation_scope: self.0.scope.clone(),
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.processor.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

impl Tracer {
    /// Those of a hub.
    pub(crate) fn of(traces: Option<&Traces>) -> Self {
        Self(traces.cloned())
    }

    /// Whether spans are exported.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn export(&self, spans: impl IntoIterator<Item = Span>) {
        if let Some(traces) = &self.0 {
            spans.into_iter().for_each(|span| traces.export(span));
        }
    }

    /// A new span, and its parent: the one that is given, or else the one that the code of the caller is in; zero if it begins a trace.
    /// `None` if it is not to be exported.
    pub(crate) fn begin(&self, parent: Option<SpanContext>) -> Option<(SpanContext, u64)> {
        let rng = &self.0.as_ref()?.0.rng;
        let span_id = rng.next().max(1);
        match parent.or_else(current) {
            Some(parent) => parent.is_sampled().then(|| (parent.with(span_id), parent.span_id)),
            None => Some((SpanContext { trace_id: rng.uuid().as_u128(), span_id, flags: 1, state: None }, 0)),
        }
    }

    /// Runs code within a span: spans that it begins itself are parts of it.
    pub(crate) fn within<F: Future>(&self, span: &SpanContext, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.with_context(Context::new().with_remote_span_context(otel(span, true)))
    }
}

/// The span that the code of the caller is in.
fn current() -> Option<SpanContext> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    let (trace_id, span_id) = (u128::from_be_bytes(span.trace_id().to_bytes()), u64::from_be_bytes(span.span_id().to_bytes()));
    let state = Some(span.trace_state().header()).filter(|state| !state.is_empty());
    span.is_valid().then(|| SpanContext { trace_id, span_id, flags: span.trace_flags().to_u8(), state })
}

fn otel(context: &SpanContext, is_remote: bool) -> OtelContext {
    // What vendors keep is dropped where it is not as the standard has it.
    let state = context.state.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace, span) = (TraceId::from(context.trace_id), SpanId::from(context.span_id));
    OtelContext::new(trace, span, TraceFlags::new(context.flags), is_remote, state)
}

/// A text of at most so many bytes: some thousand spans may wait for a collector, and one failure may have a text of megabytes.
fn bounded(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.shrink_to_fit();
        text.push('…');
    }
    text
}

fn kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Client => SpanKind::Client,
        Kind::Server => SpanKind::Server,
        Kind::Producer => SpanKind::Producer,
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.0.processor).finish()
    }
}

/// The resource of the program.
pub(super) fn resource(service: &str) -> Resource {
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    let builder = Resource::builder();
    if named { builder.build() } else { builder.with_service_name(service.to_owned()).build() }
}
