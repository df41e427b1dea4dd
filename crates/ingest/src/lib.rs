//! Floor 2: ingest, the way of a request to its durable event.
//!
//! Owns the HTTP listener with its limits, the readers of queues, the verification schemes, deduplication and admission. A
//! request becomes an `Unverified` event; only verifying makes it a `Verified` one; only `admit` appends
//! to the journal, and takes only what is verified. What is not may be kept in quarantine, if its source says so,
//! and is verified anew when it is released. Answers 2xx after the journal said "durable", never
//! before. Knows no destination and no route.

mod admit;
mod allow;
mod answer;
mod body;
mod budget;
mod certificates;
pub mod deadline;
mod dedup;
mod der;
mod event;
mod expiry;
mod greeting;
mod holding;
mod import;
mod json;
mod keeping;
pub mod limits;
pub mod listener;
mod message;
pub mod metrics;
mod network;
pub mod options;
mod pace;
mod quarantine;
mod queue;
mod rate;
mod refusal;
mod refusing;
mod release;
mod returning;
mod sender_patience;
mod service;
mod source;
mod split;
mod turned_away;
mod unwanted;
mod unwrap;
pub mod verify;

/// What the fuzz targets reach into.
#[cfg(fuzzing)]
#[expect(missing_docs, reason = "for the fuzz targets alone")]
pub mod fuzzing {
    use std::net::{IpAddr, SocketAddr};

    use bytes::Bytes;
    use http::HeaderMap;

    pub use crate::listener::{ForwardedHeader, Proxies};
    use crate::listener::{Parsed, parse_proxy_header};
    pub use crate::verify::Split;
    use crate::{json, split};

    /// The length of a PROXY header and the client that it names; `None` while it is not whole.
    pub fn proxy_header(bytes: &[u8]) -> Option<Result<(usize, Option<SocketAddr>), ()>> {
        match parse_proxy_header(bytes) {
            Parsed::Incomplete => None,
            Parsed::Malformed => Some(Err(())),
            Parsed::Header { length, client } => Some(Ok((length, client))),
        }
    }

    pub fn origin(proxies: &Proxies, address: IpAddr, headers: &HeaderMap) -> IpAddr {
        proxies.origin(address, headers)
    }

    pub fn items(body: &Bytes, by: &Split) -> Option<Vec<Bytes>> {
        split::items(body, by).ok()
    }

    pub fn is_json(text: &[u8]) -> bool {
        json::is_json(text)
    }

    pub fn text_at(text: &[u8], pointer: &str) -> Option<String> {
        json::text_at(text, pointer)
    }

    pub fn texts<const N: usize>(text: &[u8], names: [&str; N]) -> [Option<String>; N] {
        json::texts(text, names)
    }
}

pub use allow::AllowFrom;
pub use answer::Answer;
pub use dedup::Window;
pub use import::{Importer, Queues};
pub use limits::{Limits, ListenerOptions};
pub use listener::{
    AcmeChallenge, AcmeOptions, ClientAuth, Connection, ForwardedHeader, Front, Handler, Listener,
    Peer, Proxies, Tls, TlsOptions, TlsVersion,
};
pub use metrics::Metrics;
pub use network::Network;
pub use options::{OnInvalid, SourceOptions, SplitOptions, check_paths};
pub use queue::{QueueReaders, QueueSource};
pub use rate::RateLimitOptions;
pub use returning::ReturnPorts;
pub use service::{BuildError, Ingest, NoOp, NotTaken, Ports, Settings};
