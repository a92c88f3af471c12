//! The hub as a whole: how it stands, what its workers have cost, and what who asks may do with it.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::answer;
use super::asked::Asked;
use super::refusal::Refusal;
use crate::client::UsageReport;
use crate::usage::Prices;

pub(super) async fn hub(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let status = asked.client().hub_status().await?;
    Ok(answer::json(StatusCode::OK, &status))
}

pub(super) fn access(asked: &Asked<'_>) -> Response {
    let client = asked.client();
    let access = json!({
        "hub": client.hub_name(),
        "scope": asked.scope().name(),
        "version": env!("CARGO_PKG_VERSION"),
        "readAt": client.now(),
    });
    answer::json(StatusCode::OK, &access)
}

pub(super) async fn usage(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let report = UsageReport::new(asked.client().usage().await?, Prices::default());
    Ok(answer::json(StatusCode::OK, &report))
}
