//! A NATS server of a test's own, with JetStream.
//!
//! Owns the server's process, a free port and a store directory. The test stops, kills, pauses and restarts it; port
//! and store stay. Never touches a server that the machine runs already.

mod server;

pub use server::{Options, PASSWORD, Server, USER};
