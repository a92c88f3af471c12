//! The HTTP management API: start, watch and steer instances over HTTP, as clients of Azure Durable Functions do (docs/http-api.md).
//!
//! [`ManagementApi`] is a router that a program mounts beside routes of its own, or serves by itself as `taskhub serve` does.
//! [`Accepted`] is the answer of one's own route that has started something which takes its time: 202, and where to ask.
//!
//! ```no_run
//! use axum::{Router, extract::State, http::HeaderMap, routing::post};
//! use taskhub::http::{Accepted, ManagementApi, Scope};
//! use taskhub::{Client, Orchestrator, Storage, TaskHub, shutdown_signal};
//!
//! const FULFIL: Orchestrator<String, u64> = Orchestrator::new("Fulfil");
//!
//! async fn order((State(api), headers): (State<ManagementApi>, HeaderMap), order: String) -> Result<Accepted, String> {
//!     let order = api.client().start(FULFIL, order).await.map_err(|error| error.to_string())?;
//!     Ok(api.accepted(&headers, &order).map_err(|error| error.to_string())?)
//! }
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = TaskHub::open(Storage::connect("UseDevelopmentStorage=true")?, "Orders").await?;
//! let api = ManagementApi::builder(&Client::new(&hub)).key(Scope::Admin, std::env::var("MANAGEMENT_KEY")?).build()?;
//! let app = Router::new().route("/orders", post(order)).with_state(api.clone()).merge(api.router());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app).with_graceful_shutdown(shutdown_signal()).await?;
//! # Ok(()) }
//! ```

mod accepted;
mod access;
mod answer;
mod api;
mod asked;
mod builder;
mod control;
mod cors;
mod events;
mod health;
mod instance;
mod links;
mod list;
mod openapi;
mod origin;
mod overview;
mod parked;
mod path;
mod purge;
mod query;
mod refusal;
mod restart;
mod route;
mod routes;
mod schemas;
mod server;
mod shown;
mod start;
mod wait;

#[cfg(test)]
mod tests;

pub use accepted::Accepted;
pub use access::Scope;
pub use api::ManagementApi;
pub use builder::ManagementApiBuilder;
