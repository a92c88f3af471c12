//! One instance: its status in the form of Durable Functions, all that is known of it, and its history.

use axum::http::StatusCode;
use axum::response::Response;

use super::asked::Asked;
use super::events::{self, With};
use super::refusal::Refusal;
use super::shown::{Shown, Whole};
use crate::client::InstanceStatus;
use crate::model::RuntimeStatus;

pub(super) async fn status(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let id = asked.name(0);
    let status = asked.client().instance(id).status().await?;
    let response = answer(asked, &status).await?;
    Ok(if status.status.is_terminal() { response } else { asked.look_again(response, id) })
}

/// The status as the parameters of the request want to see it.
pub(super) async fn answer(asked: &Asked<'_>, status: &InstanceStatus) -> Result<Response, Refusal> {
    let query = &asked.query;
    let with = With { inputs: query.flag("showInput", true)?, results: query.flag("showHistoryOutput", false)? };
    let (shows_history, fails) = (query.flag("showHistory", false)?, query.flag("returnInternalServerErrorOnFailure", false)?);
    let mut shown = Shown::new(status);
    if !with.inputs {
        shown = shown.without_input();
    }
    if shows_history && status.status != RuntimeStatus::Pending {
        let history = asked.client().instance(&status.instance_id).history().await?;
        shown = shown.with_history(events::merged(&history, with));
    }
    let code = match status.status {
        RuntimeStatus::Failed if fails => StatusCode::INTERNAL_SERVER_ERROR,
        ended if ended.is_terminal() => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    Ok(super::answer::json(code, &shown))
}

pub(super) async fn show(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let with_input = asked.query.flag("showInput", true)?;
    let status = asked.client().instance(asked.name(0)).status().await?;
    Ok(super::answer::json(StatusCode::OK, &Whole::new(&status, with_input)))
}

pub(super) async fn history(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let instance = asked.client().instance(asked.name(0));
    let history = instance.history().await?;
    if history.is_empty() {
        // One that has not run has no history, and one that is not there has none either.
        instance.status().await?;
    }
    let events = events::in_full(&history);
    Ok(super::answer::json(StatusCode::OK, &Events { events }))
}

#[derive(serde::Serialize)]
struct Events {
    events: Vec<events::Event>,
}
