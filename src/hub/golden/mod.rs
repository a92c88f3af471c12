//! Tests against recordings of .NET: `azurite-tests/golden`, or the folder of scenarios that `TASKHUB_GOLDEN` names.

mod classes;
mod handover;
mod instances;
mod messages;
mod recording;
mod rows;
mod tolerance;
