//! Floor 1: the backends that Forebay delivers to, a folder each.
//!
//! Owns each backend's options, its client, what its errors mean in the words of the outcome table, and
//! its implementation of [`domain::ports::Destination`]. Dispatch sees only that port.
//! Never retries, parks or waits for a backend to come back: it says what became of an attempt, and
//! whoever asked decides. Never puts a payload or a secret into an error: of a database error it keeps
//! SQLSTATE and the names of constraint, table and column.
//!
//! A new destination is one folder here and one line in [`options`], one in the contract tests and a
//! page in the docs.

mod aws;
mod body;
mod broker_url;
mod carried;
mod fetch;
mod field;
pub mod file;
mod headers;
pub mod http;
mod identifier;
mod instance;
mod large;
pub mod mysql;
pub mod nats;
pub mod options;
mod outbound;
pub mod postgres;
pub mod queues;
pub mod rabbitmq;
pub mod redis;
pub mod reference;
mod roots;
mod row;
pub mod s3;
#[cfg(test)]
mod samples;
mod split;
pub mod sqlite;
pub mod sqs;
mod statement;
mod target;
mod tls;

pub use fetch::Fetcher;
pub use instance::Instance;
pub use large::with_store;
pub use options::{
    BuildError, Context, DestinationConfig, DestinationOptions, OptionsError, build,
};
pub use queues::{QUEUE_REFERENCES, QueueConfig, QueueOptions, build_queue};
pub use reference::{OptionDoc, reference};
pub use target::BodyType;
