//! The API itself: from a request to its answer, as a router to be mounted or a server of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, OriginalUri, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::{Keys, Right};
use super::asked::{Asked, Place};
use super::cors::Cors;
use super::links::Links;
use super::origin::Origins;
use super::query::Query;
use super::refusal::Refusal;
use super::route::{Act, Found, Surface, find};
use super::{Accepted, answer, control, instance, list, openapi, overview, parked, path, purge, restart, server, start, wait};
use crate::client::{Client, Instance};
use crate::error::{Error, ErrorKind, Result};

/// The HTTP management API of one task hub (docs/http-api.md). Cheap to clone. Made by [`ManagementApi::builder`].
#[derive(Clone, Debug)]
pub struct ManagementApi(pub(super) Arc<Api>);

/// What all requests share.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) client: Client,
    /// Without a slash at their ends.
    pub(super) prefixes: Vec<String>,
    pub(super) keys: Keys,
    pub(super) origins: Origins,
    pub(super) cors: Cors,
    /// Places for requests that are under way.
    pub(super) requests: Semaphore,
    pub(super) body_max: usize,
    pub(super) timeout: Duration,
    pub(super) lifetime: Duration,
    pub(super) app_name: Option<String>,
    /// Whether the server ends: who waits is told to come again.
    pub(super) stopping: CancellationToken,
}

impl ManagementApi {
    /// The client of the hub.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Where the routes are: paths without a slash at their ends, of which the root is empty.
    #[cfg(feature = "dashboard")]
    pub(crate) fn prefixes(&self) -> &[String] {
        &self.0.prefixes
    }

    /// All routes behind all prefixes, as the fallback of a router: whatever no other route of an app takes is looked up here, and answered with
    /// 404 if it is nothing. An app that has a fallback of its own nests this under a path instead.
    pub fn router(&self) -> Router {
        let serve = |State(api): State<Arc<Api>>, request: Request| async move { serve(&api, request).await };
        Router::new().fallback(serve).with_state(Arc::clone(&self.0))
    }

    /// Serves the API, and its [health](Self::health), until `shutdown` completes; then it takes no more connections, and lets requests end for ten seconds.
    ///
    /// # Errors
    /// `Invalid` if the listener can be reached from other machines and there is no key; `Storage` if the listener fails.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.serve_app(self.router().merge(self.health()), listener, shutdown).await
    }

    /// Serves an app in which this API is [mounted](Self::router), as [`serve`](Self::serve) serves the API alone: with its limits of connections and
    /// of their time.
    ///
    /// # Errors
    /// As `serve`.
    pub async fn serve_app(
        &self,
        app: Router,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let failed = |error: std::io::Error| Error::new(ErrorKind::Storage, format!("the HTTP listener failed: {error}"));
        let address = listener.local_addr().map_err(failed)?;
        if self.0.keys.is_empty() && !address.ip().to_canonical().is_loopback() {
            let words = format!(
                "without a key nothing is served on {address}, which other machines reach: set a key, or listen on 127.0.0.1"
            );
            return Err(Error::new(ErrorKind::Invalid, words));
        }
        let stop = async {
            shutdown.await;
            self.0.stopping.cancel();
        };
        let (served, ()) = tokio::join!(server::run(&self.0, app, listener), stop);
        served.map_err(failed)
    }

    /// The answer of one's own route that has started an instance: 202, and the URLs where it can be watched and steered. These begin
    /// with the [public URL](super::ManagementApiBuilder::public_url), or the `Host` in the headers of the request, and allow what a key for
    /// [`Operate`](super::Scope::Operate) does, unless the answer is [restricted](Accepted::restricted_to).
    ///
    /// # Errors
    /// `Invalid` if the headers name no host.
    pub fn accepted<O>(&self, headers: &HeaderMap, instance: &Instance<O>) -> Result<Accepted> {
        let origin = self.0.origins.of(headers, &Uri::default());
        let origin = origin.map_err(|refusal| Error::new(ErrorKind::Invalid, refusal.words().to_owned()))?;
        let base = origin + self.0.prefixes.first().map_or("", String::as_str);
        Ok(Accepted::new(self, base, instance.id()))
    }

    /// The answer of one's own route that has started an instance and waits for its end: 200 and its output if it completes within `limit`, its status if
    /// it ends otherwise, and what [`accepted`](Self::accepted) gives if it is still at work. It waits nine tenths of the
    /// [time of a request](super::ManagementApiBuilder::request_timeout) at most.
    ///
    /// # Errors
    /// As `accepted`; and `Corrupt` or `Storage` if the instance cannot be read.
    pub async fn completed_or_accepted<O>(
        &self,
        headers: &HeaderMap,
        instance: &Instance<O>,
        limit: Duration,
    ) -> Result<Response> {
        let accepted = self.accepted(headers, instance)?;
        Ok(match wait::end(&self.0, instance.id(), limit).await? {
            Some(ended) => wait::ended(&ended),
            None => accepted.into_response(),
        })
    }
}

async fn serve(api: &Api, request: Request) -> Response {
    let surface = Surface::of(request.uri().path());
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let mut response = match api.requests.try_acquire() {
        Ok(_place) => match tokio::time::timeout(api.timeout, api.answer(request)).await {
            Ok(response) => response,
            Err(_) => out_of_time(api.timeout).response(surface),
        },
        Err(_) => too_much().response(surface),
    };
    if method == Method::HEAD {
        response = answer::without_body(response);
    }
    api.cors.open(&headers, &mut response);
    // Neither path nor query: they name instances, and hold keys.
    tracing::debug!(%method, status = response.status().as_u16(), "an HTTP request was answered");
    answer::kept_to_who_asked(response)
}

