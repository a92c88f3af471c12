//! Who gets in: keys, scopes, URLs that are handed out, and hosts.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Request;
use serde_json::Value;

use super::world::{PREFIX, World, ask, send};
use crate::ErrorKind;
use crate::http::Scope;

const READ: &str = "read-read-read-read";
const OPERATE: &str = "operate-operate-op";
const ADMIN: &str = "admin-admin-admin-a";
const BEGINS: &str = "2026-01-01T00:00:00Z";

async fn world() -> World {
    World::new("Shop", BEGINS).await
}

fn with_keys(world: &World) -> axum::Router {
    let api = world.builder().key(Scope::Read, READ).key(Scope::Operate, OPERATE).key(Scope::Admin, ADMIN);
    api.build().unwrap().router()
}

#[tokio::test(start_paused = true)]
async fn a_key_opens_what_its_scope_allows_in_each_of_the_three_places() {
    let world = world().await;
    let router = with_keys(&world);
    for (number, (key, scope)) in [(READ, 0), (OPERATE, 1), (ADMIN, 2)].into_iter().enumerate() {
        let allowed = |needs: usize, status: u16| if scope >= needs { status } else { 403 };
        let bearer = format!("Bearer {key}");
        for (place, headers, code) in [
            ("f", [("x-functions-key", key)], ""),
            ("b", [("authorization", bearer.as_str())], ""),
            ("c", [("x-other", "")], key),
        ] {
            let id = format!("i{number}{place}");
            let status = async |request: String| {
                let answer = ask(&router, &format!("{request}?code={code}"), &headers, None).await;
                answer.status.as_u16()
            };
            assert_eq!(status(format!("POST /orchestrators/Nobody/{id}")).await, allowed(1, 202));
            assert_eq!(status("GET /instances".into()).await, 200);
            assert_eq!(status("GET /api/v1/hub".into()).await, 200);
            assert_eq!(status(format!("POST /instances/{id}/terminate")).await, allowed(1, 202));
            assert_eq!(status(format!("DELETE /instances/{id}")).await, allowed(2, 412));
            assert_eq!(status("POST /makeprimary".into()).await, allowed(2, 400));
        }
    }
    for headers in [[("x-functions-key", "wrong-wrong-wrong-")], [("authorization", "Basic YTpi")], [("x-functions-key", "")]] {
        let answer = ask(&router, "GET /instances", &headers, None).await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, Some("Bearer realm=\"taskhub\"")));
    }
    let problem = ask(&router, "GET /api/v1/hub", &[], None).await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!((problem.json()["status"].as_u64(), problem.json()["title"].as_str()), (Some(401), Some("Unauthorized")));
}

#[tokio::test(start_paused = true)]
async fn urls_that_are_handed_out_do_what_they_say_for_their_instance_until_they_expire_and_hold_no_key() {
    let world = world().await;
    let api = world.builder().key(Scope::Operate, OPERATE).key(Scope::Admin, ADMIN).url_lifetime(Duration::from_secs(60));
    let router = api.build().unwrap().router();
    let started = ask(&router, &format!("POST /orchestrators/Nobody/a%20b?code={OPERATE}"), &[], Some("1")).await;
    assert_eq!(started.status, 202);
    assert!(![OPERATE, ADMIN].iter().any(|key| started.body.contains(key)), "{}", started.body);
    let urls = started.json();
    let path = |name: &str| urls[name].as_str().unwrap().strip_prefix("http://127.0.0.1:7071").unwrap().to_owned();
    assert_eq!(started.header("location"), urls["statusQueryGetUri"].as_str());
    let status = async |request: String| ask(&router, &request, &[("content-type", "application/json")], Some("1")).await;

    let looked = status(format!("GET {}", path("statusQueryGetUri"))).await;
    assert_eq!(looked.status, 202, "{}", looked.body);
    // The same URL, not a fresh one: who only polls does not keep it alive for ever.
    assert_eq!(looked.header("location"), urls["statusQueryGetUri"].as_str());
    let raised = path("sendEventPostUri").replace("{eventName}", "Go");
    assert_eq!(status(format!("POST {raised}")).await.status, 202);
    assert_eq!(status(format!("POST {}", path("suspendPostUri").replace("{text}", "x"))).await.status, 202);
    // The key could not have deleted either.
    assert_eq!(status(format!("DELETE {}", path("purgeHistoryDeleteUri"))).await.status, 401);
    for (name, other) in [("statusQueryGetUri", "a%20c"), ("sendEventPostUri", "other")] {
        let moved = path(name).replace("a%20b", other).replace("{eventName}", "Go");
        let method = if name == "statusQueryGetUri" { "GET" } else { "POST" };
        assert_eq!(status(format!("{method} {moved}")).await.status, 401, "of another instance");
    }
    let terminate = path("statusQueryGetUri").replace("/a%20b?", "/a%20b/terminate?");
    assert_eq!(status(format!("POST {terminate}")).await.status, 401, "for another act");
    assert_eq!(status(format!("GET {}", path("statusQueryGetUri").replace("/instances/a%20b", "/instances"))).await.status, 401);
    tokio::time::sleep(Duration::from_secs(62)).await;
    assert_eq!(status(format!("GET {}", path("statusQueryGetUri"))).await.status, 401, "expired");
}

