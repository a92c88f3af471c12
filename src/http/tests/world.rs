//! A hub in memory with a worker and the API before it, and requests to it.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::functions;
use crate::client::Client;
use crate::clock::Clock;
use crate::http::{ManagementApi, ManagementApiBuilder};
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Match, TableOp, Value as Column};
use crate::{TaskHub, Worker};

/// Where clients of Durable Functions look.
pub(super) const PREFIX: &str = "/runtime/webhooks/durabletask";
const HOST: &str = "127.0.0.1:7071";

pub(super) struct World {
    pub(super) memory: Memory,
    pub(super) clock: Clock,
    hub: TaskHub,
    pub(super) client: Client,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl World {
    pub(super) async fn new(hub: &str, begins: &str) -> Self {
        let clock = Clock::paused(Timestamp::parse(begins).unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let hub = TaskHub::builder(memory.storage(), hub).clock(clock.clone()).rng(Rng::seeded(2)).open().await.unwrap();
        Self { memory, clock, client: Client::new(&hub), hub }
    }

    pub(super) fn builder(&self) -> ManagementApiBuilder {
        ManagementApi::builder(&self.client)
    }

    /// A worker with all functions of the tests.
    pub(super) fn worker(&self) -> Worker {
        functions::register(Worker::builder(&self.hub)).build().unwrap()
    }

    /// Works while something is done, and some time before it.
    pub(super) async fn working<T>(&self, what: impl Future<Output = T>) -> T {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let acting = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let result = what.await;
            drop(stop);
            result
        };
        let (ran, result) = tokio::join!(self.worker().run(async { drop(stopped.await) }), acting);
        ran.unwrap();
        result
    }

    /// Puts the row of an entity, which no client can start.
    pub(super) fn put_entity(&self, id: &str) {
        let now = Column::DateTime(self.clock.now());
        let row = Entity::new(crate::hub::keys::escape(id), "")
            .with("Name", Column::string(id))
            .with("RuntimeStatus", Column::string("Running"))
            .with("CustomStatus", Column::string("{\"entityExists\":true}"))
            .with("Input", Column::string("{\"exists\":true}"))
            .with("CreatedTime", now.clone())
            .with("LastUpdatedTime", now);
        self.memory.insert_row(&format!("{}Instances", self.hub.name()), row);
    }

    /// Removes the row of an entity.
    pub(super) async fn remove_entity(&self, id: &str) {
        let (partition_key, row_key) = (crate::hub::keys::escape(id), String::new());
        let delete = TableOp::Delete { partition_key, row_key, condition: Match::Any };
        self.memory.storage().tables.write(&format!("{}Instances", self.hub.name()), &delete).await.unwrap();
    }
}

/// A request: method and path with query, headers, and a body if there is one.
pub(super) async fn ask(router: &Router, request: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        builder = builder.header("host", HOST);
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let request = builder.body(body.map_or_else(Body::empty, |body| Body::from(body.to_owned()))).unwrap();
    send(router, request).await
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}
