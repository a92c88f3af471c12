//! Orchestrators, turn by turn: what they decide for which history.

mod calls;
mod catalogue;
mod events;
mod faults;
mod inputs;
mod lifecycle;
mod long_timers;
mod patterns;
mod play;
mod sagas;
mod takeover;
