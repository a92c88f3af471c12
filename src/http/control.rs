//! Messages to instances: events, terminations, suspensions, resumptions; and the app lease.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::asked::Asked;
use super::refusal::Refusal;
use super::route::Act;
use crate::error::ErrorKind;
use crate::model::{EventKind, RuntimeStatus, TraceContext};
use crate::traces::SpanContext;

pub(super) async fn raise(asked: &Asked<'_>) -> Result<Response, Refusal> {
    // Whether there is somebody to take it comes before what it says.
    check_open(asked).await?;
    let content_type = asked.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::message(StatusCode::BAD_REQUEST, "Only application/json request content is supported"));
    }
    let Some(payload) = asked.json().await? else {
        let words = "the body is empty; send null for an event without a payload";
        return Err(Refusal::exception(
            StatusCode::BAD_REQUEST,
            "Invalid JSON content",
            "Newtonsoft.Json.JsonReaderException",
            words,
        ));
    };
    let input = Some(payload.get().to_owned()).filter(|text| text != "null");
    let kind = EventKind::EventRaised { name: asked.name(1).to_owned(), input, trace: trace(asked.headers) };
    send(asked, kind).await
}

/// A suspension or resumption.
pub(super) async fn tell(asked: &Asked<'_>) -> Result<Response, Refusal> {
    check_open(asked).await?;
    let reason = asked.query.text("reason");
    let kind = match asked.route.act {
        Act::Suspend => EventKind::ExecutionSuspended { reason },
        _ => EventKind::ExecutionResumed { reason },
    };
    send(asked, kind).await
}

pub(super) async fn terminate(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let (recursive, reason) = (asked.query.flag("recursive", false)?, asked.query.text("reason"));
    if !recursive {
        check_open(asked).await?;
        return send(asked, EventKind::ExecutionTerminated { reason }).await;
    }
    // Of an instance that has ended, what runs below it is meant.
    let instance = asked.client().instance(asked.orchestration()?);
    instance.terminate(&reason.unwrap_or_default()).recursive(true).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Lets a failed instance go on, and says what speaks against it in the words of Durable Functions.
pub(super) async fn rewind(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let (id, reason) = (asked.orchestration()?, asked.query.text("reason").unwrap_or_default());
    let instance = asked.client().instance(id);
    let rewind = instance.rewind(&reason);
    let rewind = if asked.query.flag("toFirstFailure", false)? { rewind.to_first_failure() } else { rewind };
    let Err(error) = rewind.await else { return Ok(StatusCode::ACCEPTED.into_response()) };
    let stands = asked.client().stands(id).await?;
    Err(match (error.kind(), stands) {
        (ErrorKind::NotFound, None) => {
            Refusal::text(StatusCode::NOT_FOUND, format!("No orchestration with instance ID \"{id}\" found."))
        }
        (ErrorKind::Open | ErrorKind::Ended, Some(status)) if status != RuntimeStatus::Failed => {
            let rule = "but only orchestrations in the \"Failed\" state can be rewound.";
            Refusal::text(StatusCode::PRECONDITION_FAILED, format!("This orchestration has status {status}, {rule}"))
        }
        (ErrorKind::Open | ErrorKind::Ended, _) => Refusal::text(StatusCode::PRECONDITION_FAILED, error.to_string()),
        _ => error.into(),
    })
}

/// Refuses an instance that is not there, or has ended.
async fn check_open(asked: &Asked<'_>) -> Result<(), Refusal> {
    let id = asked.orchestration()?;
    match asked.client().stands(id).await? {
        None => Err(Refusal::silent(StatusCode::NOT_FOUND, format!("there is no instance \"{id}\""))),
        Some(status) if status.is_terminal() => {
            Err(Refusal::silent(StatusCode::GONE, format!("instance \"{id}\" is {status} already; nothing was sent")))
        }
        Some(_) => Ok(()),
    }
}

async fn send(asked: &Asked<'_>, kind: EventKind) -> Result<Response, Refusal> {
    asked.client().unchecked().tell(asked.name(0), kind).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// The trace that a request belongs to (W3C Trace Context), if it names a sound one.
pub(super) fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    Some(SpanContext::parse(text("traceparent")?, text("tracestate"))?.carried())
}

pub(super) async fn make_primary(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let Some(app) = &asked.api.app_name else {
        let words = "Cannot make current app primary. This app is not using the AppLease feature.";
        return Err(Refusal::message(StatusCode::BAD_REQUEST, words));
    };
    match asked.client().make_primary(app).await {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(error) if error.kind() == ErrorKind::Mismatch => Err(Refusal::message(StatusCode::CONFLICT, error.to_string())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_if_it_is_sound() {
        let headers = |parent: &'static str, state: &'static str| {
            [("traceparent", parent), ("tracestate", state)]
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let taken = trace(&headers(sound, "a=b")).unwrap();
        assert_eq!((taken.trace_parent.as_deref(), taken.trace_state.as_deref()), (Some(sound), Some("a=b")));
        assert_eq!(trace(&headers(sound, "")).unwrap().trace_state, None);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace(&headers(bad, "a=b")), None, "{bad}");
        }
    }
}
