//! The suite on accounts in memory.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::layer::faulty::{Faults, Faulty};
use crate::storage::layer::metered::Metered;
use crate::storage::layer::retrying::{RetryPolicy, Retrying};
use crate::storage::layer::traced::Traced;
use crate::storage::memory::Memory;

fn account(seed: u64) -> Memory {
    Memory::new(Clock::paused(Timestamp::UNIX_EPOCH.plus(Duration::from_secs(1_700_000_000))), Rng::seeded(seed))
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_contract() {
    run_contract(&account(1).storage(), "memory").await;
    run_contract(&account(2).storage().layered(Metered::default()), "layered").await;
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_contract_with_short_pages_and_unordered_queues() {
    let memory = account(1);
    memory.set_page_limit(7);
    memory.set_unordered(true);
    run_contract(&memory.storage(), "short").await;
}

#[tokio::test(start_paused = true)]
async fn memory_is_as_strict_as_azure() {
    run_strict(&account(1).storage(), "strict").await;
}

#[tokio::test(start_paused = true)]
async fn accounts_in_memory_agree_whatever_their_clock_pages_and_layers() {
    for seed in 0..60 {
        let plain = account(seed).storage();
        let other = account(seed + 1);
        other.set_page_limit(2);
        let layered = other.storage().layered(Traced).layered(Retrying::new(RetryPolicy::default(), Rng::seeded(seed)));
        run_differential(&plain, &layered, "agree", seed, 400).await;
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "seed 3, step")]
async fn a_message_too_many_is_a_difference() {
    let faults = Faults { duplicate_put: 0.2, ..Faults::default() };
    let faulty = account(1).storage().layered(Faulty::new(faults, Rng::seeded(1)));
    run_differential(&account(2).storage(), &faulty, "differ", 3, 400).await;
}
