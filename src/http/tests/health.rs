//! What an orchestrator of containers sees.

use std::time::Duration;

use super::world::{World, ask};
use crate::Client;
use crate::TaskHub;
use crate::http::{ManagementApi, Scope};
use crate::rng::Rng;
use crate::storage::layer::faulty::{Faults, Faulty};
use crate::storage::layer::metered::Metered;

#[tokio::test(start_paused = true)]
async fn it_is_alive_while_it_answers_and_ready_while_its_hub_can_be_read_which_costs_a_call_in_five_seconds() {
    let world = World::new("Shop", "2026-01-01T00:00:00Z").await;
    let (metered, faulty) = (Metered::default(), Faulty::new(Faults::default(), Rng::seeded(2)));
    let storage = world.memory.storage().layered(faulty.clone()).layered(metered.clone());
    let hub = TaskHub::builder(storage, "Shop").clock(world.clock.clone()).rng(Rng::seeded(3)).open().await.unwrap();
    let key = "0123456789abcdef";
    let api = ManagementApi::builder(&Client::new(&hub)).key(Scope::Admin, key).build().unwrap();
    let router = api.router().merge(api.health());
    let health = async || {
        let mut statuses = Vec::new();
        for path in ["live", "ready"] {
            statuses.push(ask(&router, &format!("GET /health/{path}"), &[], None).await.status.as_u16());
        }
        (statuses[0], statuses[1])
    };
    let before = metered.snapshot();
    for _ in 0..10 {
        assert_eq!(health().await, (200, 200));
    }
    assert_eq!(metered.since(&before).to_string(), "table.query 1");
    faulty.set_outage(true);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(health().await, (200, 200), "as it was a moment ago");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(health().await, (200, 503));
    faulty.set_outage(false);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(health().await, (200, 200));
    assert_eq!(ask(&router, "GET /instances", &[], None).await.status, 401, "everything else needs the key");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_deleted_while_it_is_served_says_so_whatever_is_asked_of_it() {
    let world = World::new("Shop", "2026-01-01T00:00:00Z").await;
    let key = "0123456789abcdef";
    let router = ManagementApi::builder(&world.client).key(Scope::Admin, key).build().unwrap().router();
    let asked = async |request: &str| ask(&router, request, &[("x-functions-key", key)], None).await;
    let one_and_all = [
        ("GET /api/v1/instances", 200),
        ("GET /api/v1/instances/i", 404),
        ("GET /api/v1/instances/i/history", 404),
        ("GET /instances/i", 404),
        ("POST /instances/i/suspend", 404),
        ("POST /instances/i/raiseEvent/go", 404),
        ("DELETE /instances/i", 404),
    ];
    for (request, status) in one_and_all {
        assert_eq!(asked(request).await.status, status, "{request}");
    }
    TaskHub::open(world.memory.storage(), "Shop").await.unwrap().delete().await.unwrap();
    for (request, _) in one_and_all {
        let refused = asked(request).await;
        assert_eq!(refused.status, 503, "{request}: {}", refused.body);
        assert!(refused.body.contains("deleted"), "{request}: {}", refused.body);
    }
}
