//! Parked messages over HTTP: listed, put back and dropped, each by who may.

use serde_json::Value;

use super::world::{World, ask};
use crate::http::Scope;
use crate::storage::table::{Entity, Value as Column};

const KEYS: [(Scope, &str); 3] =
    [(Scope::Read, "read-read-read-read"), (Scope::Operate, "operate-operate-op"), (Scope::Admin, "admin-admin-admin-a")];

/// A hub with two messages that nobody could read.
async fn world() -> World {
    let world = World::new("Shop", "2026-01-01T00:00:00Z").await;
    for id in ["one", "two/2"] {
        let row = Entity::new("poison", crate::hub::keys::escape(id))
            .with("Queue", Column::string("shop-control-00"))
            .with("Reason", Column::string("it is no message"))
            .with("DequeueCount", Column::I32(8))
            .with("ParkedAt", Column::DateTime(world.clock.now()))
            .with("Body", Column::string("{"));
        world.memory.insert_row("ShopPoison", row);
    }
    world
}

#[tokio::test(start_paused = true)]
async fn parked_messages_are_listed_put_back_and_dropped_by_who_may() {
    let world = world().await;
    let router = KEYS.into_iter().fold(world.builder(), |api, (scope, key)| api.key(scope, key)).build().unwrap().router();
    let listed = async || {
        let answer = ask(&router, "GET /api/v1/parked", &[("x-functions-key", KEYS[0].1)], None).await;
        assert_eq!(answer.status, 200);
        answer.json()["messages"].as_array().unwrap().clone()
    };
    let ids = |all: &[Value]| all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let all = listed().await;
    assert_eq!(ids(&all), ["one", "two/2"]);
    assert_eq!(
        (&all[0]["reason"], &all[0]["eventType"], &all[0]["dequeueCount"]),
        (&"it is no message".into(), &Value::Null, &8.into())
    );
    for (request, expected) in [
        ("POST /api/v1/parked/one/retry", [403, 202, 404]),
        ("DELETE /api/v1/parked/two%2F2", [403, 403, 204]),
        ("POST /api/v1/parked/nobody/retry", [403, 404, 404]),
        ("DELETE /api/v1/parked/nobody", [403, 403, 404]),
    ] {
        for ((_, key), status) in KEYS.into_iter().zip(expected) {
            let answer = ask(&router, request, &[("x-functions-key", key)], None).await;
            assert_eq!(answer.status, status, "{request}: {}", answer.body);
        }
    }
    assert!(listed().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn everybody_is_told_what_the_key_allows_and_without_keys_that_all_is() {
    let world = world().await;
    let router = KEYS.into_iter().fold(world.builder(), |api, (scope, key)| api.key(scope, key)).build().unwrap().router();
    for ((_, key), scope) in KEYS.into_iter().zip(["read", "operate", "admin"]) {
        let access = ask(&router, "GET /api/v1/access", &[("x-functions-key", key)], None).await.json();
        assert_eq!((&access["hub"], &access["scope"]), (&"Shop".into(), &scope.into()));
    }
    assert_eq!(ask(&router, "GET /api/v1/access", &[], None).await.status, 401);
    let open = world.builder().without_keys().build().unwrap().router();
    assert_eq!(ask(&open, "GET /api/v1/access", &[], None).await.json()["scope"], "admin");
}
