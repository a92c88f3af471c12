//! Orchestrators, turn by turn: what they decide for which history.

mod calls;
mod play;
