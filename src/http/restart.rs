//! Restarting instances, in the three ways of the two surfaces.

use axum::http::StatusCode;
use axum::response::Response;

use super::asked::Asked;
use super::refusal::Refusal;
use super::start::{already_exists, why_no_id};
use super::{accepted, wait};
use crate::client::Restart;
use crate::error::{Error, ErrorKind};

pub(super) async fn restart(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let limit = asked.query.wait()?;
    let id = asked.orchestration()?;
    let is_new = asked.query.flag("restartWithNewInstanceId", true)?;
    let instance = asked.client().instance(id);
    let restart = if is_new { instance.restart().generated_instance_id() } else { instance.restart() };
    let new_id = send(asked, restart, id).await?;
    wait::completed_or_accepted(asked, &new_id, limit).await
}

pub(super) async fn with_options(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let new_id = asked.query.text("newInstanceId").unwrap_or_default();
    if new_id.trim().is_empty() {
        return Err(Refusal::bad("A new orchestration instance ID must be provided."));
    }
    if let Some(why) = why_no_id(&new_id) {
        let words =
            format!("{} (Parameter 'newInstanceId')", why.trim_end_matches('.').replace("instance ids", "instance IDs") + ".");
        return Err(Refusal::exception(StatusCode::BAD_REQUEST, words.clone(), "System.ArgumentException", words));
    }
    let limit = asked.query.wait()?;
    let id = asked.orchestration()?;
    let instance = asked.client().instance(id);
    let restart = instance.restart().new_instance_id(&new_id).version(asked.query.text("version").unwrap_or_default());
    let new_id = send(asked, restart, &new_id).await?;
    wait::completed_or_accepted(asked, &new_id, limit).await
}

/// Under the same id, or under the new one that is given.
pub(super) async fn again(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let id = asked.orchestration()?;
    let instance = asked.client().instance(id);
    let new_id = match asked.query.text("newInstanceId") {
        None => instance.restart().await?,
        Some(new_id) => {
            if let Some(why) = why_no_id(&new_id) {
                return Err(Refusal::bad(why));
            }
            instance.restart().new_instance_id(new_id).await?
        }
    };
    Ok(accepted::accepted(&asked.links(), new_id.id()))
}

/// Restarts, and says what went wrong in the words of Durable Functions; `target` is the id that the new instance is to have.
async fn send(asked: &Asked<'_>, restart: Restart<'_>, target: &str) -> Result<String, Refusal> {
    match restart.await {
        Ok(started) => Ok(started.into_id()),
        Err(error) => Err(refused(asked, target, error).await?),
    }
}

async fn refused(asked: &Asked<'_>, target: &str, error: Error) -> Result<Refusal, Error> {
    Ok(match error.kind() {
        ErrorKind::NotFound if error.storage().is_none() => {
            let words = format!("No instance with ID '{}' was found. (Parameter 'instanceId')", asked.name(0));
            let message = "InstanceId does not match a valid orchestration instance.";
            Refusal::exception(StatusCode::BAD_REQUEST, message, "System.ArgumentException", words)
        }
        ErrorKind::Open | ErrorKind::AlreadyExists => {
            let words = already_exists(asked.client().stands(target).await?);
            let message = "A non-terminal instance with this instance ID already exists.";
            let of_type = "DurableTask.Core.Exceptions.OrchestrationAlreadyExistsException";
            Refusal::exception(StatusCode::CONFLICT, message, of_type, words)
        }
        _ => error.into(),
    })
}
