//! Ingest's integration tests, one binary: real sockets, and the real journal where it matters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod authority;
mod bad_input;
mod batches;
mod door;
mod fate;
mod good_input;
mod handshakes;
mod http_details;
mod import;
mod limits;
mod memory;
mod proxies;
mod quarantine;
mod quarantine_bounds;
mod queue;
mod stalled;
mod tls;
mod turned_away;
mod unrouted;
mod verifiers;
