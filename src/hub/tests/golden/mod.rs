//! Tests against recordings of .NET: `azurite-tests/golden`, or the folder of scenarios that `TASKHUB_GOLDEN` names.

mod classes;
pub(crate) mod grammar;
mod handover;
pub(crate) mod history;
mod instances;
mod messages;
pub(crate) mod ownership;
mod recording;
mod rows;
mod tolerance;
