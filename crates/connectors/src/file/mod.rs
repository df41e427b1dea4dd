//! A file of NDJSON: each event a line, each batch one synced write.
//!
//! Owns the open file and its lock. All work on it happens off the runtime.

mod destination;
mod line;
mod log;
mod options;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
