//! The members of every event class, once: the codecs of JSON and of rows both go through these two tables
//! (docs/storage-layout.md, Events).

use super::json::DecodeError;
use super::{
    EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, ParentInstance, RuntimeStatus, Tags, Timestamp,
    TraceContext,
};

/// The names in `EventType`, by .NET's number. `ExecutionFailed` has a number and no class.
const TYPE_NAMES: [&str; 22] = [
    "ExecutionStarted",
    "ExecutionCompleted",
    "ExecutionFailed",
    "ExecutionTerminated",
    "TaskScheduled",
    "TaskCompleted",
    "TaskFailed",
    "SubOrchestrationInstanceCreated",
    "SubOrchestrationInstanceCompleted",
    "SubOrchestrationInstanceFailed",
    "TimerCreated",
    "TimerFired",
    "OrchestratorStarted",
    "OrchestratorCompleted",
    "EventSent",
    "EventRaised",
    "ContinueAsNew",
    "GenericEvent",
    "HistoryState",
    "ExecutionSuspended",
    "ExecutionResumed",
    "ExecutionRewound",
];

/// The number in messages of an `EventType` name.
pub(crate) fn type_number(name: &str) -> Option<usize> {
    TYPE_NAMES.iter().position(|n| *n == name)
}

/// The `EventType` name of a number.
pub(crate) fn type_name_of(number: usize) -> Option<&'static str> {
    TYPE_NAMES.get(number).copied()
}

