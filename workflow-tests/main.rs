//! The tests at the end of each example, in one program.
#![allow(dead_code, reason = "nobody runs the examples here")]

#[path = "../examples/chaining.rs"]
mod chaining;
#[path = "../examples/compensation.rs"]
mod compensation;
#[path = "../examples/continue_as_new.rs"]
mod continue_as_new;
#[path = "../examples/fan_out_fan_in.rs"]
mod fan_out_fan_in;
#[path = "../examples/human_interaction.rs"]
mod human_interaction;
#[path = "../examples/monitor.rs"]
mod monitor;
#[path = "../examples/order_processing.rs"]
mod order_processing;
#[path = "../examples/retries.rs"]
mod retries;
#[path = "../examples/sub_orchestrations.rs"]
mod sub_orchestrations;
