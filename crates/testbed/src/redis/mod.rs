//! A Redis server of a test's own, and a sentinel that watches it.
//!
//! Owns the server's directory with its append-only file, its process and free ports for it. The test stops, kills,
//! pauses and restarts it; the port and the data stay the same. Asks it what a test wants to know over connections of
//! its own. Never touches a server that the machine runs already.

mod ask;
mod process;
mod server;

pub use server::{Options, Sentinel, Server};
