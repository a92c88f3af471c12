//! A request that is understood: its route, its parameters, and who asks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use futures::StreamExt as _;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use super::access::{Grant, Right, Scope, in_headers, is_signature};
use super::answer;
use super::api::Api;
use super::links::{Links, RETRY_AFTER_LOOK};
use super::path::encoded;
use super::query::Query;
use super::refusal::Refusal;
use super::route::{Act, Reach, Route};
use crate::client::Client;
use crate::model::Timestamp;

/// In this time a body has to be there.
const BODY_WITHIN: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Refusal>;

/// A request, as far as its handler needs it.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) api: &'a Api,
    pub(super) route: &'static Route,
    /// The values of the names in the path.
    names: Vec<String>,
    pub(super) query: Query,
    pub(super) headers: &'a HeaderMap,
    place: Place<'a>,
    /// What lets it in.
    right: Right,
    /// Read once; a lock, because a body alone cannot be shared by threads.
    body: Mutex<Option<Body>>,
}

/// Where a request came to.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The URL up to what this router sees of the path.
    pub(super) mounted: String,
    /// The URL up to the end of the prefix.
    pub(super) base: String,
    pub(super) uri: &'a Uri,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        api: &'a Api,
        route: &'static Route,
        names: Vec<String>,
        query: Query,
        headers: &'a HeaderMap,
        place: Place<'a>,
        body: Body,
    ) -> Self {
        Self { api, route, names, query, headers, place, right: Right::Key(Scope::Admin), body: Mutex::new(Some(body)) }
    }

    pub(super) fn client(&self) -> &'a Client {
        &self.api.client
    }

    /// What the key of the request allows; everything where no key is needed.
    pub(super) fn scope(&self) -> Scope {
        match self.right {
            Right::Key(scope) => scope,
            Right::Url { act, .. } => act.needs(),
        }
    }

    /// A value of the path by its place.
    pub(super) fn name(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }

    /// Refuses whom no key lets in, nor the signature of the URL.
    pub(super) fn check_access(&mut self) -> Result<()> {
        if self.api.keys.is_empty() {
            return Ok(());
        }
        let (needs, code) = (self.route.act.needs(), self.query.text("code"));
        let presented = in_headers(self.headers).chain(code.as_deref());
        let scope = presented.filter_map(|key| self.api.keys.scope_of(key)).max();
        if let Some(scope) = scope.filter(|scope| *scope >= needs) {
            self.right = Right::Key(scope);
            return Ok(());
        }
        if let Some(until) = code.map(|code| self.signed_until(&code)).transpose()?.flatten() {
            self.right = Right::Url { act: self.route.act, until };
            return Ok(());
        }
        Err(match scope {
            Some(scope) => {
                let words = format!("the key is for {scope:?}, and this needs one for {needs:?}");
                Refusal::message(StatusCode::FORBIDDEN, words)
            }
            None => {
                let words = "no key that is known here, and no valid URL of this instance: send a key as the header x-functions-key, or as \
                             Authorization: Bearer; a URL that was handed out may have expired";
                Refusal::message(StatusCode::UNAUTHORIZED, words)
                    .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"taskhub\""))
            }
        })
    }

    /// Until when the signature of the URL lets the request in, which may ask for less than was signed, and not for more.
    fn signed_until(&self, code: &str) -> Result<Option<Timestamp>> {
        if !self.route.has_instance() {
            return Ok(None);
        }
        let until = |flags: &[&'static str]| {
            let grant = Grant { hub: self.client().hub_name(), instance: self.name(0), act: self.route.act, flags };
            self.api.keys.granted_until(code, grant, self.client().now())
        };
        if let Some(until) = until(&self.flags()) {
            return Ok(Some(until));
        }
        let plain = until(&[]);
        match self.query.other_than_plain().find(|param| param.reach == Reach::Widens) {
            Some(param) if plain.is_some() => {
                let words =
                    format!("the URL was handed out without \"{}\" and allows no more than it did: send a key", param.name);
                Err(Refusal::message(StatusCode::FORBIDDEN, words))
            }
            Some(_) => Ok(None),
            None => Ok(plain),
        }
    }

    /// What a signature of this very URL is made over besides its act.
    fn flags(&self) -> Vec<&'static str> {
        self.query.other_than_plain().map(|param| param.name).collect()
    }

    /// Refuses parameters that the route does not know, where it has to.
    pub(super) fn check_names(&self) -> Result<()> {
        if self.route.refuses_unknown() { self.query.check_names() } else { Ok(()) }
    }

    /// Refuses a hub that is not the one that is served. None is ever created.
    pub(super) fn check_hub(&self) -> Result<()> {
        let served = self.client().hub_name();
        let named = self.query.text("taskHub").unwrap_or_default();
        if named.trim().is_empty() || named.eq_ignore_ascii_case(served) {
            return Ok(());
        }
        let words = format!("there is no task hub \"{}\" here; this server has \"{served}\"", crate::ids::shortened(&named));
        Err(Refusal::message(StatusCode::NOT_FOUND, words))
    }

    /// Entities are refused in their own words, as long as there are none.
    pub(super) fn no_entities(&self) -> Refusal {
        let words = "this version of taskhub has no entities: it lists and shows those of .NET by their instance ids, and does nothing with them";
        Refusal::message(StatusCode::NOT_IMPLEMENTED, words)
    }

    /// The id in the path, if it is none of an entity.
    pub(super) fn orchestration(&self) -> Result<&str> {
        let id = self.name(0);
        if id.starts_with('@') { Err(self.no_entities()) } else { Ok(id) }
    }

    /// The body, up to the limit.
    async fn body(&self) -> Result<Vec<u8>> {
        let most = self.api.body_max;
        let too_large = || {
            Refusal::message(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {most} bytes, which is the limit of this server"),
            )
        };
        let announced = self.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut all = Vec::new();
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut chunks = body.unwrap_or_default().into_data_stream();
        let until = tokio::time::Instant::now() + BODY_WITHIN;
        let late = |_| {
            let words = format!("the body was not there after {}; nothing was done", crate::model::in_words(BODY_WITHIN));
            Refusal::message(StatusCode::REQUEST_TIMEOUT, words)
        };
        while let Some(chunk) = tokio::time::timeout_at(until, chunks.next()).await.map_err(late)? {
            let chunk = chunk.map_err(|error| Refusal::bad(format!("the body broke off: {error}")))?;
            if all.len() + chunk.len() > most {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The body as the JSON text that it is; `None` if it is empty.
    pub(super) async fn json(&self) -> Result<Option<Box<RawValue>>> {
        let bad = |why: String| {
            Refusal::exception(StatusCode::BAD_REQUEST, "Invalid JSON content", "Newtonsoft.Json.JsonReaderException", why)
        };
        let text = String::from_utf8(self.body().await?).map_err(|error| bad(format!("the body is not UTF-8: {error}")))?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        RawValue::from_string(text).map(Some).map_err(|error| bad(format!("the body is not JSON: {error}")))
    }

    /// What the URLs of instances in the answer are made of: they allow no more than what let this request in, and for no longer.
    pub(super) fn links(&self) -> Links<'a> {
        self.api.links(self.place.base.clone(), self.right)
    }

    /// Asks to look again at the same URL. A key in it, which is nobody's to hand out, gives way to the signature of just this URL.
    pub(super) fn look_again(&self, mut response: Response, id: &str) -> Response {
        let mut url = format!("{}{}", self.place.mounted, self.place.uri.path());
        let code = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let is_code = percent_decode_str(name).decode_utf8().is_ok_and(|name| name.eq_ignore_ascii_case("code"));
            is_code.then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let pairs = self.place.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.filter_map(|pair| match code(pair) {
            Some(code) if !is_signature(&code) => {
                Some(format!("code={}", encoded(&self.links().code(id, Act::Status, &self.flags())?)))
            }
            _ => Some(pair.to_owned()),
        });
        let query = pairs.collect::<Vec<_>>().join("&");
        if !query.is_empty() {
            url = format!("{url}?{query}");
        }
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_LOOK.as_secs()));
        answer::with_text(response, header::LOCATION, &url)
    }
}
