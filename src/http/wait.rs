//! Waiting for the end of an instance, or saying where to ask for it.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;

use super::api::Api;
use super::asked::Asked;
use super::refusal::Refusal;
use super::shown::{Payload, Shown};
use super::{accepted, answer, instance};
use crate::client::InstanceStatus;
use crate::error::{ErrorKind, Result};
use crate::model::RuntimeStatus;

/// The last status of an instance that ends within the limit; `None` if it is still at work then, or is gone.
pub(super) async fn end(api: &Api, id: &str, limit: Duration) -> Result<Option<InstanceStatus>> {
    // The answer has to be on its way before the time of the request is up.
    let limit = limit.min(api.timeout.saturating_mul(9) / 10);
    let instance = api.client.instance(id);
    tokio::select! {
        biased;
        ended = instance.wait().within(limit) => match ended {
            Ok(status) => Ok(Some(status)),
            Err(error) if error.kind() == ErrorKind::Timeout => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound && error.storage().is_none() => Ok(None),
            Err(error) => Err(error),
        },
        () = api.stopping.cancelled() => Ok(None),
    }
}

/// The answer of a route that has started an instance: its end, if that was waited for and came.
pub(super) async fn completed_or_accepted(
    asked: &Asked<'_>,
    id: &str,
    limit: Option<Duration>,
) -> std::result::Result<Response, Refusal> {
    let ended = match limit {
        Some(limit) => end(asked.api, id, limit).await?,
        None => None,
    };
    match ended {
        Some(status) if status.status == RuntimeStatus::Completed => Ok(output(&status)),
        Some(status) => instance::answer(asked, &status).await,
        None => Ok(accepted::accepted(&asked.links(), id)),
    }
}

/// The end of an instance for a route of somebody else's: the output alone, or the status of one that did not complete.
pub(super) fn ended(status: &InstanceStatus) -> Response {
    match status.status {
        RuntimeStatus::Completed => output(status),
        _ => answer::json(StatusCode::OK, &Shown::new(status)),
    }
}

fn output(status: &InstanceStatus) -> Response {
    answer::json(StatusCode::OK, &Payload(status.output.as_deref()))
}
