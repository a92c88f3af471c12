//! Tests of the row codec; its agreement with .NET is tested against recordings, in `hub::golden`.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::EventKind;
use crate::model::json::arbitrary;

fn row(event_type: &str) -> Entity {
    Entity::new("i", row_key(0)).with("EventType", Value::string(event_type))
}

#[test]
fn row_keys_sort_by_ordinal_and_before_the_sentinel() {
    assert_eq!(row_key(10), "000000000000000A");
    assert!(row_key(9) < row_key(10) && row_key(255) < row_key(256) && row_key(u64::MAX).as_str() < SENTINEL);
}

#[test]
fn absent_columns_read_as_dotnet_reads_them() {
    let event = event_from_entity(&row("TaskCompleted")).unwrap().event;
    assert_eq!((event.event_id, event.is_played, event.kind), (0, false, EventKind::TaskCompleted { task_id: 0, result: None }));
    let completed = event_from_entity(&row("ExecutionCompleted").with("OrchestrationStatus", Value::string("3"))).unwrap();
    assert!(matches!(completed.event.kind, EventKind::ExecutionCompleted { status: RuntimeStatus::Failed, .. }));
    assert!(matches!(event_from_entity(&row("12")).unwrap().event.kind, EventKind::OrchestratorStarted));
    for text in ["", "null"] {
        let started = row("ExecutionStarted").with("ParentInstance", Value::string(text)).with("Tags", Value::string(text));
        let EventKind::ExecutionStarted(started) = event_from_entity(&started).unwrap().event.kind else { panic!() };
        assert_eq!((started.parent, started.tags), (None, None));
    }
    let parent = r#"{"name":"p","orchestrationInstance":{"instanceId":"i"},"taskScheduleId":3}"#;
    let started = row("ExecutionStarted").with("ParentInstance", Value::string(parent));
    let EventKind::ExecutionStarted(started) = event_from_entity(&started).unwrap().event.kind else { panic!() };
    assert_eq!(started.parent.unwrap().task_id, 3);
}

#[test]
fn a_rewound_row_is_a_generic_event_whatever_columns_it_has() {
    let rewound = row("GenericEvent")
        .with("OrchestrationStatus", Value::string("Failed"))
        .with("TaskScheduledId", Value::I32(3))
        .with("Reason", Value::string("Rewound: TaskFailed"));
    let failed = EventKind::TaskFailed { task_id: 3, reason: None, details: None, failure: None };
    let event = event_from_entity(&rewound).unwrap().event;
    assert_eq!(event.before_rewind().map(|event| event.kind), Some(failed));
    assert_eq!(event.kind.type_name(), "GenericEvent");
    let unreadable = rewound.with("Reason", Value::string("Rewound: Nothing"));
    assert_eq!(event_from_entity(&unreadable).unwrap().event.kind, EventKind::Generic { data: None, was: None });
}

#[test]
fn what_cannot_be_read_is_named() {
    for (row, said) in [
        (Entity::new("i", "0"), "EventType: missing"),
        (row("ExecutionFailed"), "\"ExecutionFailed\" is no event"),
        (row("taskcompleted"), "\"taskcompleted\" is no event"),
        (row("TaskCompleted").with("TaskScheduledId", Value::I64(1)), "TaskScheduledId: an Edm.Int64 where an Edm.Int32"),
        (row("TimerFired").with("_Timestamp", Value::string("x")), "_Timestamp: an Edm.String"),
        (row("ExecutionCompleted").with("OrchestrationStatus", Value::string("completed")), "\"completed\" is not a status"),
        (row("TaskFailed").with("FailureDetails", Value::string("{")), "FailureDetails: not JSON"),
        (row("EventRaised").with("MessageId", Value::string("x")), "MessageId: \"x\" is not a GUID"),
    ] {
        let error = event_from_entity(&row).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_sentinel_of_dotnet_has_nothing_of_ours() {
    let entity = Entity::new("i", SENTINEL)
        .with("ExecutionId", Value::string("e"))
        .with("IsCheckpointComplete", Value::Bool(true))
        .with("Foreign", Value::I64(1));
    let sentinel = sentinel_from_entity(&entity).unwrap();
    assert_eq!(sentinel, Sentinel { execution_id: "e".to_owned(), is_complete: true, ..Sentinel::default() });
    assert!(sentinel_from_entity(&entity.with("Taskhub", Value::string("[]x"))).is_err());
}

#[test]
fn a_sentinel_survives_with_all_that_it_keeps() {
    let sentinel = Sentinel {
        execution_id: "e".to_owned(),
        is_complete: true,
        completed_at: Some(Timestamp::UNIX_EPOCH),
        applied: vec![Uuid::from_u128(1), Uuid::from_u128(2)],
        superseded: vec!["old \"one\"".to_owned()],
        commit: Some("c-0".to_owned()),
        custom_status: Some("{\"at\":1}".to_owned()),
        has_ended: true,
        remainder: Some(Remainder::default()),
        has_parked: false,
        is_fence: false,
    };
    let mut entity = sentinel_to_entity("i", &sentinel);
    assert_eq!(sentinel_from_entity(&entity), Ok(sentinel.clone()));
    assert_eq!(
        entity.text("Taskhub"),
        Some(
            r#"{"applied":["00000000000000000000000000000001","00000000000000000000000000000002"],"superseded":["old \"one\""],"custom_status":"{\"at\":1}","ended":true,"remainder":{"first":0,"from":0,"blobs":[]},"commit":"c-0"}"#
        )
    );
    // What is merged when a message is parked is in none of these columns.
    let parked = sentinel_parked("i");
    assert!(parked.properties.keys().all(|column| !entity.properties.contains_key(column)));
    entity.properties.extend(parked.properties);
    assert_eq!(sentinel_from_entity(&entity), Ok(Sentinel { has_parked: true, ..sentinel }));
}

proptest! {
    #[test]
    fn every_event_survives(event in arbitrary::event(), ordinal: u64, id in any::<Option<u128>>(), decision in proptest::option::of(arbitrary::text())) {
        let stored = StoredEvent { message_id: id.map(Uuid::from_u128), decision_id: decision, ..event.into() };
        let entity = event_to_entity("key", ordinal, "execution", &stored);
        let read = event_from_entity(&entity).unwrap();
        // Times that no column can hold have become the earliest that it can.
        prop_assert_eq!(&event_to_entity("key", ordinal, "execution", &read), &entity);
        if !entity.properties.values().any(|value| *value == Value::time(Timestamp::MIN)) {
            prop_assert_eq!(read, stored);
        }
    }

    #[test]
    fn no_row_makes_the_reader_panic(
        event in arbitrary::event(),
        column in any::<prop::sample::Index>(),
        text in arbitrary::text(),
        kind in 0..5_usize,
    ) {
        let mut entity = event_to_entity("key", 0, "execution", &event.into());
        let columns: Vec<_> = entity.properties.keys().map(str::to_owned).collect();
        let values = [Value::String(text), Value::I32(-7), Value::I64(7), Value::Null, Value::DateTime(Timestamp::MIN)];
        entity.set(columns[column.index(columns.len())].clone(), values[kind].clone());
        let _ = event_from_entity(&entity);
        let _ = sentinel_from_entity(&entity);
        let _ = crate::hub::instances::from_entity(&entity);
    }
}
