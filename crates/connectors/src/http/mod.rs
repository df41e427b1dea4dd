//! HTTP: each event is one POST to an endpoint, with the event's own bytes and headers.
//!
//! Owns a pool of connections, what the endpoint's answers mean, and how requests are signed and paced. Follows no
//! redirect, uses no proxy, and reads an answer's body only to have the connection back. An address that came by the API
//! and not from the operator has a [`Guard`].

pub(crate) mod address;
mod client;
mod destination;
mod error;
mod guard;
mod headers;
mod options;
mod pace;
mod reserved;
mod sign;
pub(crate) mod tls;

pub use guard::Guard;
pub(crate) use options::{KIND, REFERENCE};
pub use options::{Options, SignOptions, guarded};
