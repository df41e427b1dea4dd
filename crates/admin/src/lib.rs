//! Floor 2: the admin listener, where operators and their scripts look and act.
//!
//! Owns the API under `/api`, `/metrics`, the health probes, and the rules of who may ask
//! ([`Access`]). Everything it shows it asks of the ports in [`Ports`]; it keeps nothing of its own and
//! knows neither which journal nor which state stands behind them. Never shows a secret, and never
//! logs what an event holds.

mod access;
mod api;
mod body;
mod context;
mod cursor;
mod dlq;
mod events;
mod gaps;
mod home;
mod imports;
mod openapi;
mod probes;
mod problem;
mod quarantine;
mod redrives;
mod routes;
mod server;
mod sources;
mod status;
mod subscriptions;
mod write_deadline;

pub use access::{Access, AccessError};
pub use context::{Certificate, JournalUsage, LookAtCertificate, Ports};
pub use server::{AdminServer, Limits, ServeError};
