//! Strategies of arbitrary events and messages, for the property tests of every codec.

use proptest::collection::btree_map;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::write::untyped;
use crate::model::{
    ChildCall, Descendants, EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, Message, ParentInstance,
    Properties, RuntimeStatus, Sender, Tags, Timestamp, TraceContext,
};

/// Any text, often with what JSON and XML find hard.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 ]{0,12}",
        "\\PC{0,8}",
        "[\\x00-\\x1f\"\\\\\u{7f}\u{85}\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}😀<>&']{0,8}",
        Just("null".to_owned()),
        Just("{\"$type\":\"X\"}".to_owned()),
        Just("\\ud800".to_owned()),
    ]
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.ticks()).prop_map(Timestamp::from_ticks)
}

fn instance() -> impl Strategy<Value = InstanceRef> {
    (text(), of(text())).prop_map(|(instance_id, execution_id)| InstanceRef { instance_id, execution_id })
}

/// `$type` is no tag to .NET either.
fn tags() -> impl Strategy<Value = Tags> {
    btree_map(text(), text(), 0..4)
}

fn trace() -> impl Strategy<Value = TraceContext> {
    (of(text()), of(text()), of(text()), of(text()), of(text())).prop_map(
        |(trace_parent, trace_state, id, span_id, activity_start_time)| TraceContext {
            trace_parent,
            trace_state,
            id,
            span_id,
            activity_start_time,
        },
    )
}

fn object() -> impl Strategy<Value = String> {
    let leaf = || {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from)
        ]
    };
    let nested = (text(), leaf()).prop_map(|(name, value)| json!({ name: [value, 1.5] }));
    btree_map(text(), prop_oneof![leaf(), nested], 0..4).prop_map(|map| {
        let object: Map<String, Value> = map.into_iter().collect();
        // As it comes out of every codec.
        untyped(&Value::Object(object).to_string())
    })
}

fn failure() -> impl Strategy<Value = FailureDetails> {
    let one = || {
        (text(), text(), of(text()), any::<bool>(), of(object())).prop_map(
            |(error_type, error_message, stack_trace, is_non_retriable, properties)| FailureDetails {
                error_type,
                error_message,
                stack_trace,
                inner: None,
                is_non_retriable,
                properties: properties.as_deref().map(Properties::of_dictionary),
            },
        )
    };
    (one(), of(one())).prop_map(|(outer, inner)| FailureDetails { inner: inner.map(Box::new), ..outer })
}

fn status() -> impl Strategy<Value = RuntimeStatus> {
    (0..RuntimeStatus::ALL.len()).prop_map(|i| RuntimeStatus::ALL[i])
}

fn started() -> impl Strategy<Value = EventKind> {
    let parent = (of(text()), instance(), any::<i32>(), of(text()))
        .prop_map(|(name, instance, task_id, version)| ParentInstance { name, instance, task_id, version });
    let first = (instance(), of(parent), text(), of(text()), of(text()), of(tags()));
    let second = (of(text()), of(trace()), of(timestamp()), of(any::<i32>()), any::<bool>(), of(any::<i32>()));
    (first, second).prop_map(|((instance, parent, name, version, input, tags), rest)| {
        let (correlation, trace, scheduled_start, generation, generate_new_trace, level) = rest;
        EventKind::ExecutionStarted(Box::new(ExecutionStarted {
            instance,
            parent,
            name,
            version,
            input,
            tags,
            correlation,
            trace,
            scheduled_start,
            generation,
            generate_new_trace,
            level,
        }))
    })
}

fn kind() -> impl Strategy<Value = EventKind> {
    let completed = || (status(), of(text()), of(failure()));
    let failed = || (any::<i32>(), of(text()), of(text()), of(failure()));
    prop_oneof![
        started(),
        completed().prop_map(|(status, result, failure)| EventKind::ExecutionCompleted { status, result, failure }),
        completed().prop_map(|(status, result, failure)| EventKind::ContinueAsNew { status, result, failure }),
        of(text()).prop_map(|reason| EventKind::ExecutionTerminated { reason }),
        of(text()).prop_map(|reason| EventKind::ExecutionSuspended { reason }),
        of(text()).prop_map(|reason| EventKind::ExecutionResumed { reason }),
        (text(), of(text()), of(text()), of(trace()), of(tags()))
            .prop_map(|(name, version, input, trace, tags)| EventKind::TaskScheduled { name, version, input, trace, tags }),
        (any::<i32>(), of(text())).prop_map(|(task_id, result)| EventKind::TaskCompleted { task_id, result }),
        failed().prop_map(|(task_id, reason, details, failure)| EventKind::TaskFailed { task_id, reason, details, failure }),
        (text(), of(text()), text(), of(text()), of(text()), of(tags())).prop_map(
            |(name, version, instance_id, input, client_span_id, tags)| EventKind::SubOrchestrationCreated {
                name,
                version,
                instance_id,
                input,
                client_span_id,
                tags
            }
        ),
        (any::<i32>(), of(text())).prop_map(|(task_id, result)| EventKind::SubOrchestrationCompleted { task_id, result }),
        failed().prop_map(|(task_id, reason, details, failure)| EventKind::SubOrchestrationFailed {
            task_id,
            reason,
            details,
            failure
        }),
        timestamp().prop_map(|fire_at| EventKind::TimerCreated { fire_at }),
        (any::<i32>(), timestamp()).prop_map(|(timer_id, fire_at)| EventKind::TimerFired { timer_id, fire_at }),
        prop_oneof![Just(EventKind::OrchestratorStarted), Just(EventKind::OrchestratorCompleted)],
        (text(), text(), of(text())).prop_map(|(instance_id, name, input)| EventKind::EventSent { instance_id, name, input }),
        (text(), of(text()), of(trace())).prop_map(|(name, input, trace)| EventKind::EventRaised { name, input, trace }),
        of(text()).prop_map(|data| EventKind::Generic { data, was: None }),
        (of(text()), of(text()), of(text()), of(trace())).prop_map(|(reason, parent_execution_id, instance_id, trace)| {
            EventKind::ExecutionRewound { reason, parent_execution_id, instance_id, trace }
        }),
        of(object()).prop_map(|state| EventKind::HistoryState { state }),
    ]
}

/// Any event.
pub(crate) fn event() -> impl Strategy<Value = HistoryEvent> {
    (any::<i32>(), any::<bool>(), timestamp(), kind()).prop_map(|(event_id, is_played, timestamp, kind)| HistoryEvent {
        event_id,
        is_played,
        timestamp,
        kind,
    })
}

/// Any message.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let sender = (text(), of(text())).prop_map(|(instance_id, execution_id)| Sender { instance_id, execution_id });
    let descendants = of(prop_oneof![Just(Descendants::Attached), Just(Descendants::All)]);
    let call = (text(), any::<i32>()).prop_map(|(execution_id, task_id)| ChildCall { execution_id, task_id });
    let ours = (of(text()), of(0..=u32::MAX >> 1), descendants, of(call), any::<bool>());
    (any::<u128>(), event(), instance(), of(tags()), any::<i64>(), of(any::<i32>()), sender, ours).prop_map(
        |(
            id,
            event,
            target,
            context_tags,
            sequence_number,
            episode,
            sender,
            (decision_id, attempt, descendants, call, seen_before),
        )| Message {
            activity_id: Uuid::from_u128(id),
            event,
            target,
            context_tags,
            sequence_number,
            episode,
            sender,
            decision_id,
            attempt,
            descendants,
            call,
            seen_before,
        },
    )
}
