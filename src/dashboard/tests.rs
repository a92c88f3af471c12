//! Tests of what is served: every file with its headers, the ways to the page, and what no file may do. What a browser makes of it is tested in
//! `azurite-tests/dashboard.rs`.

use std::collections::BTreeSet;
use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use tower::ServiceExt as _;

use super::assets::{ASSETS, PAGE};
use super::{router, with_root};
use crate::http::{ManagementApi, ManagementApiBuilder};
use crate::{Client, Storage, TaskHub};

async fn builder() -> ManagementApiBuilder {
    let hub = TaskHub::open(Storage::in_memory(), "Shop").await.unwrap();
    ManagementApi::builder(&Client::new(&hub)).without_keys()
}

async fn ask(router: &Router, request: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path).header("host", "127.0.0.1:7071");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let answer = router.clone().oneshot(builder.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn is_secured(headers: &HeaderMap) -> bool {
    let policy = text(headers, "content-security-policy");
    let is_strict =
        policy.split("; ").all(|rule| rule.ends_with(" 'none'") || rule.ends_with(" 'self'") || rule.ends_with(" 'script'"));
    is_strict
        && ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"].iter().all(|rule| policy.contains(rule))
        && text(headers, "x-content-type-options") == "nosniff"
        && text(headers, "referrer-policy") == "no-referrer"
}

#[tokio::test]
async fn every_file_is_served_with_its_type_under_a_strict_policy_and_once_only_while_it_is_the_same() {
    let router = router(&builder().await.build().unwrap());
    for asset in ASSETS {
        let path = format!("/dashboard/{}", asset.name);
        let (status, headers, body) = ask(&router, &format!("GET {path}"), &[]).await;
        assert_eq!((status, text(&headers, "content-type"), body.as_str()), (StatusCode::OK, asset.content_type, asset.text));
        assert!(is_secured(&headers), "{path}: {headers:?}");
        let tag = text(&headers, "etag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let (status, headers, body) = ask(&router, &format!("GET {path}"), &[("if-none-match", &known)]).await;
            assert_eq!((status, text(&headers, "etag"), body.as_str()), (StatusCode::NOT_MODIFIED, tag.as_str(), ""), "{path}");
            assert!(is_secured(&headers), "{path}");
        }
        assert_eq!(ask(&router, &format!("GET {path}"), &[("if-none-match", "\"other\"")]).await.0, StatusCode::OK);
        let (status, headers, body) = ask(&router, &format!("HEAD {path}"), &[]).await;
        assert_eq!((status, text(&headers, "content-length").parse(), body.as_str()), (StatusCode::OK, Ok(asset.text.len()), ""));
    }
    for (request, status) in
        [("GET /dashboard/nothing.mjs", 404), ("GET /dashboard/..%2Fmod.rs", 404), ("POST /dashboard/main.mjs", 405)]
    {
        let (answer, headers, _) = ask(&router, request, &[]).await;
        assert_eq!(answer.as_u16(), status, "{request}");
        assert!(status == 405 || is_secured(&headers), "{request}");
    }
}

#[tokio::test]
async fn the_page_is_behind_each_prefix_nested_too_and_the_api_beside_it() {
    let api = builder().await.prefixes(["/api.v2", "/"]).build().unwrap();
    let both = api.router().merge(router(&api));
    let nested = Router::new().nest("/durable", both.clone());
    for (router, base) in [(&both, ""), (&both, "/api.v2"), (&nested, "/durable"), (&nested, "/durable/api.v2")] {
        let (status, headers, _) = ask(router, &format!("GET {base}/dashboard"), &[]).await;
        assert_eq!((status.as_u16(), text(&headers, "location")), (308, "dashboard/"), "{base}");
        let (status, _, page) = ask(router, &format!("GET {base}/dashboard/"), &[]).await;
        assert_eq!((status.as_u16(), page.contains("main.mjs")), (200, true), "{base}");
        let (status, _, access) = ask(router, &format!("GET {base}/api/v1/access"), &[]).await;
        assert_eq!((status.as_u16(), access.contains("\"scope\":\"admin\"")), (200, true), "{base}");
    }
}

#[tokio::test]
async fn a_browser_is_led_to_the_page_from_the_root_and_others_get_what_they_got() {
    let page = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for (prefixes, to) in [(vec!["/a/b", "/"], "dashboard/"), (vec!["/a/b"], "a/b/dashboard/")] {
        let api = builder().await.prefixes(prefixes).build().unwrap();
        let (with, without) = (with_root(&api), api.router());
        let (status, headers, _) = ask(&with, "GET /", &page).await;
        assert_eq!((status.as_u16(), text(&headers, "location")), (307, to));
        for (request, headers) in [
            ("GET /", &[][..]),
            ("GET /", &[("accept", "application/json")]),
            ("POST /", &page),
            ("GET /a/b", &page),
            ("GET /instances", &page),
        ] {
            let (with, without) = (ask(&with, request, headers).await, ask(&without, request, headers).await);
            assert_eq!((with.0, with.2), (without.0, without.2), "{request}");
        }
    }
}

/// What could take a text for markup or code, or ask elsewhere. The namespace of drawings is a name and no address.
const FORBIDDEN: [&str; 20] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "createContextualFragment",
    "DOMParser",
    "setHTML",
    "srcdoc",
    "eval(",
    "Function(",
    "javascript:",
    "import(",
    "setAttribute(\"style",
    "style=",
    "localStorage",
    "document.cookie",
    "http://",
    "https://",
    "//cdn",
    "@import",
];
const NAMESPACE: &str = "http://www.w3.org/2000/svg";

