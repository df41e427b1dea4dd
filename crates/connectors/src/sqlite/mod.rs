//! SQLite: events in a file, each batch one synced transaction.
//!
//! Owns one connection, which it opens when it is first needed and again after it failed. All work on it
//! happens off the runtime.

mod client;
mod destination;
mod error;
mod options;
mod schema;
mod write;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
