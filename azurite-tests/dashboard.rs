//! The dashboard in a real browser: hubs with every pattern and with every text that could do harm, one that only .NET has written, servers with keys and
//! without, and `dashboard.cjs`, which drives Chromium over them. Run by name, because it needs Chromium: `cargo test --features cli --test dashboard`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../examples/catalogue_worker/catalogue.rs"]
mod catalogue;
#[path = "harness.rs"]
mod harness;
#[path = "dashboard/hubs.rs"]
mod hubs;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use harness::azurite;

/// Keys of the tests, by their scopes.
const KEYS: [(&str, &str); 3] =
    [("read", "a reading key of tests"), ("operate", "an operating key of tests"), ("admin", "an admin key of the tests")];
/// All of it, in a browser too.
const WITHIN: Duration = Duration::from_secs(480);

/// `taskhub serve`, until it is dropped.
struct Server {
    _child: Child,
    url: String,
}

impl Server {
    async fn start(hub: &str, keys: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskhub"));
        command.env_remove("TASKHUB_HTTP_KEYS").env_remove("RUST_LOG");
        command.env("AzureWebJobsStorage", azurite().connection_string()).env("TASKHUB_NAME", hub);
        if !keys.is_empty() {
            command.env("TASKHUB_HTTP_KEYS", keys);
        }
        command.args(["serve", "--port", "0", "--json"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the command can be run");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut said = String::new();
        while !said.ends_with('}') {
            said.push_str(&lines.next_line().await.expect("it is UTF-8").expect("it says where it is before it ends"));
        }
        let said: Value = serde_json::from_str(&said).expect("one JSON document");
        Self { _child: child, url: said["url"].as_str().expect("a URL").to_owned() }
    }
}

/// The browser: that of the variable, or where systems have it.
fn chromium() -> String {
    let there = |path: &str| Path::new(path).exists();
    let named = std::env::var("TASKHUB_CHROMIUM").ok();
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].into_iter().find(|path| there(path));
    named.or(usual.map(str::to_owned)).expect(
        "there is no Chromium: install it (Debian: apt-get install chromium), or set TASKHUB_CHROMIUM to the path of one; \
         `cargo test` without `--test dashboard` leaves this test out",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_does_in_a_browser_what_its_document_says() {
    let browser = chromium();
    let keys: String = KEYS.map(|(scope, key)| format!("{scope} {key};")).concat();
    let looked = hubs::with_hubs(async |hubs: &hubs::Hubs| {
        let open = Server::start(&hubs.ours, "", &[]).await;
        let prefixed = Server::start(&hubs.ours, "", &["--prefix", "/deep/api"]).await;
        let keyed = Server::start(&hubs.ours, &keys, &[]).await;
        let dotnet = Server::start(&hubs.dotnet, "", &[]).await;
        let empty = Server::start(&hubs.empty, "", &[]).await;
        let facts = json!({
            "browser": browser,
            "open": open.url, "prefixed": format!("{}deep/api/", prefixed.url), "keyed": keyed.url, "dotnet": dotnet.url, "empty": empty.url,
            "keys": KEYS.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "hub": hubs.ours, "hostile": hubs.hostile, "dotnetInstance": hubs.dotnet_instance,
            "screenshots": std::env::var("TASKHUB_SCREENSHOTS").ok(),
        });
        drive(&facts).await;
    });
    tokio::time::timeout(WITHIN, looked).await.expect("it ends in its time");
}

/// Runs the script, which is given all that it needs on its standard input.
#[allow(clippy::print_stdout, reason = "what it measures is to be read")]
async fn drive(facts: &Value) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/dashboard.cjs");
    let command = Command::new("node").arg(script).env("TASKHUB_DASHBOARD", facts.to_string()).stdin(Stdio::null()).output();
    let output = command.await.expect("node can be run");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{error}\n{out}");
}
