//! The contract of every storage account, on Azurite, and random calls that must have one outcome on Azurite and in memory.

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
