//! SQS: each event is one message, with the event's own bytes and what goes with them as attributes.
//!
//! Owns the requests of up to ten messages, what the queue says of each, and how a body travels that SQS cannot take
//! as it is. Makes no queue: that is the work of whoever pays for it.

mod client;
mod destination;
mod error;
mod group;
mod inspect;
mod message;
mod options;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
