//! Tests against a real storage service: an Azurite of our own, started once for the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
#[path = "../examples/catalogue_worker/catalogue.rs"]
mod catalogue;
mod contract;
mod fleet;
mod harness;
mod load;
mod patterns;
mod shop;
mod storage;
mod takeover;
mod workers;
