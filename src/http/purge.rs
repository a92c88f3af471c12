//! Deleting instances that have ended: one, or all that match.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::asked::Asked;
use super::refusal::Refusal;
use super::{answer, list};
use crate::client::{InstanceQuery, PurgeReport};
use crate::error::ErrorKind;
use crate::model::{RuntimeStatus, Timestamp};

pub(super) async fn one(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let id = asked.orchestration()?;
    let instance = asked.client().instance(id);
    let recursive = asked.query.flag("recursive", false)?;
    match instance.purge().recursive(recursive).await {
        Ok(report) => Ok(purged(&report)),
        Err(error) if error.kind() == ErrorKind::Open => {
            let status = asked.client().stands(id).await?.unwrap_or(RuntimeStatus::Running);
            let words = format!(
                "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID {id} has status {status}"
            );
            Err(Refusal::text(StatusCode::PRECONDITION_FAILED, words))
        }
        Err(error) => Err(error.into()),
    }
}

/// As Durable Functions has it: within a time, and none is an error.
pub(super) async fn many(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let Some(from) = asked.query.time("createdTimeFrom").ok().flatten() else {
        return Err(Refusal::text(StatusCode::BAD_REQUEST, "Please provide value for 'createdTimeFrom' parameter."));
    };
    let query = InstanceQuery {
        created_from: Some(from).filter(|from| *from != Timestamp::MIN),
        created_to: asked.query.time("createdTimeTo")?,
        statuses: asked.query.statuses("runtimeStatus")?,
        ..InstanceQuery::default()
    };
    let report = all(asked, query, false).await?;
    if report.instances == 0 {
        return Err(Refusal::silent(StatusCode::NOT_FOUND, "no instance matches that has ended"));
    }
    Ok(purged(&report))
}

/// By any filters, of which one at least is needed: a filter that was forgotten would delete everything.
pub(super) async fn found(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let query = list::all_filters(asked)?;
    let has_filter = query.id_prefix.is_some()
        || query.name.is_some()
        || query.parent.is_some()
        || query.version.is_some()
        || query.created_from.is_some()
        || query.created_to.is_some()
        || !query.statuses.is_empty();
    if !has_filter {
        let words = "without a filter every instance that has ended would be deleted; give one, such as createdTimeTo, or \
                     runtimeStatus=Completed,Failed,Canceled,Terminated for all of them";
        return Err(Refusal::bad(words));
    }
    let recursive = asked.query.flag("recursive", false)?;
    Ok(purged(&all(asked, query, recursive).await?))
}

async fn all(asked: &Asked<'_>, query: InstanceQuery, recursive: bool) -> Result<PurgeReport, Refusal> {
    // What is left when the time of the request is nearly up, goes with the next one.
    let within = asked.api.timeout.saturating_mul(8) / 10;
    Ok(asked.client().purge(query).recursive(recursive).within(within).await?)
}

/// The count by the name of Durable Functions, and the rest where it tells something.
fn purged(report: &PurgeReport) -> Response {
    let mut body = json!({ "instancesDeleted": report.instances });
    if report.open > 0 {
        body["instancesNotEnded"] = report.open.into();
    }
    if !report.is_complete {
        body["isComplete"] = false.into();
    }
    answer::json(StatusCode::OK, &body)
}
