//! Answers as bytes: JSON, problem details, and headers that all answers have.

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, Response as HttpResponse, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &(impl Serialize + ?Sized)) -> Response {
    of_type(status, "application/json; charset=utf-8", body)
}

/// Problem details: what is wrong, in the words of the refusal.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    of_type(status, "application/problem+json", &body)
}

fn of_type(status: StatusCode, content_type: &'static str, body: &(impl Serialize + ?Sized)) -> Response {
    // Maps have texts for keys, and nothing else can fail.
    let (status, text) = match serde_json::to_vec(body) {
        Ok(text) => (status, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json!({ "Message": error.to_string() }).to_string().into_bytes()),
    };
    let mut response = HttpResponse::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Headers of every answer: it holds data of users, and perhaps URLs that are keys for a while.
pub(super) fn kept_to_who_asked(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The headers of an answer alone, with the length of the body that they are about.
pub(super) fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// A header with a text that holds nothing but what a URL may.
pub(super) fn with_text(mut response: Response, name: header::HeaderName, text: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
    response
}
