//! State's integration tests, one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod contract;
mod crash;
mod dead;
mod exports;
mod fixture;
mod gaps;
mod model;
mod quarantine;
mod redrives;
mod samples;
mod sqlite;
mod subscriptions;
