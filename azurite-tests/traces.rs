//! Traces of a program that knows of the collector by the variables of OpenTelemetry alone.

#[path = "../src/traces/collector.rs"]
mod collector;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use collector::Collector;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::workers::example;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_its_own_exports_all_spans_to_the_collector_that_its_variables_name() {
    let (collector, listener) = (Collector::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut program = Command::new(example("metrics"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the example can be started");
    let status = tokio::select! {
        biased;
        () = collector.run(listener) => unreachable!("it collects for ever"),
        status = tokio::time::timeout(Duration::from_secs(60), program.wait()) => status.expect("the example ends by itself"),
    };
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{status:?}");
    let names = collector.names();
    let kinds: BTreeSet<_> = names.iter().map(String::as_str).collect();
    let expected = ["activity:Charge", "activity:Price", "create_orchestration:CheckOut", "orchestration:CheckOut"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    // What it had when it ended is exported, too: each order has begun and ended.
    let count = |name: &str| names.iter().filter(|known| *known == name).count();
    assert_eq!(count("create_orchestration:CheckOut"), count("orchestration:CheckOut"));
    assert!(count("orchestration:CheckOut") >= 4, "{names:?}");
}
