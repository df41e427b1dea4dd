//! Dispatch's integration tests, one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod destination;
mod memory;
mod rig;
mod wishes;
mod world;

mod burying;
mod coming;
mod control;
mod corners;
mod edges;
mod export;
mod filter;
mod flow;
mod letters;
mod lines;
mod model;
mod order;
mod outage;
mod policies;
mod recovery;
mod redrive;
mod retries;
mod sources;