#[test]
fn no_file_takes_texts_for_markup_or_asks_elsewhere() {
    for asset in ASSETS {
        let said = asset.text.replace(NAMESPACE, "");
        for sink in FORBIDDEN {
            assert!(!said.contains(sink), "{}: {sink}", asset.name);
        }
    }
    let page = ASSETS.iter().find(|asset| asset.name == PAGE).unwrap().text;
    assert!(page.matches("<script").count() == 1 && page.contains("<script type=\"module\" src=\"main.mjs\"></script>"));
    let words = page.split_ascii_whitespace();
    assert_eq!(words.filter(|word| word.starts_with("on") && word.contains('=')).count(), 0, "a listener in the markup");
    // The element of a drawing is made in one place, and no text may choose it.
    let makers = ASSETS.iter().filter(|asset| asset.text.contains("createElement")).map(|asset| asset.name);
    assert_eq!(makers.collect::<Vec<_>>(), ["dom.mjs"]);
}

/// The files that a file names: in quotes, as a neighbour.
fn named(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('"').skip(1).step_by(2).map(|name| name.trim_start_matches("./"));
    quoted.filter(|name| [".mjs", ".css", ".svg"].iter().any(|end| name.ends_with(end))).collect()
}

#[test]
fn the_files_are_those_of_the_folder_and_each_is_used_short_and_has_a_charter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/assets");
    let on_disk: BTreeSet<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(ASSETS.iter().map(|asset| asset.name.to_owned()).collect::<BTreeSet<_>>(), on_disk);
    let (mut used, mut left) = (BTreeSet::from([PAGE]), vec![PAGE]);
    while let Some(name) = left.pop() {
        let asset = ASSETS.iter().find(|asset| asset.name == name).unwrap_or_else(|| panic!("{name} is named and not there"));
        left.extend(named(asset.text).into_iter().filter(|name| used.insert(name)));
        let charter = if asset.name.ends_with(".mjs") { "// " } else { "/* " };
        assert!(asset.name.ends_with("ml") || asset.name.ends_with("svg") || asset.text.starts_with(charter), "{name}");
        assert!(asset.text.lines().count() <= 500, "{name} is too long");
    }
    assert_eq!(used.len(), ASSETS.len(), "not all are used");
}
