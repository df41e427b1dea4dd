//! Redis: each event is an element of a list or an entry of a stream.
//!
//! Owns the connections, whether to one server, to the master that sentinels name or to the node of a cluster that has
//! the key, and what the server's answers mean. Every event is a command of its own in a pipeline, so that each has an
//! answer of its own: what was answered before a connection broke is delivered. As a destination it never trims a stream
//! and never removes from a list: what is in there is the reader's, which may be `reading`.
//!
//! The client library is `redis`, for its protocol and its pipeline over a stream of ours. Of `fred`, which is the other
//! choice, the commands in flight outlive their caller: it sends them again by itself after a reconnect.

mod client;
mod command;
mod connect;
mod destination;
mod error;
mod inspect;
mod options;
mod reading;
mod sentinel;
mod source;
mod url;
mod write;

pub(crate) use options::{KIND, REFERENCE};
pub use options::{Options, SentinelOptions};
pub(crate) use source::QUEUE_REFERENCE;
pub use source::QueueOptions;
