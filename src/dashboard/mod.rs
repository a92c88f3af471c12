//! The dashboard: a page that shows and steers a hub in a browser, over the HTTP API and nothing else (docs/dashboard.md).
//!
//! The page is static, holds no data and asks for nothing beyond where it came from; who may see and do what is decided by the API.
//!
//! ```no_run
//! use axum::Router;
//! use taskhub::dashboard;
//! use taskhub::http::{ManagementApi, Scope};
//! # async fn f(client: taskhub::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let api = ManagementApi::builder(&client).key(Scope::Admin, std::env::var("MANAGEMENT_KEY")?).build()?;
//! let app: Router = Router::new().nest("/durable", api.router().merge(dashboard::router(&api))); // at /durable/dashboard/
//! # Ok(()) }
//! ```

mod assets;

#[cfg(test)]
mod tests;

use std::future::Future;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::error::Result;
use crate::http::ManagementApi;

/// The routes of the dashboard: the path `dashboard/` behind each prefix of the API, for a router in which the [API](ManagementApi::router) is at the
/// same place. The page finds the API beside itself, so both may be nested, and a proxy may take a part of the path away.
pub fn router(api: &ManagementApi) -> Router {
    api.prefixes().iter().fold(Router::new().without_v07_checks(), |router, prefix| {
        router
            .route(&format!("{prefix}/dashboard"), get(async || Redirect::permanent("dashboard/")))
            .route(&format!("{prefix}/dashboard/"), get(async |headers: HeaderMap| assets::answer(assets::PAGE, &headers)))
            .route(
                &format!("{prefix}/dashboard/{{name}}"),
                get(async |Path(name): Path<String>, headers: HeaderMap| assets::answer(&name, &headers)),
            )
    })
}

/// Serves the API with the dashboard until `shutdown` completes, as [`ManagementApi::serve`] does the API alone. A browser that asks for `/` is led to the
/// dashboard; others get there what the API answers.
///
/// # Errors
/// As [`ManagementApi::serve`].
pub async fn serve(
    api: &ManagementApi,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    api.serve_app(with_root(api), listener, shutdown).await
}

/// The API with the dashboard, and the way to it from the root.
fn with_root(api: &ManagementApi) -> Router {
    let first = api.prefixes().first().map(|prefix| prefix.trim_start_matches('/')).filter(|prefix| !prefix.is_empty());
    let is_at_root = api.prefixes().iter().any(String::is_empty);
    let to = match first.filter(|_| !is_at_root) {
        Some(prefix) => format!("{prefix}/dashboard/"),
        None => "dashboard/".to_owned(),
    };
    let lead = move |request: Request, next: Next| {
        let led = (request.uri().path() == "/" && wants_page(&request)).then(|| Redirect::temporary(&to));
        async move {
            match led {
                Some(led) => led.into_response(),
                None => next.run(request).await,
            }
        }
    };
    api.router().merge(api.health()).merge(router(api)).layer(middleware::from_fn(lead))
}

/// Whether a browser asks for something to show.
fn wants_page(request: &Request) -> bool {
    let accepted = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    matches!(*request.method(), Method::GET | Method::HEAD) && accepted.into_iter().any(|types| types.contains("text/html"))
}
