//! A long operation behind HTTP: the service answers 202 at once, with the URL where its client looks until the work is done.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::future::IntoFuture as _;
use std::process::ExitCode;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::Value;
use support::Outcome;
use taskhub::http::{ManagementApi, Scope};
use taskhub::{Activity, ActivityContext, Client, Failure, OrchestrationContext, Orchestrator};
use tokio::net::TcpListener;

const BAKE: Activity<String, String> = Activity::new("Bake");
const ORDER: Orchestrator<String, String> = Orchestrator::new("Order");

async fn order(ctx: OrchestrationContext, cake: String) -> Result<String, Failure> {
    ctx.set_custom_status("in the oven");
    let cake = ctx.call(BAKE, cake).await?;
    ctx.timer(Duration::from_secs(1)).await; // It has to cool.
    Ok(format!("one {cake}, cooled"))
}

async fn bake(_: ActivityContext, cake: String) -> Result<String, Failure> {
    Ok(format!("{cake} cake"))
}

/// `POST /orders`: starts the work, and says where to ask for it.
async fn place(State(api): State<ManagementApi>, headers: HeaderMap, cake: String) -> Result<Response, (StatusCode, String)> {
    let failed = |error: taskhub::Error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let order = api.client().start(ORDER, cake).await.map_err(failed)?;
    // Who orders may look, and no more: the other URLs of the answer ask for a key.
    let accepted = api.accepted(&headers, &order).map_err(failed)?.restricted_to(Scope::Read);
    Ok(accepted.into_response())
}

/// What a client does: it follows `Location` until the answer is no longer 202.
async fn customer(shop: &str) -> Outcome {
    let client = reqwest::Client::new();
    let placed = client.post(format!("{shop}/orders")).body("lemon").send().await?;
    let url = placed.headers()["location"].to_str()?.to_owned();
    println!("POST {shop}/orders: {}\n  Location: {url}", placed.status());
    loop {
        // A real client waits as long as `Retry-After` says, which is 5 seconds.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let looked = client.get(&url).send().await?;
        let (status, body) = (looked.status(), serde_json::from_str::<Value>(&looked.text().await?)?);
        println!("GET: {status}, {}, custom status {}", body["runtimeStatus"], body["customStatus"]);
        if status != StatusCode::ACCEPTED {
            println!("  output: {}", body["output"]);
            return support::expect(body["output"].as_str(), Some("one lemon cake, cooled"));
        }
    }
}

async fn serve(client: Client) -> Outcome {
    let key = "the-key-of-whoever-runs-the-shop"; // In life: from the environment.
    let api = ManagementApi::builder(&client).key(Scope::Admin, key).build()?;
    let app = axum::Router::new().route("/orders", post(place)).with_state(api.clone()).merge(api.router());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let shop = format!("http://{}", listener.local_addr()?);
    println!("Open at {shop}. By hand:\n  curl -i -X POST {shop}/orders -d lemon\n");
    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async { drop(closed.await) }).into_future();
    let shopping = async {
        let shopped = customer(&shop).await;
        // Time for those who try it by hand.
        let seconds = std::env::var("OPEN_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        drop(close);
        shopped
    };
    let (served, shopped) = tokio::join!(serving, shopping);
    served?;
    shopped
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run("AsyncHttpApi", |worker| worker.orchestrator(ORDER, order).activity(BAKE, bake), serve).await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn a_cake_is_baked_and_cools() {
        let host = TestHost::builder(|worker| worker.orchestrator(ORDER, order))
            .on(BAKE, |_, cake| Ok(format!("{cake} cake")))
            .start()
            .await;
        assert_eq!(host.run(ORDER, "plum".to_owned()).await.unwrap(), "one plum cake, cooled");
        assert_eq!(host.elapsed(), Duration::from_secs(1));
    }
}
