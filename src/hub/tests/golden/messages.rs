//! Every recorded message is understood, written again with the same bytes, and lay on the queue that we would choose.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::recording::{self, Scenario};
use crate::hub::codec::{self, Incoming};
use crate::hub::partition_of;
use crate::model::{EventKind, HistoryEvent, Message};

#[derive(Debug, Default)]
struct Counts {
    messages: usize,
    same_bytes: usize,
    same_members: usize,
    null_tags: usize,
    data_contract: usize,
    wrappers: usize,
    left_out: usize,
}

#[test]
fn messages_of_dotnet_are_read_and_written_byte_for_byte() {
    let mut counts = Counts::default();
    for scenario in recording::scenarios() {
        check(&scenario, &mut counts);
    }
    println!("{counts:?}");
    assert_eq!(counts.same_members, 0, "every text is recorded verbatim");
    assert!(counts.same_bytes > 0 || counts.data_contract > 0);
}

#[test]
fn messages_of_the_functions_extension_are_read_and_written_with_the_same_members() {
    let mut counts = Counts::default();
    for scenario in recording::extension() {
        check(&scenario, &mut counts);
    }
    println!("{counts:?}");
    assert!(counts.same_members > 400);
}

fn check(scenario: &Scenario, counts: &mut Counts) {
    for recorded in &scenario.messages {
        counts.messages += 1;
        let Some(text) = &recorded.text else {
            counts.left_out += 1;
            continue;
        };
        let at = format!("{}: {:.3000}", scenario.name, text);
        let target = match codec::decode(text).unwrap_or_else(|e| panic!("{e} in {at}")) {
            Incoming::InBlob(blob) => {
                counts.wrappers += 1;
                assert_eq!(codec::wrapper_json(&blob), json_of(text), "{at}");
                let (id, rest) = blob.rsplit_once("/message-").unwrap();
                (id.to_owned(), rest.contains("-TaskScheduled."))
            }
            Incoming::Message(message) => {
                compare(&message, text, recorded.verbatim, counts, &at);
                (message.target.instance_id.clone(), matches!(message.event.kind, EventKind::TaskScheduled { .. }))
            }
        };
        let queue = match target {
            (_, true) => scenario.names.work_items.clone(),
            (id, false) => scenario.names.control_queue(partition_of(&id, scenario.partitions)),
        };
        assert_eq!(queue, recorded.queue, "{at}");
    }
}

fn compare(message: &Message, text: &str, verbatim: bool, counts: &mut Counts, at: &str) {
    let json = message.to_json();
    if text.contains("\"__type\"") {
        // We never write the data contract form: other names and other order, the same message.
        counts.data_contract += 1;
        assert_eq!(Message::from_json(&json).as_ref(), Ok(message), "{at}");
    } else if text.contains("_TraceState\":null}") {
        // A tag without a value; ours leaves it out.
        counts.null_tags += 1;
        assert_eq!(Message::from_json(&json).as_ref(), Ok(message), "{at}");
    } else if verbatim {
        assert_eq!(json, json_of(text), "{at}");
        counts.same_bytes += 1;
    } else {
        let json: Json = serde_json::from_str(&json).unwrap();
        assert_eq!(json.to_string(), text, "{at}");
        counts.same_members += 1;
    }
}

fn json_of(text: &str) -> String {
    if text.starts_with('{') { text.to_owned() } else { String::from_utf8(STANDARD.decode(text).unwrap()).unwrap() }
}

#[test]
fn exported_histories_are_read_and_written() {
    let mut events = 0;
    for scenario in recording::scenarios() {
        for recorded in scenario.states.iter().filter_map(|s| s["history"].as_array()).flatten() {
            // The recorder leaves out long texts.
            if recorded.to_string().contains("$omitted") {
                continue;
            }
            let event = HistoryEvent::read_json(&recorded.to_string()).unwrap();
            let written: Json = serde_json::from_str(&event.to_json()).unwrap();
            assert_eq!(written.to_string(), recorded.to_string(), "{}", scenario.name);
            assert_eq!(HistoryEvent::read_json(&event.to_typed_json()).as_ref(), Ok(&event));
            events += 1;
        }
    }
    println!("{events} events");
    assert!(events > 0);
}
