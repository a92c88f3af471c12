//! Pages of other origins: which may read the answers, and the questions that browsers ask before (CORS).

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// The origins that may; none unless told.
#[derive(Clone, Debug, Default)]
pub(super) struct Cors(Vec<HeaderValue>);

/// Stands for every origin.
const ANY: &str = "*";
const ALLOWED_HEADERS: &str = "authorization, content-type, x-functions-key, x-ms-continuation-token, traceparent, tracestate";
const EXPOSED_HEADERS: &str = "Location, Retry-After, x-ms-continuation-token";
/// How long a browser may remember the answer, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

impl Cors {
    /// `None` if the text is neither `*` nor an origin, as browsers write it.
    #[must_use]
    pub(super) fn allow(&mut self, origin: &str) -> Option<()> {
        let is_origin = super::origin::PublicUrl::parse(origin).is_some() && origin.matches('/').count() == 2;
        let value = HeaderValue::from_str(origin).ok()?;
        (origin == ANY || is_origin).then(|| self.0.push(value))
    }

    /// Whether pages of every origin may.
    pub(super) fn is_for_all(&self) -> bool {
        self.0.iter().any(|allowed| allowed == ANY)
    }

    /// The origin of a request, if pages from there may read the answers.
    pub(super) fn allowed<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.0.iter().any(|allowed| allowed == origin || allowed == ANY).then_some(origin)
    }

    /// The answer to a browser that asks whether it may; `None` if it does not ask so, or from elsewhere.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap, methods: &str) -> Option<Response> {
        let asks = method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        self.allowed(headers).filter(|_| asks)?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        let answer = response.headers_mut();
        if let Ok(methods) = HeaderValue::from_str(methods) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        Some(response)
    }

    /// Lets the page of an allowed origin read an answer.
    pub(super) fn open(&self, headers: &HeaderMap, response: &mut Response) {
        if self.0.is_empty() {
            return;
        }
        let answer = response.headers_mut();
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed(headers) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_browsers_write() {
        let mut cors = Cors::default();
        for good in ["*", "https://a.example", "http://localhost:3000"] {
            assert!(cors.allow(good).is_some(), "{good}");
        }
        for bad in ["", "a.example", "https://a.example/", "https://a.example/x", "null", "https://*.example/"] {
            assert!(cors.allow(bad).is_none(), "{bad}");
        }
    }
}
