//! RabbitMQ: each event is one persistent message, delivered once the broker has confirmed it and returned nothing.
//!
//! Owns one connection, opened when it is needed and thrown away after any failure, with a channel a batch in flight.
//! A second connection reads the queue, when somebody asks for
//! that. Declares nothing: exchanges, queues and their policies are the operator's, and what is missing is said by name.

mod client;
mod destination;
mod error;
mod inlet;
mod message;
mod net;
mod options;
mod publish;
mod reader;
mod source;

pub use options::Options;
pub(crate) use options::{KIND, REFERENCE};
pub(crate) use source::QUEUE_REFERENCE;
pub use source::QueueOptions;
