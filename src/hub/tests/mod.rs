//! Tests of the layout as a whole: against recordings of .NET, and of opening a hub.

pub(crate) mod golden;
mod opening;
