//! Floor 2: ingest, the way of a request to its durable event.
//!
//! Owns the HTTP listener with its limits, the readers of queues, the verification schemes, deduplication and admission. A
//! request becomes an `Unverified` event; only verifying makes it a `Verified` one; only `admit` appends
//! to the journal, and takes only what is verified. Answers 2xx after the journal said "durable", never
//! before. Knows no destination and no route.

mod admit;
mod answer;
mod body;
mod budget;
mod certificates;
pub mod deadline;
mod dedup;
mod der;
mod event;
mod import;
mod json;
mod keeping;
pub mod listener;
mod message;
pub mod metrics;
mod network;
pub mod options;
mod queue;
mod refusal;
mod returning;
mod sender_patience;
mod service;
mod source;
mod split;
pub mod verify;

/// What the fuzz targets reach into.
#[cfg(fuzzing)]
pub mod fuzzing {
    use bytes::Bytes;

    pub use crate::json::{is_json, text_at, texts};
    pub use crate::verify::Split;

    /// The items of a body, if it can be taken apart.
    #[must_use]
    pub fn items(body: &Bytes, split: &Split) -> Option<Vec<Bytes>> {
        crate::split::items(body, split).ok()
    }
}

pub use answer::Answer;
pub use dedup::Window;
pub use import::{Importer, Queues};
pub use listener::{
    AcmeOptions, ClientAuth, Connection, ForwardedHeader, Front, Handler, Listener, Peer, Proxies,
    Tls, TlsOptions, TlsVersion,
};
pub use metrics::Metrics;
pub use network::Network;
pub use options::{Limits, ListenerOptions, SourceOptions, check_paths};
pub use queue::{QueueReaders, QueueSource};
pub use returning::ReturnPorts;
pub use service::{BuildError, Ingest, NoOp, NotTaken, Ports, Settings};
