//! Requests at random, as the description of the API has them and as it has not: nothing breaks, hangs, or answers with anything but JSON.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;

use super::schema::why_not;
use super::world::{World, ask, send};
use crate::rng::Rng;

/// Requests of one run; `TASKHUB_FULL` makes twenty times as many.
const REQUESTS: u64 = 1500;

/// Draws what a client may send.
struct Client(Rng);

impl Client {
    fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.0.below(all.len() as u64)).unwrap()]
    }

    /// A segment of a path, encoded or odd.
    fn segment(&self) -> String {
        let odd = [
            "%00",
            "%2F",
            "%2e%2e",
            "a%20b",
            "%ff",
            "%E2%82%AC",
            "%",
            "%zz",
            "@counter@x",
            "a+b",
            "..",
            "x%0d%0aSet-Cookie:%20a",
            "%25",
            "'",
            "~",
            "%F0%9F%98%80",
        ];
        match self.0.below(10) {
            0 | 1 => (*self.pick(&odd)).to_owned(),
            2 => "x".repeat(usize::try_from(self.0.below(700)).unwrap()),
            // A few that meet each other.
            _ => format!("i{}", self.0.below(12)),
        }
    }

    /// A value of a parameter of this schema, mostly a good one.
    fn value(&self, schema: &Value) -> String {
        let odd = [
            "",
            "%00",
            "null",
            "-1",
            "1e999",
            "NaN",
            "%ff",
            "true,true",
            "99999999999999999999999",
            "%F0%9F%98%80",
            "' or 1 eq 1",
            "a%26b",
        ];
        if self.0.chance(0.15) {
            return self.pick(&odd).replace(' ', "%20");
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("boolean"), _) => (*self.pick(&["true", "false", "TRUE"])).to_owned(),
            (Some("integer"), _) => self.0.below(1200).to_string(),
            (Some("number"), _) => (*self.pick(&["0", "0.5", "2", "10"])).to_owned(),
            (Some("array"), _) => {
                let status = || *self.pick(&["Running", "completed", "3", "Failed", "Pending"]);
                format!("{},{}", status(), status())
            }
            (_, Some("date-time")) => (*self.pick(&[
                "2026-01-01",
                "2025-12-31T23:59:59.9999999Z",
                "1-01-01T00:00:00.000000Z",
                "9999-12-31T23:59:59%2B14:00",
            ]))
            .to_owned(),
            _ => self.segment(),
        }
    }

    fn body(&self) -> Body {
        let deep = "[".repeat(200_000);
        let bodies: [&[u8]; 12] = [
            b"",
            b"1",
            b"null",
            b"{\"a\":[1,2,{}]}",
            b"{",
            b"\xff\xfe",
            b"\"\\ud800\"",
            b"{\"name\":\"Echo\"}",
            b"{\"name\":\"WaitForever\",\"instanceId\":\"i3\"}",
            b"{\"name\":\"Echo\",\"tags\":{\"a\":\"b\"},\"startAt\":\"2030-01-01T00:00:00Z\"}",
            b"   ",
            deep.as_bytes(),
        ];
        Body::from(self.pick(&bodies).to_vec())
    }

    /// A request, and the operation that describes it, if its method is described.
    fn request<'d>(&self, document: &'d Value) -> (Request<Body>, Option<&'d Value>) {
        let paths: Vec<_> = document["paths"].as_object().unwrap().iter().collect();
        let (path, operations) = *self.pick(&paths);
        let operations: Vec<_> = operations.as_object().unwrap().iter().collect();
        let (method, operation) = *self.pick(&operations);
        let mut uri = String::new();
        for part in path.split('/').skip(1) {
            let part = if part == "{functionName}" {
                (*self.pick(&["Echo", "WaitForever", "Throws", "Nobody", "SubParent"])).to_owned()
            } else if part.starts_with('{') {
                self.segment()
            } else {
                part.to_owned()
            };
            uri = format!("{uri}/{part}");
        }
        let mut pairs = Vec::new();
        for parameter in operation["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            // Few requests name a hub, so that most get somewhere.
            if self.0.chance(if name == "taskHub" { 0.02 } else { 0.3 }) {
                pairs.push(format!("{name}={}", self.value(&parameter["schema"])));
            }
        }
        let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
        let method = if self.0.chance(0.05) { (*self.pick(&methods)).to_owned() } else { method.to_uppercase() };
        let operation = document["paths"][path].get(method.to_lowercase());
        let mut request =
            Request::builder().method(method.as_str()).uri(format!("{uri}?{}", pairs.join("&"))).header("host", "localhost");
        if self.0.chance(0.8) {
            request = request.header("content-type", "application/json");
        }
        let odd = ["garbage", "", "a.b", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"];
        for name in ["x-ms-continuation-token", "traceparent", "tracestate", "x-forwarded-host"] {
            if self.0.chance(0.05) {
                request = request.header(name, *self.pick(&odd));
            }
        }
        (request.body(self.body()).unwrap(), operation)
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_breaks_anything_and_every_answer_is_json_or_empty() {
    let world = World::new("Shop", "2026-01-01T00:00:00Z").await;
    let router = world.builder().without_keys().request_timeout(Duration::from_secs(60)).build().unwrap().router();
    let document = ask(&router, "GET /api/v1/openapi.json", &[], None).await.json();
    let client = Client(Rng::seeded(7));
    let requests = if std::env::var_os("TASKHUB_FULL").is_some() { 20 * REQUESTS } else { REQUESTS };
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    world
        .working(async {
            for number in 0..requests {
                let (request, operation) = client.request(&document);
                let said = format!("{number}: {} {} {:?}", request.method(), request.uri(), request.headers());
                let is_odd_path = request.uri().path().split('/').any(|part| matches!(part, ".." | ""));
                let is_head = request.method() == "HEAD";
                let begun = tokio::time::Instant::now();
                let answer = send(&router, request).await;
                assert!(begun.elapsed() < Duration::from_secs(60), "{said}: {:?}", begun.elapsed());
                // A failed instance that is asked for so is answered with its status; and nobody has entities.
                let is_failed =
                    answer.status == StatusCode::INTERNAL_SERVER_ERROR && answer.body.contains("\"runtimeStatus\":\"Failed\"");
                let is_failed = is_failed || (is_head && answer.status == StatusCode::INTERNAL_SERVER_ERROR);
                let may_break = answer.status == StatusCode::NOT_IMPLEMENTED || is_failed;
                assert!(!answer.status.is_server_error() || may_break, "{said}: {answer:?}");
                if !answer.body.is_empty() {
                    serde_json::from_str::<&serde_json::value::RawValue>(&answer.body)
                        .unwrap_or_else(|error| panic!("{said}: {error}: {}", answer.body));
                }
                // Segments at random may be another path, or none.
                let described = operation.filter(|_| !is_odd_path);
                if let Some(why) = described.and_then(|operation| why_not(&document, operation, &answer)) {
                    panic!("{said}: {why}");
                }
                *statuses.entry(answer.status.as_u16()).or_default() += 1;
            }
        })
        .await;
    for status in [200, 202, 400, 404, 405, 409, 410, 412] {
        assert!(statuses.contains_key(&status), "nothing was answered with {status}: {statuses:?}");
    }
}