fn out_of_time(limit: Duration) -> Refusal {
    let words = format!("the request was not done after {}; whether it took effect is not known", crate::model::in_words(limit));
    Refusal::broken(StatusCode::SERVICE_UNAVAILABLE, words)
}

fn too_much() -> Refusal {
    let words = "as many requests are under way as this server takes at once; nothing was done: come again";
    Refusal::message(StatusCode::SERVICE_UNAVAILABLE, words).with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

impl Api {
    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let seen = parts.uri.path();
        let mounted =
            parts.extensions.get::<OriginalUri>().and_then(|original| original.0.path().strip_suffix(seen)).unwrap_or("");
        let Some((prefix, rest)) = self.behind_prefix(seen) else { return StatusCode::NOT_FOUND.into_response() };
        let surface = Surface::of(rest);
        let answered = async {
            if self.keys.is_empty() {
                self.origins.check_local(&parts.headers, &parts.uri)?;
                self.origins.check_page(&parts.headers, &self.cors)?;
                check_peer(parts.extensions.get::<ConnectInfo<SocketAddr>>())?;
            }
            let nothing = || Refusal::silent(StatusCode::NOT_FOUND, "there is no such route; /api/v1/openapi.json lists all");
            let segments =
                path::segments(rest).ok_or_else(|| Refusal::bad("the path of the URL is not UTF-8 once it is decoded"))?;
            let (route, names) = match find(&parts.method, &segments) {
                Found::Route(route, names) => (route, names),
                Found::Nothing => return Err(nothing()),
                Found::OtherMethods(methods) => {
                    let methods = methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
                    if let Some(preflight) = self.cors.preflight(&parts.method, &parts.headers, &methods) {
                        return Ok(preflight);
                    }
                    return Err(wrong_method(&methods));
                }
            };
            let query = Query::new(parts.uri.query().unwrap_or_default(), route.query)?;
            let origin = self.origins.of(&parts.headers, &parts.uri)?;
            let place =
                Place { mounted: format!("{origin}{mounted}"), base: format!("{origin}{mounted}{prefix}"), uri: &parts.uri };
            let mut asked = Asked::new(self, route, names, query, &parts.headers, place, body);
            asked.check_access()?;
            asked.check_names()?;
            asked.check_hub()?;
            self.act(&asked).await
        };
        answered.await.unwrap_or_else(|refusal: Refusal| refusal.response(surface))
    }

    /// The prefix as it stands in the path, and the path behind it.
    fn behind_prefix<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let fits = self.prefixes.iter().filter_map(|prefix| path::behind(path, prefix));
        fits.max_by_key(|(prefix, _)| prefix.len())
    }

    async fn act(&self, asked: &Asked<'_>) -> std::result::Result<Response, Refusal> {
        match asked.route.act {
            Act::Start => start::start(asked).await,
            Act::StartByBody => start::start_by_body(asked).await,
            Act::Status => instance::status(asked).await,
            Act::Show => instance::show(asked).await,
            Act::History => instance::history(asked).await,
            Act::List => list::list(asked).await,
            Act::Search => list::search(asked).await,
            Act::Hub => overview::hub(asked).await,
            Act::Access => Ok(overview::access(asked)),
            Act::Usage => overview::usage(asked).await,
            Act::Parked => parked::list(asked).await,
            Act::RetryParked => parked::retry(asked).await,
            Act::DropParked => parked::drop_one(asked).await,
            Act::PurgeOne => purge::one(asked).await,
            Act::PurgeMany => purge::many(asked).await,
            Act::PurgeFound => purge::found(asked).await,
            Act::Raise => control::raise(asked).await,
            Act::Terminate => control::terminate(asked).await,
            Act::Suspend | Act::Resume => control::tell(asked).await,
            Act::Rewind => control::rewind(asked).await,
            Act::MakePrimary => control::make_primary(asked).await,
            Act::Restart => restart::restart(asked).await,
            Act::RestartWithOptions => restart::with_options(asked).await,
            Act::RestartAgain => restart::again(asked).await,
            Act::Entity => Err(asked.no_entities()),
            Act::OpenApi => Ok(answer::json(StatusCode::OK, &openapi::document(self))),
        }
    }

    /// What URLs of instances that begin so are made of, for somebody who was let in by this.
    pub(super) fn links(&self, base: String, right: Right) -> Links<'_> {
        let until = match right {
            Right::Key(_) => self.client.now().plus(self.lifetime),
            Right::Url { until, .. } => until,
        };
        Links { base, hub: self.client.hub_name(), keys: &self.keys, right, until, fails_on_failure: false }
    }
}

fn wrong_method(methods: &str) -> Refusal {
    let words = format!("this path is for {methods}");
    let allow = HeaderValue::from_str(methods).unwrap_or(HeaderValue::from_static(""));
    Refusal::message(StatusCode::METHOD_NOT_ALLOWED, words).with(header::ALLOW, allow)
}

/// Refuses who asks from another machine, where nothing but the machine itself is trusted and the peer is known.
fn check_peer(peer: Option<&ConnectInfo<SocketAddr>>) -> std::result::Result<(), Refusal> {
    match peer {
        Some(ConnectInfo(address)) if !address.ip().to_canonical().is_loopback() => {
            Err(Refusal::message(StatusCode::FORBIDDEN, "without a key the API answers on this machine only; set a key"))
        }
        _ => Ok(()),
    }
}
