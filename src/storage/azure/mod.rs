//! The three ports on Azure Storage: the `azure_*` crates over our own HTTP exchange, which repairs what they get wrong.

mod account;
mod batch;
mod blob;
mod config;
#[cfg(feature = "entra")]
mod credential;
mod entity;
mod exchange;
mod failure;
mod queue;
pub mod repairs;
mod table;
mod xml;

#[cfg(feature = "entra")]
pub use credential::EntraIdentity;
pub(crate) use entity::{read_rows, to_json};
