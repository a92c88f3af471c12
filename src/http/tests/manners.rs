//! How the API behaves towards clients whatever they ask: methods, limits, CORS, paths, versions of answers.

use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};

use super::world::{PREFIX, World, ask};
use crate::http::Scope;

const BEGINS: &str = "2026-01-01T00:00:00Z";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn world() -> World {
    World::new("Shop", BEGINS).await
}

fn open(world: &World) -> Router {
    world.builder().without_keys().build().unwrap().router()
}

#[tokio::test(start_paused = true)]
async fn the_description_has_the_routes_that_there_are_and_no_other() {
    let world = world().await;
    let router = open(&world);
    let document = ask(&router, "GET /api/v1/openapi.json", &[], None).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 25, "{}", paths.len());
    let mut ids = std::collections::BTreeSet::new();
    for (path, operations) in paths {
        let described: Vec<_> = operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let filled = path.replace(['{', '}'], "");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"] {
            let answer = ask(&router, &format!("{method} {PREFIX}{filled}"), &[], None).await;
            // Who may read may ask whether there is something to read.
            let is_head = method == "HEAD" && described.iter().any(|there| there == "GET");
            if is_head || described.iter().any(|there| there == method) {
                assert_ne!(answer.status, 405, "{method} {path} is described");
            } else {
                let allow = answer.header("allow").map(|allow| allow.split(", ").collect::<Vec<_>>()).unwrap_or_default();
                let mut expected: Vec<_> = described.iter().map(String::as_str).collect();
                expected.extend(expected.contains(&"GET").then_some("HEAD"));
                expected.sort_unstable();
                let mut allow = allow;
                allow.sort_unstable();
                assert_eq!((answer.status.as_u16(), allow), (405, expected), "{method} {path}");
            }
        }
        for operation in operations.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            let named = operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path").count();
            assert_eq!(named, path.matches('{').count(), "{path}");
        }
    }
    // No route is left out: what the router knows is the same table, so a path that is not described is not there.
    for nowhere in ["/", "/instances/a/b", "/api", "/api/v1", "/api/v1/poison", "/api/v2/hub"] {
        assert_eq!(ask(&router, &format!("GET {nowhere}"), &[], None).await.status, 404, "{nowhere}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let world = world().await;
    let router = world.builder().without_keys().body_limit(10).build().unwrap().router();
    let start = "POST /orchestrators/Nobody/i";
    assert_eq!(ask(&router, start, &[], Some("\"12345678\"")).await.status, 202);
    for headers in [vec![], vec![("content-length", "1000000")]] {
        let answer = ask(&router, "POST /orchestrators/Nobody/j", &headers, Some("\"123456789\"")).await;
        assert_eq!(answer.status, 413);
        assert!(answer.json()["Message"].as_str().unwrap().contains("more than 10 bytes"));
    }
    assert_eq!(ask(&router, "GET /instances/j", &[], None).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_does_not_hold_a_request_for_ever() {
    let world = world().await;
    let router = world.builder().without_keys().request_timeout(Duration::from_secs(30)).build().unwrap().router();
    let never = axum::body::Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = axum::http::Request::post("/orchestrators/Nobody/i").header("host", "localhost").body(never).unwrap();
    let begun = tokio::time::Instant::now();
    let answer = super::world::send(&router, request).await;
    assert_eq!((answer.status.as_u16(), begun.elapsed().as_secs()), (503, 30));
    assert!(answer.json()["ExceptionMessage"].as_str().unwrap().contains("after 30 seconds"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_gives_way_before_the_time_of_its_request_is_up() {
    let world = world().await;
    let router = world.builder().without_keys().request_timeout(Duration::from_secs(30)).build().unwrap().router();
    let begun = tokio::time::Instant::now();
    let answer = ask(&router, "POST /orchestrators/Nobody/i?timeout=3000&pollingInterval=1", &[], None).await;
    assert_eq!((answer.status.as_u16(), begun.elapsed().as_secs()), (202, 27));
    assert_eq!(answer.json()["id"], "i");
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_read_answers_only_if_they_are_let() {
    let world = world().await;
    let closed = open(&world);
    let shop = ("origin", "https://shop.example");
    let ask_for = ("access-control-request-method", "POST");
    assert_eq!(ask(&closed, "OPTIONS /instances", &[shop, ask_for], None).await.status, 403);
    assert_eq!(ask(&closed, "GET /instances", &[shop], None).await.header("access-control-allow-origin"), None);
    let keyed = || world.builder().key(Scope::Admin, "a key of all the tests");
    let closed = keyed().build().unwrap().router();
    assert_eq!(ask(&closed, "OPTIONS /instances", &[shop, ask_for], None).await.status, 405);
    let open_to_all = keyed().allow_origin("*").build().unwrap().router();
    assert_eq!(ask(&open_to_all, "OPTIONS /instances", &[shop, ask_for], None).await.status, 204);

    let router = world.builder().without_keys().allow_origin("https://shop.example").build().unwrap().router();
    let preflight = ask(&router, "OPTIONS /instances/i/terminate", &[shop, ask_for], None).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("x-functions-key"));
    let answer = ask(&router, "GET /instances", &[shop], None).await;
    assert_eq!(
        (answer.header("access-control-allow-origin"), answer.header("vary")),
        (Some("https://shop.example"), Some("Origin"))
    );
    assert!(answer.header("access-control-expose-headers").unwrap().contains("Location"));
    let other = ("origin", "https://evil.example");
    assert_eq!(ask(&router, "OPTIONS /instances", &[other, ask_for], None).await.status, 403);
    let answer = ask(&router, "GET /instances", &[other], None).await;
    assert_eq!(answer.status, 403);
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, Some("Origin")));
}

/// Deletes what has ended by a query, and tells what is left of three instances of two orchestrators.
async fn deleted(router: &Router, world: &World, request: &str) -> (u16, String, usize) {
    let answer = ask(router, request, &[], None).await;
    let left = world.client.list(&crate::InstanceQuery::default()).await.unwrap().instances.len();
    (answer.status.as_u16(), answer.body, left)
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_is_unknown_or_empty_deletes_nothing_and_is_named() {
    let world = world().await;
    let router = open(&world);
    world
        .working(async {
            for (name, id) in [("Echo", "a"), ("Echo", "b"), ("ReturnNull", "c")] {
                let started = world.client.start_named(name, 1).instance_id(id).await.unwrap();
                started.wait().within(Duration::from_secs(60)).await.unwrap();
            }
        })
        .await;
    let from = "createdTimeFrom=2020-01-01";
    for (path, query, named) in [
        ("/api/v1/instances", "idPrefix=zzz&name=", "idPrefix"),
        ("/api/v1/instances", "Tag.who=me", "Tag.who"),
        ("/api/v1/instances", "=Echo", "\\\"\\\""),
        ("/api/v1/instances", "name=", "name"),
        ("/api/v1/instances", "Name=%20", "name"),
        ("/api/v1/instances", "parent", "parent"),
        ("/api/v1/instances", "version=", "version"),
        ("/api/v1/instances", "instanceIdPrefix=", "instanceIdPrefix"),
        ("/instances", "instanceIdPrefix=zzz", "instanceIdPrefix"),
        ("/instances", "name=Nobody", "name"),
        ("/instances", "runtimestatuses=Failed", "runtimestatuses"),
    ] {
        let (status, body, left) = deleted(&router, &world, &format!("DELETE {path}?{from}&{query}")).await;
        assert_eq!((status, left), (400, 3), "{path} {query}: {body}");
        assert!(body.contains(named), "{path} {query}: {body}");
    }
    for request in
        ["GET /api/v1/instances?nme=x", "GET /api/v1/instances?name=", "GET /api/v1/hub?x=1", "DELETE /api/v1/instances/a?x=1"]
    {
        assert_eq!(deleted(&router, &world, request).await.0, 400, "{request}");
    }
    // What was recorded of other routes.
    for request in ["GET /instances?nme=x&instanceIdPrefix=", "GET /instances/a?x=1"] {
        assert_eq!(deleted(&router, &world, request).await.0, 200, "{request}");
    }
    let common = "taskHub=Shop&Connection=Storage&code=x";
    let by_name = deleted(&router, &world, &format!("DELETE /api/v1/instances?{from}&NAME=ReturnNull&{common}")).await;
    assert_eq!((by_name.0, by_name.2), (200, 2), "{}", by_name.1);
    let by_time = deleted(&router, &world, &format!("DELETE /instances?{from}&{common}")).await;
    assert_eq!((by_time.0, by_time.2), (200, 0), "{}", by_time.1);
}

#[tokio::test(start_paused = true)]
async fn the_longest_time_of_a_request_breaks_neither_waits_nor_deletions() {
    let world = world().await;
    let api = world.builder().without_keys().request_timeout(Duration::MAX).url_lifetime(Duration::MAX);
    let router = api.build().unwrap().router();
    world
        .working(async {
            let waited = ask(&router, "POST /orchestrators/Echo/i?timeout=3000&pollingInterval=1", &JSON, Some("1")).await;
            assert_eq!((waited.status.as_u16(), waited.body.as_str()), (200, "1"));
            let deleted = ask(&router, "DELETE /instances?createdTimeFrom=2020-01-01", &[], None).await;
            assert_eq!(deleted.json(), json!({ "instancesDeleted": 1 }));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_nested_hands_out_urls_under_its_path() {
    let world = world().await;
    let app = Router::new().nest("/durable", open(&world));
    let started = ask(&app, "POST /durable/orchestrators/Nobody/i", &[], None).await.json();
    let url = started["statusQueryGetUri"].as_str().unwrap();
    assert_eq!(url, "http://127.0.0.1:7071/durable/instances/i?taskHub=Shop");
    let looked = ask(&app, "GET /durable/instances/i?taskHub=Shop", &[], None).await;
    assert_eq!((looked.status.as_u16(), looked.header("location")), (202, Some(url)));
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_for_who_asked_alone_and_another_hub_is_not_there() {
    let world = world().await;
    let router = open(&world);
    for request in ["GET /instances", "GET /instances/nobody", "PUT /instances", "GET /nowhere"] {
        let answer = ask(&router, request, &[], None).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{request}");
    }
    for request in ["POST /orchestrators/Nobody/i", "GET /instances", "DELETE /instances/i", "POST /instances/i/terminate"] {
        let answer = ask(&router, &format!("{request}?taskHub=Other"), &JSON, Some("1")).await;
        assert_eq!(answer.status, 404);
        assert!(answer.json()["Message"].as_str().unwrap().contains("no task hub \"Other\""), "{request}");
    }
    assert_eq!(ask(&router, "GET /instances?taskHub=sHOP", &[], None).await.body, "[]");
}

#[tokio::test(start_paused = true)]
async fn the_newer_surface_starts_shows_and_deletes_in_its_own_form() {
    let world = world().await;
    let router = open(&world);
    let get = async |path: &str| ask(&router, &format!("GET /api/v1{path}"), &[], None).await;
    world
        .working(async {
            let wanted = json!({
                "name": "SubParent", "instanceId": "p", "input": { "a": 1.10 }, "tags": { "who": "me" },
            });
            let started = ask(&router, "POST /api/v1/instances", &JSON, Some(&wanted.to_string())).await;
            assert_eq!((started.status.as_u16(), started.json()["id"].as_str()), (202, Some("p")));
            world.client.instance("p").wait().within(Duration::from_secs(60)).await.unwrap();
            let shown = get("/instances/p").await.json();
            assert_eq!(
                (&shown["runtimeStatus"], &shown["tags"], &shown["isParked"]),
                (&json!("Completed"), &json!({ "who": "me" }), &json!(false))
            );
            let history = get("/instances/p/history").await.json();
            let kinds: Vec<_> =
                history["events"].as_array().unwrap().iter().map(|event| event["eventType"].as_str().unwrap()).collect();
            assert_eq!(kinds[..2], ["OrchestratorStarted", "ExecutionStarted"]);
            assert!(kinds.contains(&"SubOrchestrationInstanceCreated") && history["events"][2]["timestamp"].is_string());
            let begun = &history["events"][1];
            assert_eq!((&begun["orchestrationInstance"]["instanceId"], &begun["input"]), (&json!("p"), &json!({ "a": 1.10 })));
            let children = get("/instances?parent=p&top=1").await.json();
            assert_eq!(children["instances"].as_array().unwrap().len(), 1);
            let next = children["continuation"].as_str().unwrap();
            let rest = get(&format!("/instances?parent=p&continuation={next}")).await.json();
            assert_eq!((rest["instances"].as_array().unwrap().len(), &rest["continuation"]), (1, &Value::Null));
            assert_eq!(get(&format!("/instances?parent=q&continuation={next}")).await.status, 400, "of another list");
            let hub = get("/hub").await.json();
            assert_eq!((&hub["name"], hub["partitions"].as_array().unwrap().len()), (&json!("Shop"), 4));

            let refused = ask(&router, "DELETE /api/v1/instances", &[], None).await;
            assert_eq!((refused.status.as_u16(), refused.header("content-type")), (400, Some("application/problem+json")));
            let deleted = ask(&router, "DELETE /api/v1/instances?name=SubParent&recursive=true", &[], None).await;
            assert_eq!(deleted.json(), json!({ "instancesDeleted": 3 }));
            for path in ["/instances/p", "/instances/p/history"] {
                assert_eq!(get(path).await.json()["detail"], "there is no instance \"p\" in task hub \"Shop\"");
            }
        })
        .await;
    for bad in
        ["", "[]", "{}", r#"{"name":1}"#, r#"{"name":"x","other":1}"#, r#"{"name":"x","instanceId":"@a"}"#, r#"{"name":""}"#]
    {
        let answer = ask(&router, "POST /api/v1/instances", &JSON, Some(bad)).await;
        assert_eq!((answer.status.as_u16(), answer.json()["status"].as_u64()), (400, Some(400)), "{bad}: {}", answer.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_of_ones_own_waits_for_an_end_and_says_otherwise_where_to_ask() {
    let world = world().await;
    let api = world.builder().without_keys().build().unwrap();
    let headers = axum::http::HeaderMap::from_iter([(axum::http::header::HOST, "shop.example".parse().unwrap())]);
    world
        .working(async {
            for (name, status, expected) in [
                ("HelloSequence", 200, r#"["Hello Tokyo!","Hello Seattle!","Hello London!"]"#),
                ("ReturnNull", 200, "null"),
                ("Throws", 200, r#"{"name":"Throws","instanceId":"Throws","runtimeStatus":"Failed","#),
                (
                    "WaitForever",
                    202,
                    r#"{"id":"WaitForever","statusQueryGetUri":"http://shop.example/runtime/webhooks/durabletask/instances/"#,
                ),
            ] {
                let started = world.client.start_named(name, "x").instance_id(name).await.unwrap();
                let response = api.completed_or_accepted(&headers, &started, Duration::from_secs(20)).await.unwrap();
                assert_eq!(response.status().as_u16(), status, "{name}");
                let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                let body = String::from_utf8(body.to_vec()).unwrap();
                assert!(body.starts_with(expected), "{name}: {body}");
            }
            let started = world.client.start_named("Echo", 1).await.unwrap();
            let refused = api.accepted(&axum::http::HeaderMap::new(), &started).unwrap_err();
            assert!(refused.to_string().contains("no Host header"), "{refused}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn making_an_app_primary_tells_it_to_take_the_app_lease_over() {
    let world = world().await;
    let router = world.builder().without_keys().app_name("myapp").build().unwrap().router();
    let told = || {
        let blobs =
            world.memory.all_blobs().into_values().flatten().map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned());
        blobs.into_iter().find(|text| text.contains("DesiredSwapId"))
    };
    assert_eq!(told(), None);
    for _ in 0..2 {
        assert_eq!(ask(&router, "POST /makeprimary", &[], None).await.status, 200);
        let told: Value = serde_json::from_str(&told().expect("the info blob")).unwrap();
        assert_eq!(told["DesiredSwapId"], "1312a8a6-0000-0000-0000-000000000000");
    }
}

#[tokio::test(start_paused = true)]
async fn the_trace_tags_and_time_of_a_start_reach_the_instance() {
    let world = world().await;
    let router = open(&world);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    world
        .working(async {
            let headers = [("traceparent", parent), ("tracestate", "a=b")];
            let start = "POST /orchestrators/Echo/t?tag.Who=me&startAt=2026-01-01T00:01:00Z&version=";
            assert_eq!(ask(&router, start, &headers, Some(" {\"a\": 1.10} ")).await.status, 202);
            let pending = ask(&router, "GET /instances/t?showHistory=true", &[], None).await;
            assert_eq!((pending.status.as_u16(), pending.json()["historyEvents"].is_null()), (202, true));
            let done = world.client.instance("t").wait().within(Duration::from_secs(120)).await.unwrap();
            assert_eq!((done.tags.get("Who").map(String::as_str), done.input.as_deref()), (Some("me"), Some("{\"a\": 1.10}")));
            let history = ask(&router, "GET /instances/t?showHistory=true", &[], None).await.json();
            let begun = &history["historyEvents"][0];
            assert_eq!(begun["ParentTraceContext"]["TraceParent"], parent);
            assert_eq!(begun["ScheduledStartTime"], "2026-01-01T00:01:00Z");
        })
        .await;
}

#[tokio::test]
async fn a_server_ends_when_it_is_told_to_and_lets_who_waits_go() {
    let world = World::new("Shop", BEGINS).await;
    let api = world.builder().key(Scope::Admin, "a key of a test").build().unwrap_err();
    assert!(api.to_string().contains("shorter"));
    let api = world.builder().without_keys().build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let asking = async {
        let client = reqwest::Client::new();
        let waiting = client.post(format!("http://{address}/orchestrators/Nobody/i?timeout=100&pollingInterval=1")).send();
        let stopping = async {
            while client.get(format!("http://{address}/instances/i")).send().await.unwrap().status() != 202 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(stop);
        };
        let (waited, ()) = tokio::join!(waiting, stopping);
        assert_eq!(waited.unwrap().status(), 202, "told to come again");
    };
    let begun = tokio::time::Instant::now();
    let (served, ()) = tokio::join!(api.serve(listener, async { drop(stopped.await) }), asking);
    served.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60));

    let everywhere = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = api.serve(everywhere, std::future::pending()).await.unwrap_err();
    assert!(refused.to_string().contains("without a key nothing is served on 0.0.0.0:"), "{refused}");
}
