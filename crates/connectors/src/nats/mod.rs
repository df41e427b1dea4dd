//! NATS JetStream: each event is one message, delivered once its stream has acknowledged it.
//!
//! Owns one connection, opened when it is needed and thrown away after any failure. Makes no stream: which one takes the
//! subject, and how it keeps what it takes, is the operator's, and what is weaker than the promise is said by name.

mod client;
mod destination;
mod error;
mod inspect;
mod message;
mod options;
mod publish;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
