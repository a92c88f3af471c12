//! The tests at the end of each example, in one program.
#![allow(dead_code, clippy::duplicate_mod, reason = "nobody runs the examples here, and each has its support for itself")]

#[cfg(feature = "http")]
#[path = "../async_http_api.rs"]
mod async_http_api;
#[path = "../chaining.rs"]
mod chaining;
#[path = "../compensation.rs"]
mod compensation;
#[path = "../continue_as_new.rs"]
mod continue_as_new;
#[path = "../fan_out_fan_in.rs"]
mod fan_out_fan_in;
#[path = "../human_interaction.rs"]
mod human_interaction;
#[path = "../local_activities.rs"]
mod local_activities;
#[path = "../monitor.rs"]
mod monitor;
#[path = "../order_processing.rs"]
mod order_processing;
#[path = "../retries.rs"]
mod retries;
#[path = "../sub_orchestrations.rs"]
mod sub_orchestrations;
#[path = "../versioning.rs"]
mod versioning;
