//! A MariaDB server of a test's own, which MySQL's clients speak to.
//!
//! Owns the search for the programs, a data directory copied from a template, the server's process and a free port
//! for it. The test stops, kills, pauses and restarts it; the port stays the same, so that clients find it again.
//! Never touches a server that the machine runs already.

mod install;
mod query;
mod server;
mod template;

pub use server::{Options, Server};
