//! Starting instances: by the path, as Durable Functions has it, and by an object.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::asked::Asked;
use super::control::trace;
use super::refusal::Refusal;
use super::wait;
use crate::client::Start;
use crate::error::ErrorKind;
use crate::model::{RuntimeStatus, Tags, Timestamp};

pub(super) async fn start(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let id = Some(asked.name(1)).filter(|id| !id.is_empty()).map(str::to_owned);
    if let Some(why) = id.as_deref().and_then(why_no_id) {
        return Err(Refusal::bad(why));
    }
    let limit = asked.query.wait()?;
    let tags = asked.query.beginning("tag.").map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (version, start_at) = (asked.query.text("version"), asked.query.time("startAt")?);
    let input = asked.json().await?;
    let name = asked.name(0).to_owned();
    let id = send(asked, Wanted { name, instance_id: id, input, version, tags, start_at }).await?;
    wait::completed_or_accepted(asked, &id, limit).await
}

/// What is to be started.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    name: String,
    instance_id: Option<String>,
    input: Option<Box<RawValue>>,
    version: Option<String>,
    #[serde(default)]
    tags: Tags,
    start_at: Option<Timestamp>,
}

pub(super) async fn start_by_body(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let body = asked
        .json()
        .await?
        .ok_or_else(|| Refusal::bad("the body is empty; send an object with a name, such as {\"name\": \"Fulfil\"}"))?;
    let wanted: Wanted = serde_json::from_str(body.get())
        .map_err(|error| Refusal::bad(format!("the body does not say what to start: {error}")))?;
    if let Some(why) = wanted.instance_id.as_deref().and_then(why_no_id) {
        return Err(Refusal::bad(why));
    }
    let id = send(asked, wanted).await?;
    Ok(super::accepted::accepted(&asked.links(), &id))
}

async fn send(asked: &Asked<'_>, wanted: Wanted) -> Result<String, Refusal> {
    let named = wanted.instance_id.clone();
    let mut start: Start<'_> = asked.client().start_named(wanted.name, wanted.input).trace(trace(asked.headers));
    if let Some(id) = wanted.instance_id {
        start = start.instance_id(id);
    }
    if let Some(version) = wanted.version {
        start = start.version(version);
    }
    if let Some(at) = wanted.start_at {
        start = start.at(at);
    }
    for (name, value) in wanted.tags {
        start = start.tag(name, value);
    }
    match start.await {
        Ok(started) => Ok(started.into_id()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let status = asked.client().stands(&named.unwrap_or_default()).await?;
            Err(Refusal::message(StatusCode::CONFLICT, already_exists(status)))
        }
        Err(error) => Err(error.into()),
    }
}

/// What Durable Functions says of an id that is in use.
pub(super) fn already_exists(status: Option<RuntimeStatus>) -> String {
    let status = status.unwrap_or(RuntimeStatus::Pending);
    format!("An Orchestration instance with the status {status} already exists.")
}

/// Why nothing is started under this id over HTTP: what no client of Durable Functions gives, and what no URL can carry.
pub(super) fn why_no_id(id: &str) -> Option<&'static str> {
    if id.starts_with('@') {
        return Some("Orchestration instance ids must not start with @.");
    }
    if id.contains(|c: char| matches!(c, '/' | '\\' | '#' | '?') || c.is_control()) {
        return Some("Orchestration instance ids must not contain /, \\, #, ?, or control characters.");
    }
    if id.encode_utf16().count() > 256 {
        return Some("Instance ID lengths must not exceed 256 characters.");
    }
    matches!(id, "." | "..").then_some("Orchestration instance ids must not be . or .., which no URL can carry.")
}
