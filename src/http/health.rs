//! What an orchestrator of containers asks a server: whether it lives, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ManagementApi;
use crate::client::Client;

/// For so long what was found last is told again, however many ask: nobody needs a key to ask, and each look is a storage call.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// Storage that does not answer within this is not there: who asks waits for about a second in most set-ups, and asks again.
const PATIENCE: Duration = Duration::from_secs(3);

type Found = Arc<Mutex<Option<(Instant, bool)>>>;

impl ManagementApi {
    /// The paths `/health/live` and `/health/ready`, without a key: 200 as long as the server answers; and 200 or 503 by whether the hub is there and
    /// its storage answers, which takes one storage call in five seconds at most. [`serve`](Self::serve) has them.
    pub fn health(&self) -> Router {
        let (client, found) = (self.client().clone(), Found::default());
        Router::new()
            .route("/health/live", get(async || answer(StatusCode::OK, "ok")))
            .route("/health/ready", get(ready))
            .with_state((client, found))
    }
}

async fn ready(State((client, found)): State<(Client, Found)>) -> impl IntoResponse {
    // Whoever asks while somebody looks waits for what is found.
    let mut found = found.lock().await;
    let is_ready = match *found {
        Some((at, is_ready)) if at.elapsed() < GOOD_FOR => is_ready,
        _ => {
            let (begun, looked) = (Instant::now(), tokio::time::timeout(PATIENCE, client.ping()).await);
            let is_ready = looked.is_ok_and(|looked| looked.is_ok());
            *found = Some((begun, is_ready));
            is_ready
        }
    };
    match is_ready {
        true => answer(StatusCode::OK, "ok"),
        // Why stands in answers of the API, for those who have a key.
        false => answer(StatusCode::SERVICE_UNAVAILABLE, "the task hub cannot be read"),
    }
}

fn answer(status: StatusCode, words: &'static str) -> impl IntoResponse {
    (status, [(header::CACHE_CONTROL, "no-store")], words)
}
