//! A RabbitMQ server of a test's own.
//!
//! Owns the search for the programs, a node with a directory, a cookie and a port mapper (epmd) of its own, and its
//! processes. The test stops, kills, pauses and restarts it; ports and data stay. Never touches a node or an epmd that
//! the machine runs already.

mod install;
mod queue;
mod server;

pub use server::{Options, PASSWORD, Server, USER};