/// The URLs of an answer by their names in order, and whether each has a signature.
fn signed(urls: &Value) -> Vec<&str> {
    let urls = urls.as_object().unwrap().iter();
    urls.filter(|(_, url)| url.as_str().unwrap().contains("code=")).map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_url_that_is_handed_out_begets_none_that_does_more_or_lives_longer() {
    let world = world().await;
    let router = world.builder().key(Scope::Admin, ADMIN).url_lifetime(Duration::from_secs(600)).build().unwrap().router();
    let asked = async |request: String| ask(&router, &request, &[("content-type", "application/json")], Some("1")).await;
    let path = |urls: &Value| urls["restartPostUri"].as_str().unwrap().strip_prefix("http://127.0.0.1:7071").unwrap().to_owned();
    let expiry = |path: &str| path.split("code=u1.").nth(1).unwrap().split('.').next().unwrap().to_owned();
    world
        .working(async {
            let started = asked(format!("POST /orchestrators/Echo/i?code={ADMIN}")).await.json();
            assert_eq!(signed(&started).len(), 7);
            world.client.instance("i").wait().within(Duration::from_secs(60)).await.unwrap();
            let mut url = path(&started);
            let first = expiry(&url);
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(100)).await;
                let again = asked(format!("POST {url}")).await;
                assert_eq!(again.status, 202, "{}", again.body);
                assert!(!again.header("location").unwrap().contains("code="));
                let urls = again.json();
                assert_eq!(signed(&urls), ["restartPostUri"]);
                url = path(&urls);
                assert_eq!(expiry(&url), first);
                world.client.instance(urls["id"].as_str().unwrap()).wait().within(Duration::from_secs(60)).await.unwrap();
            }
            for reads in ["timeout=10&pollingInterval=1", "showHistory=true"] {
                let refused = asked(format!("POST {url}&{reads}")).await;
                assert_eq!(refused.status, 403, "{reads}");
            }
            tokio::time::sleep(Duration::from_secs(400)).await;
            assert_eq!(asked(format!("POST {url}")).await.status, 401, "expired with the first");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_url_that_is_handed_out_takes_no_parameter_that_widens_it_unless_it_is_signed_for_that() {
    let world = world().await;
    let router = with_keys(&world);
    let asked = async |request: &str| ask(&router, request, &[], None).await;
    let own = |url: &str| url.strip_prefix("http://127.0.0.1:7071").unwrap().replace("{text}", "x");
    let urls = asked(&format!("POST /orchestrators/Nobody/i?code={ADMIN}")).await.json();
    let of = |name: &str| own(urls[name].as_str().unwrap());
    for (method, name, more, status) in [
        ("GET", "statusQueryGetUri", "showHistory=true", 403),
        ("GET", "statusQueryGetUri", "SHOWHISTORY=%20True", 403),
        ("GET", "statusQueryGetUri", "showHistoryOutput=true", 403),
        ("GET", "statusQueryGetUri", "showHistory=maybe", 400),
        ("GET", "statusQueryGetUri", "showHistory=true&showHistory=true", 400),
        ("GET", "statusQueryGetUri", "showHistory=false&showInput=true&returnInternalServerErrorOnFailure=true", 202),
        ("GET", "statusQueryGetUri", "showInput=false", 202),
        ("DELETE", "purgeHistoryDeleteUri", "recursive=true", 403),
        ("DELETE", "purgeHistoryDeleteUri", "recursive=false", 412),
        ("POST", "terminatePostUri", "recursive=true", 403),
        ("POST", "terminatePostUri", "recursive=false", 202),
    ] {
        let answer = asked(&format!("{method} {}&{more}", of(name))).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {name} {more}: {}", answer.body);
        let keyed = ask(&router, &format!("{method} {}&{more}", of(name)), &[("x-functions-key", ADMIN)], None).await;
        assert!(![401, 403].contains(&keyed.status.as_u16()), "{method} {name} {more}: {}", keyed.body);
    }
    // A URL that is made of a whole request is signed for just that request.
    for (query, others) in [
        ("showHistory=true", ["showHistoryOutput=true", "showInput=false"]),
        ("showInput=false", ["showHistory=true", "showHistoryOutput=true"]),
    ] {
        let looked = asked(&format!("GET /instances/i?code={READ}&{query}")).await;
        let location = own(looked.header("location").unwrap());
        assert_eq!(asked(&format!("GET {location}")).await.status, 202, "{location}");
        for other in others {
            assert_eq!(asked(&format!("GET {location}&{other}")).await.status, 401, "{location}&{other}");
        }
        let without = location.replace(&format!("&{query}"), "");
        assert_eq!(asked(&format!("GET {without}")).await.status, 401, "{without}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_in_the_query_never_comes_back_in_a_location() {
    let world = world().await;
    let router = with_keys(&world);
    ask(&router, &format!("POST /orchestrators/Nobody/i?code={ADMIN}"), &[], None).await;
    let looked = ask(&router, &format!("GET /instances/i?Code={READ}&showInput=false"), &[], None).await;
    let location = looked.header("location").unwrap();
    assert!(!location.contains(READ) && location.contains("code=u1."), "{location}");
    assert!(location.ends_with("&showInput=false"), "{location}");
    let again = ask(&router, &format!("GET {}", location.strip_prefix("http://127.0.0.1:7071").unwrap()), &[], None).await;
    assert_eq!((again.status.as_u16(), again.header("location")), (202, Some(location)));
    let by_header = ask(&router, "GET /instances/i", &[("x-functions-key", READ)], None).await;
    assert_eq!(by_header.header("location"), Some("http://127.0.0.1:7071/instances/i"));
}

#[tokio::test(start_paused = true)]
async fn without_a_key_only_this_machine_is_answered_by_its_own_names() {
    let world = world().await;
    let open = world.builder().without_keys().build().unwrap().router();
    for (host, status) in
        [("localhost:7071", 200), ("[::1]:7071", 200), ("evil.example", 403), ("10.0.0.1", 403), ("127.0.0.1@evil.example", 400)]
    {
        assert_eq!(ask(&open, "GET /instances", &[("host", host)], None).await.status.as_u16(), status, "{host}");
    }
    let from = async |peer: &str| {
        let mut request = Request::get("/instances").header("host", "localhost").body(axum::body::Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        send(&open, request).await.status.as_u16()
    };
    assert_eq!(
        (from("127.0.0.1:5000").await, from("[::ffff:127.0.0.1]:5000").await, from("10.0.0.2:5000").await),
        (200, 200, 403)
    );
    let keyed = with_keys(&world);
    let answer = ask(&keyed, "GET /instances", &[("host", "durable.example"), ("x-functions-key", READ)], None).await;
    assert_eq!(answer.status, 200, "a key is enough");
}

#[tokio::test(start_paused = true)]
async fn without_a_key_no_page_of_another_site_has_anything_done() {
    let world = world().await;
    let builder = || world.builder().without_keys().public_url("https://durable.example/base");
    let router = builder().allow_origin("https://shop.example").build().unwrap().router();
    for (number, (headers, is_let_in)) in [
        (vec![], true),
        (vec![("origin", "http://localhost:3000")], true),
        (vec![("origin", "http://127.0.0.1"), ("sec-fetch-site", "same-site")], true),
        (vec![("origin", "https://[::1]:8")], true),
        (vec![("origin", "https://durable.example"), ("sec-fetch-site", "same-origin")], true),
        (vec![("origin", "https://shop.example"), ("sec-fetch-site", "cross-site")], true),
        (vec![("sec-fetch-site", "none")], true),
        (vec![("origin", "https://evil.example")], false),
        (vec![("origin", "http://durable.example")], false),
        (vec![("origin", "http://localhost.evil.example")], false),
        (vec![("origin", "null")], false),
        (vec![("origin", "localhost")], false),
        (vec![("sec-fetch-site", "cross-site")], false),
        (vec![("origin", "http://localhost"), ("sec-fetch-site", "Cross-Site")], false),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("i{number}");
        let plain = [("content-type", "text/plain")].into_iter().chain(headers.clone()).collect::<Vec<_>>();
        let started = ask(&router, &format!("POST /orchestrators/Nobody/{id}"), &plain, Some("1")).await;
        assert_eq!(started.status.as_u16(), if is_let_in { 202 } else { 403 }, "{headers:?}: {}", started.body);
        assert_eq!(world.client.instance(&id).status().await.is_ok(), is_let_in, "{headers:?}");
        let listed = ask(&router, "GET /instances", &headers, None).await;
        assert_eq!(listed.status.as_u16(), if is_let_in { 200 } else { 403 }, "{headers:?}");
    }
    let twice = [("origin", "http://localhost"), ("origin", "https://evil.example")];
    assert_eq!(ask(&router, "POST /orchestrators/Nobody/twice", &twice, None).await.status, 400);
    let error = builder().allow_origin("*").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("without a key pages of every origin"), "{error}");
    let from_page = [("origin", "https://evil.example"), ("x-functions-key", OPERATE)];
    let keyed = ask(&with_keys(&world), "POST /orchestrators/Nobody/keyed", &from_page, None).await;
    assert_eq!(keyed.status, 202, "a key is enough");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_not_built_and_no_key_is_repeated() {
    let world = world().await;
    let refused = |builder: crate::http::ManagementApiBuilder| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    };
    assert!(refused(world.builder()).contains("has no key"));
    assert!(refused(world.builder().key(Scope::Read, READ).without_keys()).contains("leave one of them out"));
    let short = refused(world.builder().key(Scope::Read, "hush"));
    assert!(short.contains("a key for Read is shorter than 16 bytes") && !short.contains("hush"), "{short}");
    assert!(refused(world.builder().without_keys().prefixes(["api"])).contains("\"api\" is no prefix"));
    assert!(refused(world.builder().without_keys().prefixes([""; 0])).contains("no prefix"));
    assert!(
        refused(world.builder().without_keys().public_url("durable.example")).contains("\"durable.example\" is no public URL")
    );
    assert!(refused(world.builder().without_keys().allow_origin("shop.example")).contains("\"shop.example\" is no origin"));
    assert!(refused(world.builder().without_keys().body_limit(0)).contains("more than zero"));
    let shown = format!("{:?}", world.builder().key(Scope::Read, READ).build().unwrap());
    assert!(!shown.contains(READ), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_ones_own_route_hands_out_what_it_is_told_to() {
    let world = world().await;
    let api = world.builder().key(Scope::Admin, ADMIN).public_url("https://shop.example/durable/").build().unwrap();
    let router = api.router();
    let order = world.client.start_named("Nobody", 1).instance_id("o").await.unwrap();
    let answered = async |scope: Option<Scope>| -> Value {
        use axum::response::IntoResponse as _;
        let accepted = api.accepted(&axum::http::HeaderMap::new(), &order).unwrap();
        let response = scope.map_or(accepted.clone(), |scope| accepted.restricted_to(scope)).into_response();
        assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (202, "10"));
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    let works = async |urls: &Value, method: &str, name: &str| {
        let url = urls[name].as_str().unwrap().replace("{text}", "x").replace("{eventName}", "e");
        let path = url.strip_prefix("https://shop.example/durable").unwrap_or_else(|| panic!("{url}"));
        assert!(path.starts_with(PREFIX), "{url}");
        ask(&router, &format!("{method} {path}"), &[("content-type", "application/json")], Some("1")).await.status.as_u16()
    };
    let all = answered(None).await;
    assert_eq!(works(&all, "GET", "statusQueryGetUri").await, 202);
    assert_eq!(works(&all, "POST", "sendEventPostUri").await, 202);
    assert_eq!(works(&all, "DELETE", "purgeHistoryDeleteUri").await, 401);
    let read = answered(Some(Scope::Read)).await;
    assert_eq!(works(&read, "GET", "statusQueryGetUri").await, 202);
    assert_eq!(works(&read, "POST", "sendEventPostUri").await, 401);
    assert_eq!(works(&answered(Some(Scope::Admin)).await, "DELETE", "purgeHistoryDeleteUri").await, 412);
}
