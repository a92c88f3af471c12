//! Tests against a real storage service: an Azurite of our own, started once for the process.

#[path = "../examples/catalogue_worker/catalogue.rs"]
mod catalogue;
mod contract;
mod harness;
mod storage;
mod takeover;
