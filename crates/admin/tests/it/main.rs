//! Admin's integration tests, one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod answers;
mod ask;
mod described;
mod dlq;
mod events;
mod fakes;
mod gaps;
mod listener;
mod quarantine;
mod redrives;
mod stored;
mod subscriptions;
