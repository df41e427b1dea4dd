//! Floor 1: state, everything off the hot path, in one SQL database.
//!
//! Owns the schema and its migrations, and the transactions behind [`domain::ports::State`] and
//! [`domain::ports::DeadLetters`]: cursors and settled ranges, delivered ranges, parked events, dead
//! letters, their exports and redrives, routes and their life, requests in quarantine. Never reads the journal and never talks to a destination.
//! [`SqliteState`] is the store of one machine.

mod connection;
mod dead;
mod delivered;
mod edits;
pub mod error;
mod events;
mod exports;
mod gaps;
mod letters;
pub mod metrics;
pub mod options;
mod quarantine;
mod redrives;
mod returned;
mod room;
mod routes;
mod row;
pub mod schema;
mod settle;
mod sources;
mod store;
mod subscriptions;

pub use error::OpenError;
pub use metrics::Metrics;
pub use options::Options;
pub use store::SqliteState;
