//! Tests of the HTTP API as its clients see it: one router, asked without a socket, over a hub in memory.

mod access;
mod calls;
mod functions;
mod fuzz;
mod golden;
mod health;
mod limits;
mod manners;
mod parked;
mod schema;
mod search;
mod usage;
mod world;
