//! The JSON of .NET, byte for byte: events, failures and messages, and the JSON texts inside columns
//! (docs/storage-layout.md, JSON).

mod canonical;
mod column;
mod error;
mod event;
mod member;
mod message;
mod parts;
mod payload;
mod read;
mod text;
mod write;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;

pub(crate) use canonical::canonical;
pub(crate) use column::JsonColumn;
pub(crate) use error::DecodeError;
pub(crate) use member::{member, text_member};
pub(crate) use message::{Incoming, wrapper_json};
pub(crate) use payload::read_payload;
pub(crate) use text::without_lone_surrogates;
pub(crate) use write::without_dictionary_types;
