//! Whether answers are as the description of the API says: as much of JSON Schema as it uses.

use serde_json::Value;

use super::world::Answer;
use crate::model::Timestamp;

/// What is wrong with an answer to an operation of the document, if anything is.
pub(super) fn why_not(document: &Value, operation: &Value, answer: &Answer) -> Option<String> {
    let code = answer.status.as_u16().to_string();
    let Some(response) = operation["responses"].get(&code).or_else(|| operation["responses"].get("default")) else {
        return Some(format!("{code} is not described"));
    };
    let Some((content_type, media)) = response.get("content").and_then(|content| content.as_object()?.iter().next()) else {
        return (!answer.body.is_empty()).then(|| format!("{code} has a body: {}", answer.body));
    };
    // Durable Functions refuses some requests without a word.
    if answer.body.is_empty() {
        return answer.status.is_success().then(|| format!("{code} has no body"));
    }
    let said = answer.header("content-type").unwrap_or_default();
    if !said.starts_with(content_type.as_str()) {
        return Some(format!("{code} is {said}, and not {content_type}"));
    }
    let body = serde_json::from_str(&answer.body).ok()?;
    fits(document, &media["schema"], &body).err().map(|why| format!("{code} {why}: {}", answer.body))
}

/// Whether a value fits a schema; otherwise where it does not.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let within = |place: &str, result: Result<(), String>| result.map_err(|why| format!("{place}.{why}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(reference.trim_start_matches('#')).ok_or(format!("there is no {reference}"))?;
        return fits(document, named, value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let count = choices.iter().filter(|choice| fits(document, choice, value).is_ok()).count();
        return if count == 1 { Ok(()) } else { Err(format!("{count} of the choices fit {value}")) };
    }
    let is_of_type = match schema["type"].as_str() {
        None => true,
        Some("null") => value.is_null(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(other) => return Err(format!("no type {other} is known")),
    };
    if !is_of_type {
        return Err(format!("{value} is no {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    if schema["format"] == "date-time" && value.as_str().and_then(Timestamp::parse).is_none() {
        return Err(format!("{value} is no time"));
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema.get("items").is_some()) {
        within("item", fits(document, &schema["items"], item))?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
        return Err(format!("{missing} is missing"));
    }
    for (name, member) in members {
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => within(name, fits(document, schema, member))?,
            (None, Value::Bool(false)) => return Err(format!("{name} is not described")),
            (None, Value::Object(_)) => within(name, fits(document, &schema["additionalProperties"], member))?,
            (None, _) => {}
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_found() {
    let document = serde_json::json!({ "components": { "schemas": { "Name": { "type": "string" } } } });
    let schema = serde_json::json!({
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": { "$ref": "#/components/schemas/Name" },
            "at": { "oneOf": [{ "type": "string", "format": "date-time" }, { "type": "null" }] },
            "of": { "type": "array", "items": { "type": "integer" } },
        },
    });
    let check = |value: Value| fits(&document, &schema, &value);
    assert_eq!(check(serde_json::json!({ "name": "a", "at": "2026-01-01T00:00:00Z", "of": [1] })), Ok(()));
    for (value, why) in [
        (serde_json::json!({ "at": null }), "name is missing"),
        (serde_json::json!({ "name": 7 }), "name.7 is no \"string\""),
        (serde_json::json!({ "name": "a", "at": "noon" }), "at.0 of the choices fit \"noon\""),
        (serde_json::json!({ "name": "a", "of": [1, "b"] }), "of.item.\"b\" is no \"integer\""),
        (serde_json::json!({ "name": "a", "more": 1 }), "more is not described"),
        (serde_json::json!([]), "[] is no \"object\""),
    ] {
        assert_eq!(check(value).unwrap_err(), why);
    }
}
