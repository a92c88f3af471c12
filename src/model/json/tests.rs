//! Property tests of the JSON codec; its agreement with .NET is tested against recordings, in `hub::golden`.

use proptest::prelude::*;

use super::arbitrary;
use crate::model::{EventKind, FailureDetails, HistoryEvent, Incoming, Message, Timestamp};

/// What JSON is made of.
const STRUCTURE: [char; 11] = ['{', '}', '[', ']', ':', ',', '"', '\\', '0', 'e', 'u'];

proptest! {
    #[test]
    fn every_message_survives(message in arbitrary::message()) {
        let json = message.to_json();
        let read = Message::from_json(&json);
        prop_assert_eq!(read.as_ref(), Ok(&message), "{}", json);
        prop_assert_eq!(Incoming::from_json(&json), Ok(Incoming::Message(Box::new(message))));
        // Queue messages travel in XML 1.0.
        let is_illegal = |c: char| c < ' ' || c == '\u{fffe}' || c == '\u{ffff}';
        prop_assert!(!json.contains(is_illegal));
    }

    #[test]
    fn every_event_survives_with_and_without_types(event in arbitrary::event()) {
        let (plain, typed) = (HistoryEvent::read_json(&event.to_json()), HistoryEvent::read_json(&event.to_typed_json()));
        prop_assert_eq!(plain.as_ref(), Ok(&event), "{}", event.to_json());
        prop_assert_eq!(typed.as_ref(), Ok(&event), "{}", event.to_typed_json());
    }

    #[test]
    fn no_damage_to_a_message_makes_the_reader_panic(
        message in arbitrary::message(),
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut damaged: Vec<char> = message.to_json().chars().collect();
        for (place, new) in places {
            let at = place.index(damaged.len());
            damaged[at] = if new > '\u{80}' { STRUCTURE[new as usize % STRUCTURE.len()] } else { new };
        }
        let text: String = damaged.iter().collect();
        let _ = Incoming::from_json(&text);
        let _ = HistoryEvent::read_json(&text);
        let _ = Message::from_json(&damaged[..cut.index(damaged.len())].iter().collect::<String>());
    }

    #[test]
    fn members_of_wrong_types_are_errors_or_ignored(message in arbitrary::message(), place in any::<prop::sample::Index>(), kind in 0..5_usize) {
        let mut value: serde_json::Value = serde_json::from_str(&message.to_json()).unwrap();
        let mut paths = Vec::new();
        collect_paths(&value, "", &mut paths);
        let wrong = [serde_json::json!(null), serde_json::json!(1.5), serde_json::json!("x"), serde_json::json!([]), serde_json::json!({})];
        *value.pointer_mut(&paths[place.index(paths.len())]).unwrap() = wrong[kind].clone();
        let _ = Message::from_json(&value.to_string());
    }
}

fn collect_paths(value: &serde_json::Value, at: &str, paths: &mut Vec<String>) {
    if let Some(map) = value.as_object() {
        for (name, member) in map {
            let path = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            paths.push(path.clone());
            collect_paths(member, &path, paths);
        }
    }
}

#[test]
fn failures_nested_beyond_what_dotnet_reads_are_cut_and_stay_readable() {
    let mut failure = FailureDetails { error_message: "innermost".to_owned(), ..FailureDetails::default() };
    for _ in 0..10_000 {
        failure = FailureDetails { inner: Some(Box::new(failure)), ..FailureDetails::default() };
    }
    let kind = EventKind::TaskFailed { task_id: 0, reason: None, details: None, failure: Some(failure) };
    let json = HistoryEvent::arriving(Timestamp::UNIX_EPOCH, kind).to_typed_json();
    let mut depth = 0;
    let deepest = json
        .chars()
        .map(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth
        })
        .max();
    assert_eq!(deepest, Some(60));
    assert!(HistoryEvent::read_json(&json).is_ok());
}

#[test]
fn halves_of_surrogate_pairs_are_replaced_and_pairs_are_kept() {
    let read = |data: &str| {
        let json = format!(r#"{{"EventType":17,"Data":"{data}","EventId":-1,"Timestamp":"2024-03-14T16:00:05Z"}}"#);
        match HistoryEvent::read_json(&json).unwrap().kind {
            EventKind::Generic { data, .. } => data.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(r"\ud83d\ude00"), "😀");
    assert_eq!(read(r"a\ud83db"), "a\u{fffd}b");
    assert_eq!(read(r"\ude00\ud83d"), "\u{fffd}\u{fffd}");
    assert_eq!(read(r"\\ud83d\u0041\n"), "\\ud83dA\n");
    assert_eq!(read(r"\ud83d\ud83d\ude00"), "\u{fffd}😀");
}
