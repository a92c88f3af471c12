//! The trace of an execution: what its messages and rows carry on of it, and the spans of what has ended in a turn.

use std::collections::BTreeMap;

use super::Recorder;
use crate::ids::{self, DecisionId};
use crate::model::{
    EventKind, ExecutionStarted, FailureDetails, HistoryEvent, RuntimeStatus, StoredEvent, Timestamp, TraceContext,
};
use crate::traces::{Kind, Span, SpanContext, Status, Value};

/// The span of an execution that was started with a trace.
#[derive(Clone, Debug)]
pub(super) struct OwnSpan {
    /// The span, or where none is exported what is passed on in its stead.
    own: SpanContext,
    /// What it is a part of.
    parent: u64,
    begun: Timestamp,
    /// Whether it is exported, by whoever ends the execution.
    is_exported: bool,
}

impl OwnSpan {
    /// That of an execution whose first turn was at `begun`. `rewound`: how much of it was taken back, so that the span of what failed and that of what went on differ.
    pub(super) fn of(
        started: &ExecutionStarted,
        execution_id: &str,
        begun: Timestamp,
        rewound: u32,
        exports: bool,
    ) -> Option<Self> {
        let carried = started.trace.as_ref()?;
        let parent = SpanContext::of(carried)?;
        let is_exported = exports && parent.is_sampled();
        let persisted = carried.span_id.as_deref().and_then(SpanContext::span_id_of);
        let span_id = match persisted {
            // What failed has been exported under this id.
            Some(id) if rewound > 0 && is_exported && id == derived(execution_id, 0) => derived(execution_id, rewound),
            Some(id) => id,
            None if is_exported => derived(execution_id, rewound),
            None => parent.span_id,
        };
        let begun = carried.activity_start_time.as_deref().and_then(Timestamp::parse).unwrap_or(begun);
        Some(Self { own: parent.with(span_id), parent: parent.span_id, begun, is_exported })
    }

    /// The context of what a decision leads to: a span of its own, or where none is exported that of the execution.
    fn led_to(&self, decision: &str) -> SpanContext {
        if self.is_exported { self.own.with(ids::span_id(decision)) } else { self.own.clone() }
    }

    fn span(&self, context: SpanContext, name: String, kind: Kind, from: Timestamp, ended: Timestamp) -> Span {
        let (attributes, status) = (Vec::new(), Status::Unset);
        Span { context, parent: self.own.span_id, name, kind, begun: from, ended, attributes, status }
    }
}

/// The span of an execution, until its row says otherwise. Derived, so that a turn that is run again gives the same.
fn derived(execution_id: &str, rewound: u32) -> u64 {
    if rewound == 0 { ids::span_id(execution_id) } else { ids::span_id(&format!("{execution_id}/rewound {rewound}")) }
}

/// Writes down in a start that its execution begins now: the ids of its span, and its time, as .NET keeps them in the row.
pub(super) fn begin(stored: &mut StoredEvent, execution_id: &str, now: Timestamp, exports: bool) {
    let EventKind::ExecutionStarted(started) = &mut stored.event.kind else { return };
    let Some(carried) = &mut started.trace else { return };
    (carried.id, carried.span_id, carried.activity_start_time) = (None, None, None);
    let Some(context) = SpanContext::of(carried).filter(|context| exports && context.is_sampled()) else { return };
    let own = context.with(derived(execution_id, 0));
    (carried.id, carried.span_id) = (Some(own.text()), Some(own.span_text()));
    carried.activity_start_time = Some(now.to_message_text().replace('Z', "+00:00"));
}

