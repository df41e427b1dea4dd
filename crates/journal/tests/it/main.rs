//! The journal's integration tests, one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod concurrent;
mod damage;
mod first_start;
mod fixtures;
mod model;
mod reclaim;
mod service;
mod sim;
