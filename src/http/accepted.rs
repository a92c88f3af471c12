//! The answer 202 of a route that has started something: where to ask for it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::access::{Right, Scope};
use super::answer;
use super::api::ManagementApi;
use super::links::{Links, RETRY_AFTER_START};

/// What a route answers that has started an instance: 202, `Location` and `Retry-After` for clients that follow them, and a body with the URLs
/// of the instance by the names of Durable Functions. Made by [`ManagementApi::accepted`].
#[derive(Clone, Debug)]
pub struct Accepted {
    api: ManagementApi,
    base: String,
    id: String,
    scope: Scope,
    fails_on_failure: bool,
}

impl Accepted {
    pub(super) fn new(api: &ManagementApi, base: String, id: &str) -> Self {
        Self { api: api.clone(), base, id: id.to_owned(), scope: Scope::Operate, fails_on_failure: false }
    }

    /// Lets who gets the answer do no more than a key of this scope: with [`Scope::Read`] only the URL of the status works, and the
    /// others ask for a key.
    #[must_use]
    pub fn restricted_to(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Lets the URL of the status answer 500 once the instance has failed, for clients that tell success by the code alone.
    #[must_use]
    pub fn failing_with_500(mut self) -> Self {
        self.fails_on_failure = true;
        self
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let links = Links { fails_on_failure: self.fails_on_failure, ..self.api.0.links(self.base, Right::Key(self.scope)) };
        accepted(&links, &self.id)
    }
}

/// The answer with these URLs.
pub(super) fn accepted(links: &Links<'_>, id: &str) -> Response {
    let urls = links.check_status(id);
    let mut response = answer::json(StatusCode::ACCEPTED, &urls);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_START.as_secs()));
    answer::with_text(response, header::LOCATION, &urls.status_query_get_uri)
}
