//! What .NET's deserialiser was seen to accept and to refuse; ours accepts at least that and reads it alike.

use std::fs;

use super::recording::golden;
use crate::model::{Message, RuntimeStatus};

const COMPLETED: &str = r#""$type":"DurableTask.Core.History.TaskCompletedEvent""#;
const SCHEDULED: &str = r#""$type":"DurableTask.Core.History.TaskScheduledEvent""#;
const FAILED: &str = r#""$type":"DurableTask.Core.History.TaskFailedEvent""#;

fn message(event: &str) -> String {
    format!(
        r#"{{"TaskMessage":{{"Event":{{{event}}},"OrchestrationInstance":{{"InstanceId":"abc","ExecutionId":"x"}}}},"Sender":{{"InstanceId":""}}}}"#
    )
}

/// The recorded name of each case, and our text of it.
fn cases() -> Vec<(&'static str, String)> {
    let at = r#""EventId":-1,"Timestamp":"2024-03-14T16:00:05Z""#;
    let precise = r#""EventId":-1,"Timestamp":"2024-03-14T16:00:05.1285428Z""#;
    let completed = |rest: &str| message(&format!("{COMPLETED},{rest},{at}"));
    vec![
        ("min TaskCompleted", message(&format!(r#"{COMPLETED},"TaskScheduledId":4,"Result":"r",{precise}"#))),
        (
            "no EventId",
            message(&format!(r#"{COMPLETED},"TaskScheduledId":4,"Result":"r","Timestamp":"2024-03-14T16:00:05.1285428Z""#)),
        ),
        (
            "ts 3 digits",
            message(&format!(r#"{COMPLETED},"TaskScheduledId":4,"EventId":-1,"Timestamp":"2024-03-14T16:00:05.120Z""#)),
        ),
        (
            "ts no Z",
            message(&format!(r#"{COMPLETED},"TaskScheduledId":4,"EventId":-1,"Timestamp":"2024-03-14T16:00:05.1285428""#)),
        ),
        (
            "ts +00:00",
            message(&format!(r#"{COMPLETED},"TaskScheduledId":4,"EventId":-1,"Timestamp":"2024-03-14T16:00:05.1285428+00:00""#)),
        ),
        ("unknown $type", message(r#""$type":"DurableTask.Core.History.FooEvent","EventId":1"#)),
        ("no $type on event", message(r#""EventType":5,"TaskScheduledId":4"#)),
        ("wrong EventType", completed(r#""EventType":17,"TaskScheduledId":4"#)),
        ("unknown props", completed(r#""TaskScheduledId":4,"Foo":{"$type":"No.Such, Thing","x":[1]}"#)),
        ("camelCase", completed(r#""taskScheduledId":4,"result":"r""#)),
        ("int as string", completed(r#""TaskScheduledId":"4""#)),
        ("int as float", completed(r#""TaskScheduledId":4.0"#)),
        ("int null", completed(r#""TaskScheduledId":null"#)),
        ("Result number", completed(r#""TaskScheduledId":4,"Result":5"#)),
        ("Result object", completed(r#""TaskScheduledId":4,"Result":{"a":1}"#)),
        ("Result iso date", completed(r#""TaskScheduledId":4,"Result":"2024-03-14T16:00:05.100Z""#)),
        (
            "tags no $type",
            message(&format!(r#"{SCHEDULED},"Name":"n","Tags":{{"a":"b"}},"EventId":0,"Timestamp":"2024-03-14T16:00:05Z""#)),
        ),
        (
            "tags mscorlib",
            message(&format!(
                r#"{SCHEDULED},"Name":"n","Tags":{{"$type":"System.Collections.Generic.Dictionary`2[[System.String, mscorlib],[System.String, mscorlib]], mscorlib","a":"b"}},"EventId":0,"Timestamp":"2024-03-14T16:00:05Z""#
            )),
        ),
        (
            "FailureDetails camel",
            message(&format!(
                r#"{FAILED},"TaskScheduledId":0,"FailureDetails":{{"errorType":"E","errorMessage":"m","isNonRetriable":true}},{at}"#
            )),
        ),
        ("dup keys", completed(r#""TaskScheduledId":4,"TaskScheduledId":5"#)),
        ("lone surrogate", completed(r#""TaskScheduledId":4,"Result":"\ud800""#)),
        ("top null", "null".to_owned()),
        ("trailing", completed(r#""TaskScheduledId":4"#) + " and more"),
    ]
}

#[test]
fn what_dotnet_accepts_is_read_alike_and_what_it_refuses_is_an_error() {
    let recorded = fs::read_to_string(golden().join("classes/netcore31-tolerance.txt")).unwrap();
    for (name, text) in cases() {
        let ok = recorded.lines().find_map(|l| l.strip_prefix(&format!("OK   {name} => ")));
        let refused = recorded.lines().any(|l| l.starts_with(&format!("FAIL {name} => ")));
        let ours = Message::from_json(&text);
        match ok {
            Some(expected) => {
                // Everything after the JSON is ignored, here as in messages.
                let expected = Message::from_json(expected).unwrap();
                assert_eq!(ours.as_ref(), Ok(&expected), "{name}");
            }
            None => {
                assert!(refused || name == "trailing" || name.starts_with("int "), "{name} is not in the recording");
                assert_eq!(ours.is_err(), name != "trailing", "{name}: {ours:?}");
            }
        }
    }
}

#[test]
fn every_accepted_message_is_written_as_dotnet_writes_it() {
    let recorded = fs::read_to_string(golden().join("classes/netcore31-tolerance.txt")).unwrap();
    let mut same = 0;
    for line in recorded.lines().filter(|l| l.starts_with("OK ")) {
        let (name, json) = line.split_once(" => ").unwrap();
        let json = json.rsplit_once(" tsKind=").map_or(json, |(json, _)| json);
        // A message without TaskMessage is an error to us; times without `Z` are written with it; untyped objects among
        // the properties of a failure become dictionaries with a type.
        if ["comments", "ts no Z", "ts +00:00", "FailureDetails bare"].iter().any(|n| name.contains(n)) {
            continue;
        }
        assert_eq!(Message::from_json(json).unwrap().to_json(), json, "{name}");
        same += 1;
    }
    assert!(same > 20, "{same}");
}

#[test]
fn ours_is_more_lenient_where_that_cannot_hurt() {
    let base = Message::from_json(&message(&format!("{COMPLETED},\"TaskScheduledId\":4"))).unwrap();
    for event in [
        format!("\"TaskScheduledId\":4,{COMPLETED}"),
        r#""TASKSCHEDULEDID":4,"$type":"DurableTask.Core.History.TaskCompletedEvent, DurableTask.Core""#.to_owned(),
        r#""__type":"TaskCompletedEvent:#DurableTask.Core.History","TaskScheduledId":4"#.to_owned(),
    ] {
        assert_eq!(Message::from_json(&message(&event)).as_ref(), Ok(&base), "{event}");
    }
    let pairs = message(&format!(r#"{SCHEDULED},"Name":"n","Tags":[{{"Key":"a","Value":"b"}}]"#));
    let object = message(&format!(r#"{SCHEDULED},"Name":"n","Tags":{{"a":"b"}}"#));
    assert_eq!(Message::from_json(&pairs), Message::from_json(&object));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Message::from_json(&message(&format!("{COMPLETED},\"X\":{deep}"))).is_err());
    assert_eq!("terminated".parse::<RuntimeStatus>().ok(), Some(RuntimeStatus::Terminated));
}
