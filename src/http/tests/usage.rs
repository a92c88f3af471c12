//! What workers cost, over HTTP.

use std::time::Duration;

use super::schema::why_not;
use super::world::{World, ask};

#[tokio::test(start_paused = true)]
async fn the_calls_of_each_worker_add_up_and_have_a_price() {
    let world = World::new("Shop", "2026-01-01T00:00:00Z").await;
    let router = world.builder().without_keys().build().unwrap().router();
    let nothing = ask(&router, "GET /api/v1/usage", &[], None).await.json();
    assert_eq!((&nothing["workers"], &nothing["total"]["total"]), (&serde_json::json!([]), &0.into()));
    // A worker reports five minutes after it began to work, and when it stops.
    ask(&router, "POST /orchestrators/Echo/i", &[], Some("1")).await;
    world.working(tokio::time::sleep(Duration::from_secs(400))).await;
    let answer = ask(&router, "GET /api/v1/usage", &[], None).await;
    let document = ask(&router, "GET /api/v1/openapi.json", &[], None).await.json();
    assert_eq!(why_not(&document, &document["paths"]["/api/v1/usage"]["get"], &answer), None);
    let report = answer.json();
    let workers = report["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0]["calls"], report["total"]);
    assert!(workers[0]["orchestrators"].get("Echo").is_some(), "{report}");
    let kinds = report["total"].as_object().unwrap().iter().filter(|(name, _)| !["total", "cost"].contains(&name.as_str()));
    assert_eq!(kinds.filter_map(|(_, count)| count.as_u64()).sum::<u64>(), report["total"]["total"].as_u64().unwrap());
    assert!(report["total"]["cost"].as_f64().unwrap() > 0.0);
}
