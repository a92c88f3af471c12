//! Access by a shared access signature: a whole orchestration with no account key in the worker's hands.

use std::time::Duration;

use azure_core::auth::Secret;
use azure_core::hmac::hmac_sha256;
use taskhub::{Activity, ActivityContext, Client, Orchestrator, RuntimeStatus, Storage, TaskHub, Worker};

use crate::harness::{azurite, unique_hub_name};

const ECHO: Activity<String, String> = Activity::new("Echo");
const RUN: Orchestrator<String, String> = Orchestrator::new("Run");

/// A connection string with a signature for all that a hub needs, or for reading only.
fn signed(permissions: &str) -> String {
    let all = azurite().connection_string();
    let part = |key: &str| all.split(';').find_map(|part| part.strip_prefix(key)).expect("Azurite's connection string is whole");
    let (account, key) = (part("AccountName="), part("AccountKey="));
    let (services, types, expiry, version) = ("bqt", "sco", "2099-01-01T00:00:00Z", "2018-11-09");
    let text = format!("{account}\n{permissions}\n{services}\n{types}\n\n{expiry}\n\n\n{version}\n");
    let signature = hmac_sha256(&text, &Secret::new(key.to_owned())).expect("the key is base64");
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let token = format!("sv={version}&ss={services}&srt={types}&se={expiry}&sp={permissions}&sig={signature}");
    let endpoints = ["Blob", "Queue", "Table"].map(|service| {
        let key = format!("{service}Endpoint=");
        format!("{key}{};", part(&key))
    });
    format!("{}SharedAccessSignature={token}", endpoints.concat())
}

#[tokio::test]
async fn a_shared_access_signature_is_enough_for_a_worker_and_a_client() {
    let storage = Storage::connect(&signed("rwdlacup")).expect("the connection string is well formed");
    let hub = TaskHub::open(storage, unique_hub_name("sas")).await.expect("a hub can be created");
    let client = Client::new(&hub);
    // Large enough for blobs, so that all three services are used.
    let text = "x".repeat(100_000);
    let worker = Worker::builder(&hub)
        .activity(ECHO, async |_: ActivityContext, text: String| Ok(text))
        .orchestrator(RUN, async |ctx, text: String| Ok(ctx.call(ECHO, text).await?));
    let using = async {
        let id = client.start(RUN, &text).await.expect("an instance can be started");
        let ended = client.wait(&id, Duration::from_secs(30)).await.expect("it ends");
        assert_eq!(ended.status, RuntimeStatus::Completed, "{:?}", ended.output.map(|output| output.len()));
        assert_eq!(ended.output::<String>().expect("a text"), text);
    };
    worker.run(using).await.expect("the worker runs");
}

#[tokio::test]
async fn a_signature_that_allows_too_little_is_refused_without_showing_it() {
    let connection_string = signed("rl");
    let storage = Storage::connect(&connection_string).expect("the connection string is well formed");
    let error = TaskHub::open(storage, unique_hub_name("sas")).await.expect_err("a hub cannot be created by reading");
    let told = format!("{error} {error:?}");
    assert!(told.contains("Denied"), "{told}");
    assert!(!told.contains("sig="), "the error shows the signature");
}
