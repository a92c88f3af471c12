//! What the bodies of answers are, as schemas of the description.

use serde_json::{Value, json};

use super::access::Scope;
use super::openapi::statuses;
use super::route::Shape;
use crate::usage::CallKind;

/// The schema of a body, by reference where it has a name; `None` for an answer without one.
pub(super) fn of(shape: Shape) -> Option<Value> {
    match shape {
        Shape::Nothing => None,
        Shape::Any => Some(json!({})),
        Shape::Instances => Some(json!({ "type": "array", "items": named("Instance") })),
        shape => Some(named(&format!("{shape:?}"))),
    }
}

fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// All that have a name.
pub(super) fn all() -> Value {
    json!({
        "CheckStatus": check_status(),
        "Instance": instance(),
        "Whole": whole(),
        "Page": object(&[("instances", list(named("Whole"))), ("continuation", or_null(text()))], &[]),
        "Events": object(&[("events", list(named("Event")))], &[]),
        "Event": {
            "type": "object",
            "description": "An event of a history; the other members depend on its type.",
            "required": ["eventType", "timestamp"],
            "properties": { "eventType": text(), "timestamp": time(), "eventId": { "type": "integer" } },
        },
        "Purged": object(
            &[("instancesDeleted", count())],
            &[("instancesNotEnded", count()), ("isComplete", json!({ "type": "boolean" }))],
        ),
        "Hub": hub(),
        "Access": object(&[("hub", text()), ("scope", scope()), ("version", text()), ("readAt", time())], &[]),
        "Usage": usage(),
        "Calls": calls(),
        "Parked": object(&[("messages", list(named("ParkedMessage")))], &[]),
        "ParkedMessage": object(
            &[
                ("id", text()),
                ("queue", text()),
                ("instanceId", or_null(text())),
                ("eventType", or_null(text())),
                ("reason", text()),
                ("dequeueCount", json!({ "type": "integer" })),
                ("parkedTime", time()),
            ],
            &[],
        ),
        "Queue": object(&[("name", text()), ("messages", count()), ("oldestVisible", or_null(time()))], &[]),
        "Refused": {
            "description": "Why the request was refused, in the forms of Durable Functions.",
            "oneOf": [text(), {
                "type": "object",
                "required": ["Message"],
                "properties": { "Message": text(), "ExceptionMessage": text(), "ExceptionType": text() },
            }],
        },
        "Problem": object(&[("type", text()), ("title", text()), ("status", count()), ("detail", text())], &[]),
    })
}

fn check_status() -> Value {
    let members = [
        "id",
        "statusQueryGetUri",
        "sendEventPostUri",
        "terminatePostUri",
        "purgeHistoryDeleteUri",
        "restartPostUri",
        "suspendPostUri",
        "resumePostUri",
    ];
    object(&members.map(|name| (name, text())), &[])
}

/// In the form of Durable Functions.
fn instance() -> Value {
    let event = json!({
        "type": "object",
        "required": ["EventType", "Timestamp"],
        "properties": { "EventType": text(), "Timestamp": time() },
    });
    object(
        &[
            ("name", text()),
            ("instanceId", text()),
            ("runtimeStatus", status()),
            ("input", json!({})),
            ("customStatus", json!({})),
            ("output", json!({})),
            ("createdTime", or_null(time())),
            ("lastUpdatedTime", or_null(time())),
        ],
        &[("version", text()), ("parentInstanceId", text()), ("historyEvents", list(event))],
    )
}

fn whole() -> Value {
    object(
        &[
            ("instanceId", text()),
            ("executionId", or_null(text())),
            ("name", text()),
            ("version", or_null(text())),
            ("parentInstanceId", or_null(text())),
            ("runtimeStatus", status()),
            ("isParked", json!({ "type": "boolean" })),
            ("input", json!({})),
            ("output", json!({})),
            ("customStatus", json!({})),
            ("tags", json!({ "type": "object", "additionalProperties": text() })),
            ("createdTime", or_null(time())),
            ("lastUpdatedTime", or_null(time())),
            ("completedTime", or_null(time())),
            ("scheduledStartTime", or_null(time())),
            ("generation", json!({ "type": "integer" })),
        ],
        &[],
    )
}

fn hub() -> Value {
    let flag = || json!({ "type": "boolean" });
    let partition = object(
        &[
            ("queue", named("Queue")),
            ("owner", or_null(text())),
            ("nextOwner", or_null(text())),
            ("isDraining", flag()),
            ("isOwned", flag()),
            ("ownedSince", or_null(time())),
            ("lastRenewal", or_null(time())),
            ("expiresAt", or_null(time())),
        ],
        &[],
    );
    let awaited = object(
        &[
            ("kind", text()),
            ("name", text()),
            ("version", or_null(text())),
            ("queue", text()),
            ("since", time()),
            ("firstSeen", time()),
            ("lastSeen", time()),
            ("validUntil", time()),
            ("worker", text()),
            ("instanceId", text()),
            ("instanceIds", list(text())),
            ("instances", or_null(count())),
            ("suggestion", or_null(text())),
        ],
        &[],
    );
    object(
        &[
            ("name", text()),
            ("readAt", time()),
            ("partitions", list(partition)),
            ("workItems", named("Queue")),
            ("parked", count()),
            ("draining", list(object(&[("name", text()), ("version", or_null(text())), ("since", time())], &[]))),
            ("awaited", list(awaited)),
            ("appLeaseOwner", or_null(text())),
            ("isRunWithBlobLeases", flag()),
        ],
        &[],
    )
}

fn usage() -> Value {
    let by_name = || json!({ "type": "object", "additionalProperties": named("Calls") });
    let worker = object(
        &[
            ("worker", text()),
            ("since", time()),
            ("until", time()),
            ("calls", named("Calls")),
            ("orchestrators", by_name()),
            ("activities", by_name()),
        ],
        &[],
    );
    let prices = json!({ "type": "object", "description": "The price of 10,000 calls of each kind, and its currency." });
    object(&[("prices", prices), ("total", named("Calls")), ("workers", list(worker))], &[])
}

/// How many calls of each kind, and what they cost.
fn calls() -> Value {
    let kinds = CallKind::ALL.map(|kind| (kind.name(), count()));
    let all: Vec<_> =
        kinds.into_iter().chain([("total", count()), ("cost", json!({ "type": "number", "minimum": 0 }))]).collect();
    object(&all, &[])
}

/// An object with these members, some of which may be missing, and with no others.
fn object(always: &[(&str, Value)], sometimes: &[(&str, Value)]) -> Value {
    let properties: serde_json::Map<_, _> =
        always.iter().chain(sometimes).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<_> = always.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

fn list(items: Value) -> Value {
    [("type", "array".into()), ("items", items)].into_iter().collect()
}

fn or_null(schema: Value) -> Value {
    std::iter::once(("oneOf", vec![schema, json!({ "type": "null" })])).collect()
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn scope() -> Value {
    json!({ "type": "string", "enum": Scope::ALL.map(Scope::name) })
}

fn status() -> Value {
    json!({ "type": "string", "enum": statuses() })
}
