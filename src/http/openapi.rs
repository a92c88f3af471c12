//! The description of the API as an OpenAPI document, made of the table of routes.

use serde_json::{Map, Value, json};

use super::api::Api;
use super::route::{Act, Answer, Body, COMMON, Kind, Param, Part, Route, Shape, Surface};
use super::routes::ROUTES;
use super::schemas;

/// The version of OpenAPI.
const OPENAPI: &str = "3.1.0";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

pub(super) fn document(api: &Api) -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, api.keys.is_empty());
    }
    let servers = api.prefixes.iter().map(|prefix| json!({ "url": if prefix.is_empty() { "/" } else { prefix } }));
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "taskhub",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT", "identifier": "MIT" },
            "description": "Starts, watches and steers the instances of one task hub. Paths outside of /api/v1 are those of Azure Durable Functions.",
        },
        "servers": servers.collect::<Vec<_>>(),
        "paths": paths,
        "components": { "schemas": schemas::all(), "securitySchemes": schemes() },
    })
}

fn schemes() -> Value {
    json!({
        "header": { "type": "apiKey", "in": "header", "name": "x-functions-key" },
        "bearer": { "type": "http", "scheme": "bearer" },
        "code": { "type": "apiKey", "in": "query", "name": "code" },
    })
}

fn operation(route: &Route, is_open: bool) -> Value {
    let names = route.parts().filter_map(|part| match part {
        Part::Name(name) => {
            Some(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }))
        }
        Part::Literal(_) => None,
    });
    let common = COMMON.iter().filter(|param| param.name != "code");
    let query = route.query.iter().chain(common).map(parameter);
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(route)],
        "parameters": names.chain(query).collect::<Vec<_>>(),
        "responses": responses(route, is_open),
    });
    if let Some(body) = body(route.body) {
        operation["requestBody"] = body;
    }
    if !is_open {
        let scope = route.act.needs();
        operation["security"] = ["header", "bearer", "code"].map(|scheme| json!({ scheme: [] })).to_vec().into();
        operation["x-scope"] = scope.name().into();
    }
    operation
}

fn tag(route: &Route) -> &'static str {
    match Surface::of(route.path) {
        Surface::Functions => "Durable Functions",
        Surface::V1 => "taskhub",
    }
}

/// Unique, and speaking: `post_instances_instanceId_terminate`.
fn operation_id(route: &Route) -> String {
    let path: String = route.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    format!("{} {path}", route.method.as_str().to_ascii_lowercase()).split_whitespace().collect::<Vec<_>>().join("_")
}

fn parameter(param: &Param) -> Value {
    let schema = match param.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::Seconds => json!({ "type": "number", "minimum": 0 }),
        Kind::Count => json!({ "type": "integer", "minimum": 1 }),
        Kind::Statuses => json!({ "type": "array", "items": { "type": "string", "enum": statuses() } }),
    };
    let mut parameter = json!({ "name": param.name, "in": "query", "description": param.about, "schema": schema });
    if param.kind == Kind::Statuses {
        // With commas, as Durable Functions has it.
        parameter["explode"] = false.into();
    }
    parameter
}

pub(super) fn statuses() -> Vec<&'static str> {
    crate::model::RuntimeStatus::ALL.into_iter().map(crate::model::RuntimeStatus::name).collect()
}

fn body(body: Body) -> Option<Value> {
    let schema = match body {
        Body::None => return None,
        Body::Json => json!({}),
        Body::Start => json!({
            "type": "object",
            "required": ["name"],
            "additionalProperties": false,
            "properties": {
                "name": { "type": "string", "description": "The orchestrator." },
                "instanceId": { "type": "string", "description": "A generated one without it." },
                "input": { "description": "Any JSON value." },
                "version": { "type": "string" },
                "tags": { "type": "object", "additionalProperties": { "type": "string" } },
                "startAt": { "type": "string", "format": "date-time" },
            },
        }),
    };
    Some(json!({ "content": { JSON: { "schema": schema } } }))
}

fn responses(route: &Route, is_open: bool) -> Value {
    let refused = match Surface::of(route.path) {
        Surface::Functions => Shape::Refused,
        Surface::V1 => Shape::Problem,
    };
    let mut responses = Map::new();
    let mut add = |code: &str, meaning: &str, shape: Shape| {
        let mut response = json!({ "description": meaning });
        if let Some(schema) = schemas::of(shape) {
            let content_type = if shape == Shape::Problem { PROBLEM } else { JSON };
            response["content"] = json!({ content_type: { "schema": schema } });
        }
        responses.entry(code).or_insert(response);
    };
    for Answer { code, meaning, shape } in route.answers {
        let is_refused = *shape == Shape::Refused;
        add(&code.to_string(), meaning, if is_refused { refused } else { *shape });
    }
    let mut refuse = |code: u16, meaning: &str| add(&code.to_string(), meaning, refused);
    refuse(400, "The request makes no sense; nothing was done.");
    refuse(404, "There is no such instance or task hub.");
    if !is_open {
        refuse(401, "No key, or none that is known.");
    }
    refuse(
        403,
        if is_open { "It comes from elsewhere, or from a page of another site." } else { "The key does not allow this." },
    );
    if route.body != Body::None {
        refuse(408, "The body did not come in time.");
        refuse(413, "The body is too large.");
    }
    let is_sent = route.answers.iter().any(|answer| answer.code == 202) && route.has_instance();
    if is_sent {
        refuse(409, "An instance of this id has not ended.");
        refuse(410, "The instance has ended.");
    }
    if route.method == axum::http::Method::DELETE || matches!(route.act, Act::Rewind) {
        refuse(412, "The instance has not ended, or has not failed.");
    }
    refuse(503, "Too much is under way, or storage is; Retry-After says when to come again.");
    add("default", "Something is wrong here.", refused);
    responses.into()
}
