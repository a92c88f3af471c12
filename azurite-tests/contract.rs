//! The contract of every storage account, on Azurite, and random calls that must have one outcome on Azurite and in memory.

use std::path::Path;
use std::process::Command;

use taskhub::Storage;
use taskhub::internals::{run_contract, run_differential};

use crate::harness::{azurite, unique_hub_name};

#[tokio::test]
async fn azurite_keeps_the_contract() {
    run_contract(&azurite().storage(), &unique_hub_name("contract")).await;
}

#[tokio::test]
async fn azurite_and_memory_agree() {
    for seed in 0..5 {
        run_differential(&azurite().storage(), &Storage::in_memory(), &unique_hub_name("agree"), seed, 300).await;
    }
}

/// The emulator is started with indexes for its stores, which must not change a single answer.
#[test]
fn the_indexes_answer_as_the_stores_of_azurite_do() {
    // Installs it.
    azurite();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/indexes.test.cjs");
    let output = Command::new("node").arg(script).output().expect("`node` can be started: it runs Azurite too");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
