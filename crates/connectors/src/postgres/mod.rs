//! PostgreSQL: events in a table, by binary COPY where it can be and an idempotent INSERT where it must.
//!
//! Owns a few connections, which it opens when they are needed and throws away after any failure. What a
//! connection needs (the table, its columns' types, prepared statements) is found out when it is opened.

mod array;
mod client;
mod copy;
mod destination;
mod error;
mod inspect;
mod options;
mod plan;
mod tls;
mod url;
mod write;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
