//! The list under `/api/v1`: the newest first, and without what nobody wants to see.

use std::time::Duration;

use serde_json::Value;

use super::world::{World, ask};

#[tokio::test(start_paused = true)]
async fn the_newest_come_first_over_all_pages_and_payloads_are_left_out_on_request() {
    let world = World::new("Shop", "2026-01-01T00:00:00Z").await;
    let router = world.builder().without_keys().build().unwrap().router();
    for id in ["b", "c", "a"] {
        ask(&router, &format!("POST /orchestrators/Nobody/{id}"), &[], Some("7")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let list = async |query: &str| {
        let answer = ask(&router, &format!("GET /api/v1/instances?{query}"), &[], None).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let ids = |page: &Value| -> Vec<String> {
        let all = page["instances"].as_array().unwrap().iter();
        all.map(|one| format!("{} {}", one["instanceId"].as_str().unwrap(), one["input"])).collect()
    };
    let first = list("newestFirst=true&top=2").await;
    assert_eq!(ids(&first), ["a 7", "c 7"]);
    let next = format!("newestFirst=true&top=2&continuation={}", first["continuation"].as_str().unwrap());
    let last = list(&next).await;
    assert_eq!((ids(&last), &last["continuation"]), (vec!["b 7".to_owned()], &Value::Null));
    assert_eq!(ids(&list("showPayloads=false").await), ["a null", "b null", "c null"]);
    let other_order = next.replace("newestFirst=true", "newestFirst=false");
    let refused = ask(&router, &format!("GET /api/v1/instances?{other_order}"), &[], None).await;
    assert_eq!(refused.status, 400, "a continuation is good for its own order only");
}
