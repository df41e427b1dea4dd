//! HTTP: each event a POST of its own to one URL.
//!
//! Owns a pool of connections, what goes out with an event, and what an answer means. Follows no redirect, uses
//! no proxy, and never looks into an answer's body: it may hold anything.

mod answer;
mod destination;
mod options;
mod pace;
mod request;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
