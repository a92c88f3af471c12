//! The `taskhub` command; it has no subcommands yet.

fn main() {}
