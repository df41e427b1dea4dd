//! What an operator can set of the listener: its limits.

use std::time::Duration;

use domain::{ByteSize, HumanDuration};
use serde::{Deserialize, Serialize};

/// Limits of the ingest listener, the `[server.limits]` section. They hold before any work is done for
/// a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerOptions {
    /// The most connections at once. Default 10,000. One more is told 503 and closed.
    pub max_connections: usize,
    /// The most connections of one address at once; of IPv6 a /64 is one address. Default 1,000. One more is
    /// told 503 and closed.
    pub max_connections_per_address: usize,
    /// How long a client may take to send a request's headers, and may stay idle between two
    /// requests. Default `"30s"`.
    pub header_timeout: HumanDuration,
    /// How long a client may take to send a body. Default `"30s"`; slower is told 408.
    pub body_timeout: HumanDuration,
    /// How many bytes a second a body must come with once ten seconds have passed; `0` for as slow as it likes.
    /// Default `"512B"`; slower is told 408.
    pub min_body_rate: ByteSize,
    /// The largest head of a request, all headers together. Default `"32KiB"`; more is told 431.
    pub max_header_bytes: ByteSize,
    /// The most bytes of heads and bodies in memory over all requests; a quarter of it is for what
    /// connections have half read, where one of HTTP/2 counts as 16 KiB at least. Default `"64MiB"`; a
    /// request that would go over it is told 503.
    pub max_in_flight_bytes: ByteSize,
    /// The most requests at once on one HTTP/2 connection. Default 64.
    pub max_streams: u32,
    /// How many of the newest deduplication keys are remembered, over all sources. Default 1,000,000;
    /// each takes 40 bytes of memory. What the journal still holds of them is back after a restart.
    pub dedup_keys: u32,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            header_timeout: HumanDuration::from_secs(30),
            body_timeout: HumanDuration::from_secs(30),
            min_body_rate: ByteSize(512),
            max_header_bytes: ByteSize(32 << 10),
            max_in_flight_bytes: ByteSize::mib(64),
            max_streams: 64,
            dedup_keys: 1_000_000,
        }
    }
}

impl ListenerOptions {
    /// Checks the limits.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<Limits, (&'static str, String)> {
        let above_zero = [
            ("max_connections", self.max_connections as u64),
            (
                "max_connections_per_address",
                self.max_connections_per_address as u64,
            ),
            ("max_streams", u64::from(self.max_streams)),
            ("dedup_keys", u64::from(self.dedup_keys)),
        ];
        if let Some((key, _)) = above_zero.iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be at least 1".into()));
        }
        if self.header_timeout.0.is_zero() || self.body_timeout.0.is_zero() {
            return Err((
                "header_timeout",
                "header_timeout and body_timeout must be longer than 0s".into(),
            ));
        }
        let header_bytes = usize::try_from(self.max_header_bytes.0).unwrap_or(usize::MAX);
        if !(8 << 10..=256 << 10).contains(&header_bytes) {
            return Err(("max_header_bytes", "must be from 8KiB to 256KiB".into()));
        }
        // Half a head may be twice the limit of a whole one, and has a quarter of the memory.
        let least = (1 << 20).max(8 * header_bytes as u64);
        if self.max_in_flight_bytes.0 < least {
            return Err((
                "max_in_flight_bytes",
                "must be at least 1MiB, and at least 8 times max_header_bytes".into(),
            ));
        }
        Ok(Limits {
            connections: self.max_connections,
            connections_per_address: self.max_connections_per_address,
            header_timeout: self.header_timeout.0,
            body_timeout: self.body_timeout.0,
            min_body_rate: self.min_body_rate.0,
            header_bytes,
            in_flight_bytes: self.max_in_flight_bytes.0,
            streams: self.max_streams,
            dedup_keys: self.dedup_keys,
        })
    }
}

/// What the largest head takes of the memory beyond its text, with room to spare.
const LARGEST_HEAD_MORE: u64 = 16 << 10;

/// Checked limits, in plain units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub connections_per_address: usize,
    /// For a request's head, and between requests.
    pub header_timeout: Duration,
    /// For a body.
    pub body_timeout: Duration,
    /// Bytes a second of a body, after a grace; 0: none.
    pub min_body_rate: u64,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of heads and bodies over all requests.
    pub in_flight_bytes: u64,
    /// Requests at once on an HTTP/2 connection.
    pub streams: u32,
    /// Deduplication keys remembered.
    pub dedup_keys: u32,
}

impl Limits {
    /// The part of the memory for what connections have half read: a quarter.
    pub(crate) const fn for_half_read(&self) -> u64 {
        self.in_flight_bytes / 4
    }

    /// The part of the memory for requests: the rest.
    pub(crate) const fn for_requests(&self) -> u64 {
        self.in_flight_bytes - self.for_half_read()
    }

    /// The largest body that has room in the memory beside the largest head, when no other request is under
    /// way. One that is larger would be told 503 for ever.
    #[must_use]
    pub const fn largest_body(&self) -> u64 {
        // HTTP/1 lets a head of twice the limit come, path included; of HTTP/2 many short headers take the
        // most, three times their text for their places in the map.
        let head = 4 * self.header_bytes as u64 + LARGEST_HEAD_MORE;
        self.for_requests().saturating_sub(head)
    }
}
