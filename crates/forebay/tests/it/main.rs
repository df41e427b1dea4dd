//! The real binary from outside: real PostgreSQL, real signals, real faults, and a judge.
//!
//! Each module is one kind of trouble or one part of what users touch. Nothing here links Forebay's own
//! crates: what is seen is what a sender, a database, a supervisor or an operator would see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only #[test] functions, not what they call"
)]

mod admin;
mod bad_input;
mod cli;
mod configuration;
mod crash;
mod full_disk;
mod genesys;
mod hostile;
mod lifecycle;
mod outage;
mod poison;
mod quarantine;
mod queues;
mod rig;
mod secrecy;
mod senders;
mod stopping;
mod strace;
mod subscriptions;
mod tls;
mod wire;
