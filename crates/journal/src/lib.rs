//! Floor 1: the embedded journal, the durable, ordered log that an event is in before it is
//! acknowledged.
//!
//! Owns the files in `data_dir/journal`: their format ([`mod@format`]), writing ([`log`]), opening after
//! any kind of end ([`recovery`]), the space they take ([`room`]), and looking at them offline
//! ([`verify`]). [`service`] makes them the
//! [`domain::ports::Journal`] and [`domain::ports::Archive`] of the running process. Knows bytes and
//! sequence numbers; what a webhook, a route's policy or a destination is, it never learns.

pub mod error;
pub mod format;
pub mod index;
pub mod installation;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod options;
pub mod recovery;
pub mod room;
pub mod scan;
pub mod segment;
pub mod service;
pub mod storage;
pub mod verify;

pub use error::OpenError;
pub use lock::DirectoryLock;
pub use metrics::Metrics;
pub use options::{Config, Options};
pub use recovery::{Known, Recovered};
pub use service::EmbeddedJournal;
