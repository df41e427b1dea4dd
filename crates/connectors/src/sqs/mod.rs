//! SQS: each event is one message, with the event's own bytes and what goes with them as attributes.
//!
//! Owns the requests of up to ten messages, what the queue says of each, how a body travels that SQS cannot take as it
//! is, and how all of that is read again. Makes no queue: that is the work of whoever pays for it.

mod client;
mod destination;
mod error;
mod group;
mod inlet;
mod inspect;
mod message;
mod options;
mod source;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
pub(crate) use source::QUEUE_REFERENCE;
pub use source::QueueOptions;
