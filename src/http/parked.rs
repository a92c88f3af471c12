//! Parked messages: which there are, and what is to become of one.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::answer;
use super::asked::Asked;
use super::refusal::Refusal;

pub(super) async fn list(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let messages = asked.client().poison().await?;
    Ok(answer::json(StatusCode::OK, &json!({ "messages": messages })))
}

pub(super) async fn retry(asked: &Asked<'_>) -> Result<Response, Refusal> {
    asked.client().retry_poison(asked.name(0)).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

pub(super) async fn drop_one(asked: &Asked<'_>) -> Result<Response, Refusal> {
    asked.client().drop_poison(asked.name(0)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