/// Something that an event's members can be written to.
pub(crate) trait MemberWriter {
    fn event_type(&mut self, name: &'static str);
    fn text(&mut self, name: &'static str, value: Option<&str>);
    fn int(&mut self, name: &'static str, value: Option<i32>);
    fn flag(&mut self, name: &'static str, value: bool);
    fn time(&mut self, name: &'static str, value: Option<Timestamp>);
    fn status(&mut self, name: &'static str, value: RuntimeStatus);
    fn instance(&mut self, name: &'static str, value: &InstanceRef);
    fn parent(&mut self, name: &'static str, value: Option<&ParentInstance>);
    fn trace(&mut self, name: &'static str, value: Option<&TraceContext>);
    fn failure(&mut self, name: &'static str, value: Option<&FailureDetails>);
    fn tags(&mut self, name: &'static str, value: Option<&Tags>);
    /// JSON kept as text.
    fn json(&mut self, name: &'static str, value: Option<&str>);
}

/// Something that an event's members can be read from. What is absent is `None`.
pub(crate) trait MemberReader {
    fn text(&self, name: &'static str) -> Result<Option<String>, DecodeError>;
    /// A number that may be null.
    fn nullable_int(&self, name: &'static str) -> Result<Option<i32>, DecodeError>;
    /// A number that may be absent but not null.
    fn int(&self, name: &'static str) -> Result<Option<i32>, DecodeError>;
    fn flag(&self, name: &'static str) -> Result<bool, DecodeError>;
    fn time(&self, name: &'static str) -> Result<Option<Timestamp>, DecodeError>;
    fn status(&self, name: &'static str) -> Result<Option<RuntimeStatus>, DecodeError>;
    fn instance(&self, name: &'static str) -> Result<Option<InstanceRef>, DecodeError>;
    fn parent(&self, name: &'static str) -> Result<Option<ParentInstance>, DecodeError>;
    fn trace(&self, name: &'static str) -> Result<Option<TraceContext>, DecodeError>;
    fn failure(&self, name: &'static str) -> Result<Option<FailureDetails>, DecodeError>;
    fn tags(&self, name: &'static str) -> Result<Option<Tags>, DecodeError>;
    /// JSON kept as text.
    fn json(&self, name: &'static str) -> Result<Option<String>, DecodeError>;
    /// What .NET makes of an absent `EventId`: in JSON it depends on the class, in a row it is 0.
    fn absent_event_id(&self, type_name: &str) -> i32;
}

/// Writes all members of an event, in .NET's order.
#[rustfmt::skip]
pub(crate) fn write_event(event: &HistoryEvent, w: &mut dyn MemberWriter) {
    let name = event.kind.type_name();
    match &event.kind {
        // A field, not a property: .NET writes it first.
        EventKind::ExecutionStarted(e) => w.instance("OrchestrationInstance", &e.instance),
        EventKind::Generic { data, .. } => w.text("Data", data.as_deref()),
        _ => {}
    }
    w.event_type(name);
    match &event.kind {
        EventKind::ExecutionStarted(e) => write_started(e, w),
        EventKind::ExecutionCompleted { status, result, failure } | EventKind::ContinueAsNew { status, result, failure } => {
            w.status("OrchestrationStatus", *status);
            w.text("Result", result.as_deref());
            w.failure("FailureDetails", failure.as_ref());
        }
        EventKind::ExecutionTerminated { reason } => w.text("Input", reason.as_deref()),
        EventKind::ExecutionSuspended { reason } | EventKind::ExecutionResumed { reason } => w.text("Reason", reason.as_deref()),
        EventKind::TaskScheduled { name, version, input, trace, tags } => {
            write_named(w, name, version.as_ref(), None, input.as_ref());
            w.trace("ParentTraceContext", trace.as_ref());
            w.tags("Tags", tags.as_ref());
        }
        EventKind::TaskCompleted { task_id, result } | EventKind::SubOrchestrationCompleted { task_id, result } => {
            w.int("TaskScheduledId", Some(*task_id));
            w.text("Result", result.as_deref());
        }
        EventKind::TaskFailed { task_id, reason, details, failure }
        | EventKind::SubOrchestrationFailed { task_id, reason, details, failure } => {
            w.int("TaskScheduledId", Some(*task_id));
            w.text("Reason", reason.as_deref());
            w.text("Details", details.as_deref());
            w.failure("FailureDetails", failure.as_ref());
        }
        EventKind::SubOrchestrationCreated { name, version, instance_id, input, client_span_id, tags } => {
            write_named(w, name, version.as_ref(), Some(instance_id), input.as_ref());
            w.text("ClientSpanId", client_span_id.as_deref());
            w.tags("Tags", tags.as_ref());
        }
        EventKind::TimerCreated { fire_at } => w.time("FireAt", Some(*fire_at)),
        EventKind::TimerFired { timer_id, fire_at } => {
            w.int("TimerId", Some(*timer_id));
            w.time("FireAt", Some(*fire_at));
        }
        EventKind::EventSent { instance_id, name, input } => {
            w.text("InstanceId", Some(instance_id));
            w.text("Name", Some(name));
            w.text("Input", input.as_deref());
        }
        EventKind::EventRaised { name, input, trace } => {
            w.text("Name", Some(name));
            w.text("Input", input.as_deref());
            w.trace("ParentTraceContext", trace.as_ref());
        }
        EventKind::ExecutionRewound { reason, parent_execution_id, instance_id, trace } => {
            w.text("Reason", reason.as_deref());
            w.text("ParentExecutionId", parent_execution_id.as_deref());
            w.text("InstanceId", instance_id.as_deref());
            w.trace("ParentTraceContext", trace.as_ref());
        }
        EventKind::HistoryState { state } => w.json("State", state.as_deref()),
        EventKind::Generic { .. } | EventKind::OrchestratorStarted | EventKind::OrchestratorCompleted => {}
    }
    w.int("EventId", Some(event.event_id));
    w.flag("IsPlayed", event.is_played);
    w.time("Timestamp", Some(event.timestamp));
    // What only we write stands behind all that .NET knows.
    if let EventKind::ExecutionStarted(started) = &event.kind
        && started.level.is_some()
    {
        w.int("Level", started.level);
    }
}

fn write_started(e: &ExecutionStarted, w: &mut dyn MemberWriter) {
    w.parent("ParentInstance", e.parent.as_ref());
    w.text("Name", Some(&e.name));
    w.text("Version", e.version.as_deref());
    w.text("Input", e.input.as_deref());
    w.tags("Tags", e.tags.as_ref());
    w.text("Correlation", e.correlation.as_deref());
    w.trace("ParentTraceContext", e.trace.as_ref());
    w.time("ScheduledStartTime", e.scheduled_start);
    w.int("Generation", e.generation);
    w.flag("GenerateNewTrace", e.generate_new_trace);
}

fn write_named(
    w: &mut dyn MemberWriter,
    name: &str,
    version: Option<&String>,
    instance_id: Option<&String>,
    input: Option<&String>,
) {
    w.text("Name", Some(name));
    w.text("Version", version.map(String::as_str));
    if let Some(id) = instance_id {
        w.text("InstanceId", Some(id));
    }
    w.text("Input", input.map(String::as_str));
}

/// Reads an event of the class that `EventType` names.
pub(crate) fn read_event(type_name: &str, r: &dyn MemberReader) -> Result<HistoryEvent, DecodeError> {
    let kind = read_kind(type_name, r)?;
    Ok(HistoryEvent {
        event_id: r.int("EventId")?.unwrap_or_else(|| r.absent_event_id(type_name)),
        is_played: r.flag("IsPlayed")?,
        // .NET takes the reader's clock; a fixed time that every store can hold repeats.
        timestamp: r.time("Timestamp")?.unwrap_or(Timestamp::UNIX_EPOCH),
        kind,
    })
}

#[rustfmt::skip]
fn read_kind(type_name: &str, r: &dyn MemberReader) -> Result<EventKind, DecodeError> {
    Ok(match type_name {
        "ExecutionStarted" => EventKind::ExecutionStarted(Box::new(read_started(r)?)),
        "ExecutionCompleted" => {
            let (status, result, failure) = read_completed(r)?;
            EventKind::ExecutionCompleted { status, result, failure }
        }
        "ContinueAsNew" => {
            let (status, result, failure) = read_completed(r)?;
            EventKind::ContinueAsNew { status, result, failure }
        }
        "ExecutionTerminated" => EventKind::ExecutionTerminated { reason: r.text("Input")? },
        "ExecutionSuspended" => EventKind::ExecutionSuspended { reason: r.text("Reason")? },
        "ExecutionResumed" => EventKind::ExecutionResumed { reason: r.text("Reason")? },
        "TaskScheduled" => EventKind::TaskScheduled {
            name: required_text(r, "Name")?,
            version: r.text("Version")?,
            input: r.text("Input")?,
            trace: r.trace("ParentTraceContext")?,
            tags: r.tags("Tags")?,
        },
        "TaskCompleted" => EventKind::TaskCompleted { task_id: task_id(r)?, result: r.text("Result")? },
        "TaskFailed" => EventKind::TaskFailed {
            task_id: task_id(r)?,
            reason: r.text("Reason")?,
            details: r.text("Details")?,
            failure: r.failure("FailureDetails")?,
        },
        "SubOrchestrationInstanceCreated" => EventKind::SubOrchestrationCreated {
            name: required_text(r, "Name")?,
            version: r.text("Version")?,
            instance_id: required_text(r, "InstanceId")?,
            input: r.text("Input")?,
            client_span_id: r.text("ClientSpanId")?,
            tags: r.tags("Tags")?,
        },
        "SubOrchestrationInstanceCompleted" => EventKind::SubOrchestrationCompleted { task_id: task_id(r)?, result: r.text("Result")? },
        "SubOrchestrationInstanceFailed" => EventKind::SubOrchestrationFailed {
            task_id: task_id(r)?,
            reason: r.text("Reason")?,
            details: r.text("Details")?,
            failure: r.failure("FailureDetails")?,
        },
        "TimerCreated" => EventKind::TimerCreated { fire_at: fire_at(r)? },
        "TimerFired" => EventKind::TimerFired { timer_id: r.int("TimerId")?.unwrap_or(0), fire_at: fire_at(r)? },
        "OrchestratorStarted" => EventKind::OrchestratorStarted,
        "OrchestratorCompleted" => EventKind::OrchestratorCompleted,
        "EventSent" => EventKind::EventSent {
            instance_id: required_text(r, "InstanceId")?,
            name: required_text(r, "Name")?,
            input: r.text("Input")?,
        },
        "EventRaised" => EventKind::EventRaised {
            name: required_text(r, "Name")?,
            input: r.text("Input")?,
            trace: r.trace("ParentTraceContext")?,
        },
        "GenericEvent" => EventKind::Generic { data: r.text("Data")?, was: None },
        "ExecutionRewound" => EventKind::ExecutionRewound {
            reason: r.text("Reason")?,
            parent_execution_id: r.text("ParentExecutionId")?,
            instance_id: r.text("InstanceId")?,
            trace: r.trace("ParentTraceContext")?,
        },
        "HistoryState" => EventKind::HistoryState { state: r.json("State")? },
        _ => return Err(DecodeError::unknown_event(type_name)),
    })
}

fn read_started(r: &dyn MemberReader) -> Result<ExecutionStarted, DecodeError> {
    Ok(ExecutionStarted {
        instance: r.instance("OrchestrationInstance")?.unwrap_or_default(),
        parent: r.parent("ParentInstance")?,
        name: required_text(r, "Name")?,
        version: r.text("Version")?,
        input: r.text("Input")?,
        tags: r.tags("Tags")?,
        correlation: r.text("Correlation")?,
        trace: r.trace("ParentTraceContext")?,
        scheduled_start: r.time("ScheduledStartTime")?,
        generation: r.nullable_int("Generation")?,
        generate_new_trace: r.flag("GenerateNewTrace")?,
        level: r.nullable_int("Level")?,
    })
}

type Completed = (RuntimeStatus, Option<String>, Option<FailureDetails>);

fn read_completed(r: &dyn MemberReader) -> Result<Completed, DecodeError> {
    // Absent reads as 0 in .NET, which is Running.
    let status = r.status("OrchestrationStatus")?.unwrap_or(RuntimeStatus::Running);
    Ok((status, r.text("Result")?, r.failure("FailureDetails")?))
}

fn task_id(r: &dyn MemberReader) -> Result<i32, DecodeError> {
    Ok(r.int("TaskScheduledId")?.unwrap_or(0))
}

fn fire_at(r: &dyn MemberReader) -> Result<Timestamp, DecodeError> {
    Ok(r.time("FireAt")?.unwrap_or(Timestamp::MIN))
}

/// .NET reads an absent name as null and fails later, or never; an empty name fails as clearly.
fn required_text(r: &dyn MemberReader, name: &'static str) -> Result<String, DecodeError> {
    Ok(r.text(name)?.unwrap_or_default())
}
