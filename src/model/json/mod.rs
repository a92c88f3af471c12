//! The JSON of .NET, byte for byte: events, failures and messages (wire-format 3), and the JSON texts inside columns.

mod column;
mod error;
mod event;
mod message;
mod parts;
mod read;
mod write;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;

pub(crate) use column::JsonColumn;
pub use error::DecodeError;
pub(crate) use message::{Incoming, wrapper_json};
