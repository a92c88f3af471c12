//! What requests cost: the storage calls of each, and none for what is refused.

use axum::Router;

use super::world::ask;
use crate::clock::Clock;
use crate::http::ManagementApi;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::metered::Metered;
use crate::{Client, TaskHub};

struct Counted {
    router: Router,
    metered: Metered,
}

impl Counted {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let metered = Metered::default();
        let storage = Storage::memory(clock.clone(), Rng::seeded(1)).layered(metered.clone());
        let hub = TaskHub::builder(storage, "Shop").clock(clock).open().await.unwrap();
        let router = ManagementApi::builder(&Client::new(&hub)).without_keys().build().unwrap().router();
        Self { router, metered }
    }

    /// The status of the answer, and the calls.
    async fn ask(&self, request: &str, body: Option<&str>) -> (u16, String) {
        let before = self.metered.snapshot();
        let answer = ask(&self.router, request, &[("content-type", "application/json")], body).await;
        (answer.status.as_u16(), self.metered.since(&before).to_string())
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_costs_nothing() {
    let counted = Counted::new().await;
    for (request, status) in [
        ("POST /orchestrators/Echo/@x", 400),
        ("POST /orchestrators/Echo/i?timeout=1&pollingInterval=2", 400),
        ("POST /instances/i/restartWithOptions", 400),
        ("GET /instances?top=0", 400),
        ("GET /instances?taskHub=Other", 404),
        ("DELETE /instances", 400),
        ("DELETE /api/v1/instances", 400),
        ("POST /instances/@counter@x/terminate", 501),
        ("PUT /instances", 405),
        ("GET /nowhere", 404),
        ("GET /api/v1/openapi.json", 200),
    ] {
        assert_eq!(counted.ask(request, None).await, (status, String::new()), "{request}");
    }
    assert_eq!(counted.ask("POST /orchestrators/Echo/i", Some("{")).await, (400, String::new()));
}

#[tokio::test(start_paused = true)]
async fn each_request_makes_the_calls_that_it_needs() {
    let counted = Counted::new().await;
    let mut costs = Vec::new();
    for request in [
        "POST /orchestrators/Nobody/i",
        "GET /instances/i",
        "POST /instances/i/raiseEvent/Go",
        "POST /instances/i/terminate",
        "DELETE /instances/i",
        "GET /instances",
        "GET /instances/nobody",
        "POST /instances/nobody/suspend",
        "GET /api/v1/access",
        "GET /api/v1/instances/i",
        "GET /api/v1/instances/i/history",
        "GET /api/v1/instances?name=Nobody&excludeEntities=true",
        "GET /api/v1/hub",
        "GET /api/v1/usage",
        "GET /api/v1/parked",
    ] {
        let (status, calls) = counted.ask(request, Some("1")).await;
        costs.push(format!("{request}: {status}, {calls}"));
    }
    let expected = [
        "POST /orchestrators/Nobody/i: 202, queue.put 1, table.get 1, table.insert 1",
        "GET /instances/i: 202, table.get 1",
        "POST /instances/i/raiseEvent/Go: 202, queue.put 1, table.get 1",
        "POST /instances/i/terminate: 202, queue.put 1, table.get 1",
        "DELETE /instances/i: 412, table.get 2",
        "GET /instances: 200, table.query 1",
        "GET /instances/nobody: 404, table.get 1",
        "POST /instances/nobody/suspend: 404, table.get 1",
        "GET /api/v1/access: 200, ",
        "GET /api/v1/instances/i: 200, table.get 1",
        "GET /api/v1/instances/i/history: 200, table.get 1, table.query 1",
        "GET /api/v1/instances?name=Nobody&excludeEntities=true: 200, table.query 1",
        "GET /api/v1/hub: 200, blob.get 1, queue.count 5, queue.peek 5, table.query 4",
        "GET /api/v1/usage: 200, table.query 1",
        "GET /api/v1/parked: 200, table.query 1",
    ];
    assert_eq!(costs, expected);
}