impl Recorder<'_> {
    /// Writes down what arrives: with a start, that the span of the execution begins.
    pub(super) fn take_in(&mut self, inputs: Vec<StoredEvent>, now: Timestamp) {
        for mut input in inputs {
            begin(&mut input, &self.record.execution_id, now, self.exports);
            self.record.push(input);
        }
        self.find_trace();
    }

    /// Finds the span of the execution that is run now.
    pub(super) fn find_trace(&mut self) {
        let first = self.past.first().or(self.record.events.first()).map(|stored| stored.event.timestamp);
        let begun = first.unwrap_or_else(|| self.now());
        let rewound = self.record.state.taken_back_in_all();
        self.trace = OwnSpan::of(&self.started().event, &self.record.execution_id, begun, rewound, self.exports);
    }

    /// What the message and the row of a decision carry.
    pub(super) fn trace_of(&self, decision: DecisionId) -> Option<TraceContext> {
        self.trace.as_ref().map(|trace| trace.led_to(&decision.text()).carried())
    }

    /// What the row of a sub-orchestration has of the span of its call.
    pub(super) fn client_span_of(&self, decision: DecisionId) -> Option<String> {
        let trace = self.trace.as_ref().filter(|trace| trace.is_exported)?;
        Some(trace.led_to(&decision.text()).span_text())
    }

    /// Ends the spans of what has ended among the new events of the execution.
    pub(super) fn end_spans(&mut self) {
        let Some(trace) = self.trace.clone().filter(|trace| trace.is_exported) else { return };
        let now = self.now();
        let answered: Vec<_> = self.record.events.iter().filter_map(|stored| stored.event.kind.completes()).collect();
        let calls = self.decisions(&answered);
        let spans: Vec<_> = self.record.events.iter().filter_map(|stored| self.span_of(&trace, stored, &calls, now)).collect();
        self.record.spans.extend(spans);
    }

    /// Ends the span of a generation that another replaces.
    pub(super) fn end_generation(&mut self) {
        self.end_spans();
        let Some(trace) = self.trace.clone().filter(|trace| trace.is_exported) else { return };
        let span = self.own_span(&trace, RuntimeStatus::ContinuedAsNew, None, self.now());
        self.record.spans.push(span);
    }

    /// The decisions with these ids: mostly the latest.
    fn decisions(&self, ids: &[i32]) -> BTreeMap<i32, &StoredEvent> {
        let mut found = BTreeMap::new();
        for stored in self.record.events.iter().rev().chain(self.past.iter().rev()) {
            if found.len() == ids.len() {
                break;
            }
            if ids.contains(&stored.event.event_id) {
                found.entry(stored.event.event_id).or_insert(stored);
            }
        }
        found
    }

    /// The span that ends with this event.
    fn span_of(
        &self,
        trace: &OwnSpan,
        stored: &StoredEvent,
        calls: &BTreeMap<i32, &StoredEvent>,
        now: Timestamp,
    ) -> Option<Span> {
        let event = &stored.event;
        match &event.kind {
            EventKind::ExecutionCompleted { status, result, failure } => {
                let why = failure.as_ref().map(|failure| &failure.error_message).or(result.as_ref());
                Some(self.own_span(trace, *status, why.map(String::as_str), now))
            }
            EventKind::EventSent { instance_id, name, .. } if !instance_id.starts_with('@') => {
                let context = trace.led_to(stored.decision_id.as_deref()?);
                let mut span =
                    trace.span(context, format!("orchestration_event:{name}"), Kind::Producer, event.timestamp, event.timestamp);
                span.attributes = Span::attributes("event", name, None, self.instance_id);
                span.attributes.push(("durabletask.task.execution_id", self.record.execution_id.as_str().into()));
                span.attributes.push(("durabletask.event.target_instance_id", instance_id.as_str().into()));
                Some(span)
            }
            kind => self.call_span(trace, event, calls.get(&kind.completes()?)?, now),
        }
    }

    fn own_span(&self, trace: &OwnSpan, status: RuntimeStatus, why: Option<&str>, now: Timestamp) -> Span {
        let started = &self.started().event;
        let (name, version) = (&started.name, started.version.as_deref());
        let title = Span::named("orchestration", name, version);
        let mut span = trace.span(trace.own.clone(), title, Kind::Server, trace.begun, now);
        span.parent = trace.parent;
        span.attributes = Span::attributes("orchestration", name, version, self.instance_id);
        span.attributes.push(("durabletask.task.status", status.name().into()));
        span.status = match status {
            RuntimeStatus::Completed | RuntimeStatus::ContinuedAsNew => Status::Ok,
            RuntimeStatus::Terminated => Status::Error("Terminated".to_owned()),
            _ => Status::Error(why.unwrap_or_default().to_owned()),
        };
        span
    }

    /// The span of a call that this event answers, or of a timer that fires.
    fn call_span(&self, trace: &OwnSpan, answer: &HistoryEvent, call: &StoredEvent, now: Timestamp) -> Option<Span> {
        let (id, scheduled) = (call.event.event_id, call.event.timestamp);
        let task_id = ("durabletask.task.task_id", Value::Number(id.into()));
        // What was scheduled without a span of its own carries that of its orchestration, or of whoever started it.
        let is_own = |context: &SpanContext| context.span_id != trace.own.span_id && context.span_id != trace.parent;
        let mut span = match &call.event.kind {
            EventKind::TaskScheduled { name, version, trace: carried, .. } => {
                let context = carried.as_ref().and_then(SpanContext::of).filter(is_own)?;
                let version = version.as_deref();
                let mut span = trace.span(context, Span::named("activity", name, version), Kind::Client, scheduled, now);
                span.attributes = Span::attributes("activity", name, version, self.instance_id);
                span.attributes.push(task_id);
                span
            }
            EventKind::SubOrchestrationCreated { name, version, client_span_id, .. } => {
                let span_id = SpanContext::span_id_of(client_span_id.as_deref()?)?;
                let mut span = trace.span(trace.own.with(span_id), format!("orchestration:{name}"), Kind::Client, scheduled, now);
                span.attributes = Span::attributes("orchestration", name, version.as_deref(), self.instance_id);
                span
            }
            EventKind::TimerCreated { fire_at } => {
                let name = &self.started().event.name;
                let known = call.decision_id.clone().unwrap_or_else(|| format!("{}/timer {id}", self.record.execution_id));
                let title = format!("orchestration:{name}:timer");
                let mut span = trace.span(trace.led_to(&known), title, Kind::Internal, answer.timestamp, now);
                span.attributes = Span::attributes("timer", name, None, self.instance_id);
                span.attributes.extend([("durabletask.fire_at", Value::Text(fire_at.to_table_text())), task_id]);
                return Some(span);
            }
            _ => return None,
        };
        span.status = status_of(&answer.kind);
        Some(span)
    }
}

/// How a call ended that this answers.
fn status_of(answer: &EventKind) -> Status {
    let words = |failure: &Option<FailureDetails>, reason: &Option<String>| {
        let message = failure.as_ref().map(|failure| failure.error_message.clone());
        Status::Error(message.or_else(|| reason.clone()).unwrap_or_default())
    };
    match answer {
        EventKind::TaskFailed { failure, reason, .. } | EventKind::SubOrchestrationFailed { failure, reason, .. } => {
            words(failure, reason)
        }
        _ => Status::Ok,
    }
}
