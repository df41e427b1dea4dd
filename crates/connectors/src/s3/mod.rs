//! S3: each event is one object of JSON, or a batch of them is one object of lines.
//!
//! Owns how objects are named, so that a repeat is the same object, and what a store's answers mean. Google Cloud
//! Storage and Azure Blob Storage are the same to it. Never overwrites an object, never deletes or lists any.

mod client;
mod destination;
mod error;
mod object;
mod options;
mod store;

pub use options::KIND;
pub use options::Options;
pub(crate) use options::REFERENCE;
