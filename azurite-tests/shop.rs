//! The README's first command on real storage: started twice, both processes share the orders and both end well.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::harness::{azurite, unique_hub_name};
use crate::workers::example;

const LIMIT: Duration = Duration::from_secs(60);

/// What one process printed.
async fn shop(hub: &str) -> String {
    let mut command = Command::new(example("order_processing"));
    command.args(["--storage", &azurite().connection_string(), "--hub", hub]).stdin(Stdio::null()).kill_on_drop(true);
    let ran = tokio::time::timeout(LIMIT, command.output()).await.expect("the shop closes").expect("the example can be run");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    said
}

fn activities(said: &str) -> u32 {
    let count = said.split("This process ran ").nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in:\n{said}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shops_on_one_hub_share_their_orders() {
    let hub = unique_hub_name("shop");
    let (one, two) = tokio::join!(shop(&hub), shop(&hub));
    for said in [&one, &two] {
        assert!(said.contains("is on its way: parcel-1") && said.contains("ExecutionCompleted"), "{said}");
    }
    // Each started as many, and most likely neither ran all of them.
    let (first, second) = (activities(&one), activities(&two));
    assert!(first > 0 && second > 0, "one process ran {first} activities, the other {second}");
}
