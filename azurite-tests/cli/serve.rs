//! `taskhub serve` on Azurite: its keys, its end, and the client of Azure Durable Functions for JavaScript.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::World;

const ADMIN: &str = "an admin key of the tests";
const READER: &str = "a reading key of the tests";

/// A server that runs, and where.
struct Server {
    child: Child,
    url: String,
    /// Where its metrics are, if it has any.
    metrics: Option<String>,
}

impl Server {
    async fn start(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskhub"));
        command.env_remove("TASKHUB_HTTP_KEYS").env_remove("RUST_LOG");
        command.env("AzureWebJobsStorage", &world.storage).env("TASKHUB_NAME", &world.hub);
        command.envs(variables.iter().copied()).args(["serve", "--port", "0", "--json"]).args(arguments);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the command can be run");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut said = String::new();
        while !said.ends_with('}') {
            let line = lines.next_line().await.expect("it is UTF-8").expect("it says where it is before it ends");
            said.push_str(&line);
        }
        let said: Value = serde_json::from_str(&said).expect("one JSON document");
        assert_eq!(said["hub"], world.hub.as_str());
        let metrics = said["metrics"].as_str().map(str::to_owned);
        Self { child, url: said["url"].as_str().expect("a URL").to_owned(), metrics }
    }

    /// Asks it to end, and gives its exit code and what it said on standard error.
    #[cfg(unix)]
    async fn stop(mut self) -> (i32, String) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.expect("kill can be run").success());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = ended.expect("it ends when it is told to").expect("it is a child");
        let mut said = String::new();
        let mut error = self.child.stderr.take().expect("it is piped");
        error.read_to_string(&mut said).await.expect("it is UTF-8");
        (status.code().unwrap_or(-1), said)
    }
}

async fn durable_client(how: &str, server: &Server, world: &World, key: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/durable-client.cjs");
    let mut command = Command::new("node");
    let command = command.arg(script).args([how, &server.url, &world.hub, key]).stdin(Stdio::null());
    let output = command.output().await.expect("node can be run");
    assert!(output.status.success(), "{how}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_client_of_durable_functions_for_javascript_does_all_it_can() {
    let world = World::new();
    world
        .with_worker(async {
            // The way of a language SDK beside a Functions host, without keys, and that of an app with one.
            let open = Server::start(&world, &[], &[]).await;
            durable_client("rpc", &open, &world, "").await;
            let keys = format!("admin {ADMIN}");
            let keyed = Server::start(&world, &[("TASKHUB_HTTP_KEYS", &keys)], &[]).await;
            durable_client("templates", &keyed, &world, ADMIN).await;
            #[cfg(unix)]
            for server in [open, keyed] {
                assert_eq!(server.stop().await, (0, String::new()));
            }
        })
        .await;
}

#[tokio::test]
async fn a_server_shows_the_queues_of_the_hub_and_its_own_calls_to_prometheus() {
    let world = World::new();
    world.with_worker(async {}).await;
    world.run(&["start", "Approval", "--id", "nobody takes it"]).await.ok();
    let server = Server::start(&world, &[], &["--metrics", "127.0.0.1:0"]).await;
    let url = server.metrics.clone().expect("it says where they are");
    let shown = async |series: &str| {
        let page = reqwest::get(&url).await.expect("an answer").text().await.expect("a text");
        let value =
            page.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.sum::<f64>()
    };
    let mut tries = 0;
    while shown("taskhub_queue_messages{").await < 1.0 {
        tries += 1;
        assert!(tries < 100, "the message that waits is not shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(shown("taskhub_queue_oldest_message_age_seconds{").await >= 0.0);
    let before = shown("taskhub_storage_calls_total{").await;
    let listed = reqwest::get(format!("{}instances", server.url)).await.expect("an answer");
    assert_eq!(listed.status(), 200);
    assert!(shown("taskhub_storage_calls_total{").await > before);
    #[cfg(unix)]
    assert_eq!(server.stop().await, (0, String::new()));
}

#[tokio::test]
async fn keys_come_from_a_file_or_the_environment_and_without_one_nobody_else_is_served() {
    let world = World::new();
    world.with_worker(async {}).await;
    let elsewhere = ["serve", "--port", "0", "--address", "0.0.0.0"];
    let refused = world.run(&elsewhere).await.failed(2, "without a key nothing is served on 0.0.0.0");
    assert!(refused.contains("TASKHUB_HTTP_KEYS") && refused.contains("--keys"), "{refused}");
    world.run(&["serve", "--keys", "/nowhere/keys"]).await.failed(2, "the keys in /nowhere/keys cannot be read");
    world.run(&["serve", "--port", "0", "--prefix", "api"]).await.failed(2, "\"api\" is no prefix");
    world.run(&["serve", "--port", "0", "--allow-origin", "*"]).await.failed(2, "without a key pages of every origin");
    let public = ["serve", "--port", "0", "--public-url", "https://durable.example"];
    world.run(&public).await.failed(2, "without a key whoever reaches https://durable.example may do everything");
    let behind_proxy = Server::start(&world, &[], &["--public-url", "https://durable.example", "--without-keys"]).await;
    let from_proxy = reqwest::Client::new().get(format!("{}instances", behind_proxy.url)).header("host", "durable.example");
    assert_eq!(from_proxy.send().await.expect("an answer").status(), 200);
    #[cfg(unix)]
    assert_eq!(behind_proxy.stop().await, (0, String::new()));
    for empty in ["", " ", "# admin of the shop"] {
        let variables =
            [("AzureWebJobsStorage", world.storage.as_str()), ("TASKHUB_NAME", &world.hub), ("TASKHUB_HTTP_KEYS", empty)];
        super::run(&variables, &["serve", "--port", "0"]).await.failed(2, "TASKHUB_HTTP_KEYS: there is no key in it");
    }

    let mut file = std::env::temp_dir();
    file.push(format!("taskhub-keys-{}", std::process::id()));
    let path = file.display().to_string();
    std::fs::File::create(&file).expect("a file").write_all(b"hush-hush-hush-hush").expect("it can be written");
    let refused = world.run(&["serve", "--keys", &path]).await.failed(2, "does not begin with read, operate or admin");
    assert!(!refused.contains("hush"), "{refused}");
    std::fs::write(&file, format!("# of the tests\nread {READER}\nadmin {ADMIN}\n")).expect("a file");
    let server =
        Server::start(&world, &[], &["--keys", &path, "--address", "0.0.0.0", "--public-url", "https://durable.example"]).await;
    std::fs::remove_file(&file).expect("it was there");
    let port = server.url.trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
    let client = reqwest::Client::new();
    let status = async |key: &str, path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        client.get(url).header("x-functions-key", key).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!((status(READER, "/instances").await, status("wrong", "/instances").await), (200, 401));
    let start =
        client.post(format!("http://127.0.0.1:{port}/orchestrators/Greet/i")).bearer_auth(ADMIN).send().await.expect("an answer");
    let location = start.headers()["location"].to_str().expect("a URL").to_owned();
    assert!(location.starts_with("https://durable.example/instances/i?taskHub="), "{location}");
    #[cfg(unix)]
    assert_eq!(server.stop().await, (0, String::new()));
}
