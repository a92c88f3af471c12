//! How much a server takes at once, and for how long: requests, connections, headers, bodies.

use std::time::Duration;

use axum::body::Body;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::world::{World, ask, send};
use crate::http::ManagementApi;

async fn world() -> World {
    World::new("Shop", "2026-01-01T00:00:00Z").await
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_enough_is_under_way_is_told_to_come_again() {
    let world = world().await;
    let router = world.builder().without_keys().concurrent_requests(2).build().unwrap().router();
    let waits = |id| {
        let router = router.clone();
        async move { ask(&router, &format!("POST /orchestrators/Nobody/{id}?timeout=60&pollingInterval=1"), &[], None).await }
    };
    let beside = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let refused = ask(&router, "GET /instances", &[], None).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")));
        assert!(refused.json()["Message"].as_str().unwrap().contains("come again"));
        let problem = ask(&router, "GET /api/v1/hub", &[], None).await;
        assert_eq!((problem.status.as_u16(), problem.header("content-type")), (503, Some("application/problem+json")));
    };
    let (first, second, ()) = tokio::join!(waits("a"), waits("b"), beside);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (202, 202));
    assert_eq!(ask(&router, "GET /instances", &[], None).await.status, 200, "their places are free again");
    assert!(world.builder().without_keys().concurrent_requests(0).build().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_as_long_as_an_answer() {
    let world = world().await;
    let router = world.builder().without_keys().build().unwrap().router();
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = axum::http::Request::post("/orchestrators/Nobody/i").header("host", "localhost").body(never).unwrap();
    let begun = tokio::time::Instant::now();
    let answer = send(&router, request).await;
    assert_eq!((answer.status.as_u16(), begun.elapsed().as_secs()), (408, 60));
    assert_eq!(ask(&router, "GET /instances/i", &[], None).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn head_is_get_without_the_body() {
    let world = world().await;
    let router = world.builder().without_keys().build().unwrap().router();
    ask(&router, "POST /orchestrators/Nobody/i", &[], None).await;
    for path in ["/instances/i", "/instances", "/api/v1/instances/i", "/api/v1/hub", "/instances/nobody", "/api/v1/nowhere"] {
        let get = ask(&router, &format!("GET {path}"), &[], None).await;
        let head = ask(&router, &format!("HEAD {path}"), &[], None).await;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        for name in ["content-type", "location", "retry-after", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
    }
    let refused = ask(&router, "HEAD /instances/i/terminate", &[], None).await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, Some("POST")));
}

/// A server on a socket, and its end.
async fn serving(
    api: &ManagementApi,
) -> (std::net::SocketAddr, tokio::sync::oneshot::Sender<()>, impl Future<Output = ()> + use<>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let api = api.clone();
    (address, stop, async move { api.serve(listener, async { drop(stopped.await) }).await.unwrap() })
}

async fn said(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_says_what_it_wants_is_closed_and_an_idle_one_too() {
    let world = world().await;
    let (address, stop, serving) = serving(&world.builder().without_keys().build().unwrap()).await;
    let client = async {
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /instances HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
        let begun = tokio::time::Instant::now();
        let answer = said(&mut slow).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert_eq!(begun.elapsed().as_secs(), 30);

        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /instances HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(said(&mut idle).await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(begun.elapsed().as_secs(), 30, "it was kept open for more");
        drop(stop);
    };
    tokio::join!(serving, client);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_ends_what_is_under_way_and_takes_nothing_more() {
    let world = world().await;
    let (address, stop, serving) = serving(&world.builder().without_keys().build().unwrap()).await;
    let client = async {
        let mut waits = TcpStream::connect(address).await.unwrap();
        let start = b"POST /orchestrators/Nobody/i?timeout=100&pollingInterval=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        waits.write_all(start).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let begun = tokio::time::Instant::now();
        drop(stop);
        assert!(said(&mut waits).await.starts_with("HTTP/1.1 202 Accepted\r\n"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    tokio::join!(serving, client);
    assert!(TcpStream::connect(address).await.is_err());
}
