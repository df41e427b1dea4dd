//! MySQL and MariaDB: events in a table, by multi-row INSERTs that are idempotent on the event's id.
//!
//! Owns a few connections, which it opens when they are needed and throws away after any failure. What a
//! connection needs (the session's settings, the table, its columns' types, the largest packet) is found out
//! when it is opened. Both servers are spoken to in the SQL that they share.

mod client;
mod destination;
mod error;
mod inspect;
mod link;
mod options;
mod plan;
mod session;
mod table;
mod url;
mod value;
mod write;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
