//! The client, the notification source and backfills against the testbed's Genesys Cloud, in memory and under a paused
//! clock: hours pass in no time, and no byte goes over a network.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only #[test] functions, not what they call"
)]

mod backfilling;
mod client;
mod listening;
mod lost;
mod memory;
mod odd;
mod story;
mod world;
