//! Spans of what a client sends.

use super::Client;
use crate::model::{EventKind, ExecutionStarted, Message, TraceContext};
use crate::traces::{Kind, Span, SpanContext, Status, Value};

/// The span of a start or an event that is being sent, if it is to be exported.
#[derive(Debug)]
#[must_use = "it ends when what it is about has been sent"]
pub(super) struct Sending(Option<Box<Span>>);

impl Client {
    /// Begins to start an instance, as a part of the trace that it was given or of the span that the caller is in.
    pub(super) fn begin_to_start(&self, start: &mut ExecutionStarted) -> Sending {
        let Some(mut span) = self.begin_to_send(&mut start.trace) else { return Sending(None) };
        let version = start.version.as_deref();
        span.name = Span::named("create_orchestration", &start.name, version);
        span.attributes = Span::attributes("orchestration", &start.name, version, &start.instance.instance_id);
        span.attributes.extend(start.instance.execution_id.as_deref().map(|id| ("durabletask.task.execution_id", id.into())));
        Sending(Some(Box::new(span)))
    }

    /// The same for an event. Entities have spans of their own.
    pub(super) fn begin_to_raise(&self, message: &mut Message) -> Sending {
        let instance_id = &message.target.instance_id;
        let EventKind::EventRaised { name, trace, .. } = &mut message.event.kind else { return Sending(None) };
        if instance_id.starts_with('@') {
            return Sending(None);
        }
        let Some(mut span) = self.begin_to_send(trace) else { return Sending(None) };
        span.name = format!("orchestration_event:{name}");
        span.attributes = vec![
            ("durabletask.type", "event".into()),
            ("durabletask.task.name", name.as_str().into()),
            ("durabletask.event.target_instance_id", Value::from(instance_id.as_str())),
        ];
        Sending(Some(Box::new(span)))
    }

    /// It has been sent.
    pub(super) fn has_sent(&self, Sending(span): Sending) {
        let ended = self.hub.now();
        self.hub.tracer.export(span.map(|span| Span { ended, ..*span }));
    }

    /// Begins a span, which the message carries then.
    fn begin_to_send(&self, carried: &mut Option<TraceContext>) -> Option<Span> {
        let given = carried.as_ref().and_then(SpanContext::of);
        let (context, parent) = self.hub.tracer.begin(given)?;
        *carried = Some(context.carried());
        let (begun, status) = (self.hub.now(), Status::Unset);
        let (name, attributes) = (String::new(), Vec::new());
        Some(Span { context, parent, name, kind: Kind::Producer, begun, ended: begun, attributes, status })
    }
}
