//! Tests against a real storage service: an Azurite of our own, started once for the process.

mod contract;
mod harness;
mod storage;
