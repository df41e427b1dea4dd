//! A file of lines: each event is one JSON object, appended and synced.
//!
//! Owns the file's handle and its lock. All work on it happens off the runtime. Never cuts or rewrites what is there.

mod client;
mod destination;
mod error;
mod line;
mod options;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
