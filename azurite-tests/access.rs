//! Access: by a shared access signature, with no account key in the worker's hands; and what is told where there is none.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use azure_core::auth::Secret;
use azure_core::hmac::hmac_sha256;
use taskhub::{Activity, ActivityContext, Client, Orchestrator, RuntimeStatus, Storage, TaskHub, Worker};

use crate::harness::{azurite, connection_string_at, unique_hub_name};

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
        let ended = id.wait().within(Duration::from_secs(30)).await.expect("it ends");
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

/// The connection string of Azurite's account with another key.
fn with_another_key() -> String {
    let all = azurite().connection_string();
    let parts =
        all.split(';').map(|part| if part.starts_with("AccountKey=") { "AccountKey=bm90IHRoZSByaWdodCBrZXk=" } else { part });
    parts.collect::<Vec<_>>().join(";")
}

async fn refusal(connection_string: &str) -> taskhub::Error {
    let storage = Storage::connect(connection_string).expect("the connection string is well formed");
    TaskHub::open(storage, unique_hub_name("none")).await.expect_err("no hub can be opened there")
}

#[tokio::test]
async fn what_the_user_can_mend_is_told_with_the_remedy() {
    let denied = refusal(&with_another_key()).await;
    assert!(denied.to_string().contains("check the account's name and key"), "{denied}");
    assert!(!denied.is_retriable());
    let closed = ["1", "2", "3"].map(|port| format!("http://127.0.0.1:{port}"));
    let unreachable = refusal(&connection_string_at(&closed)).await;
    assert!(unreachable.to_string().contains("does not answer: check its endpoints"), "{unreachable}");
    assert!(unreachable.is_retriable());
}

#[tokio::test]
async fn a_hub_whose_name_is_written_in_another_case_is_told() {
    let name = unique_hub_name("CaseOfName");
    let hub = TaskHub::open(azurite().storage(), &name).await.expect("a hub can be created");
    let other = || TaskHub::builder(azurite().storage(), name.to_lowercase());
    for error in [other().open().await, other().must_exist().open().await].map(|opened| opened.expect_err("it is none")) {
        assert_eq!(error.kind(), taskhub::ErrorKind::NotFound);
        assert!(error.to_string().contains("in the same case"), "{error}");
    }
    hub.delete().await.expect("it is whole");
}

/// Serves HTTPS under a certificate that nobody has reason to trust, on a port that it prints.
const UNTRUSTED: &str = "
const https = require('https');
const server = https.createServer({ key: process.env.KEY, cert: process.env.CERT }, (_, response) => response.end());
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
";
/// Of `localhost` and 127.0.0.1, signed by itself, used nowhere else.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvXrxqCpIIwbgIR6U
TKurPJwT5Gv7kZ227WsjV17y7zShRANCAASHM830poOS7Ceuz5XnOV4wxPrWWuhk
SBU2caN95ZSPBXgAGNuNBf2dgv90rLOrcvDtfBOfnaHmKjnIYyqI/+Y6
-----END PRIVATE KEY-----";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIULHIKmy2d5Wg9a0prYBNmr1NvRlUwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTA0MjcxN1oYDzIxMjYxMTA1
MDQyNzE3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASHM830poOS7Ceuz5XnOV4wxPrWWuhkSBU2caN95ZSPBXgAGNuNBf2d
gv90rLOrcvDtfBOfnaHmKjnIYyqI/+Y6o28wbTAdBgNVHQ4EFgQUEczF1/5Elvvl
iyZismnKYVZKIp0wHwYDVR0jBBgwFoAUEczF1/5ElvvliyZismnKYVZKIp0wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAMzIWEeS9oj1WrfTMaaqHXT+2PzwPbYRlFTbBJNrpF4WAiEA
mHb/wBAAZYuF0Im2UtCGiV2D7ZyPGBLAtb/iEGbEqSw=
-----END CERTIFICATE-----";

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_no_silence() {
    let mut server = Command::new("node")
        .args(["-e", UNTRUSTED])
        .envs([("KEY", KEY), ("CERT", CERTIFICATE)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the azurite tests need Node.js on the PATH");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("it is piped")).read_line(&mut port).expect("the server says its port");
    let endpoint = format!("https://127.0.0.1:{}", port.trim());
    let begun = tokio::time::Instant::now();
    let untrusted = refusal(&connection_string_at(&[endpoint.clone(), endpoint.clone(), endpoint])).await;
    drop(server.stdin.take());
    server.wait().expect("a child can be waited for");
    assert_eq!(untrusted.storage().map(|error| error.kind), Some(taskhub::StorageErrorKind::Untrusted), "{untrusted}");
    assert!(untrusted.to_string().contains("make this machine trust its issuer"), "{untrusted}");
    assert!(!untrusted.to_string().contains("does not answer") && !untrusted.is_retriable());
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing is tried again");
}
