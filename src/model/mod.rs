//! Plain data of the Durable Task model: times, events, messages, status, failures. No I/O and no async.

mod time;

pub use time::Timestamp;
