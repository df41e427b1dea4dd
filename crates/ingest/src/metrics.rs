//! What ingest measures of itself.

use std::sync::atomic::AtomicU64;

use domain::SourceName;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What stands for every source that is not configured.
pub(crate) const UNKNOWN_SOURCE: &str = "unknown";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SourceLabel {
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusedLabel {
    pub source: String,
    pub code: &'static str,
}

/// Handles to ingest's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    accepted: Family<SourceLabel, Counter>,
    discarded: Family<SourceLabel, Counter>,
    duplicate: Family<SourceLabel, Counter>,
    quarantined: Family<SourceLabel, Counter>,
    turned_away: Family<SourceLabel, Counter>,
    expired: Family<SourceLabel, Counter>,
    in_quarantine: Family<SourceLabel, Gauge>,
    pub(crate) refused: Family<RefusedLabel, Counter>,
    pub(crate) ack_seconds: Histogram,
    window_left: Family<SourceLabel, Gauge<f64, AtomicU64>>,
}

impl Metrics {
    /// Registers them under their names.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: Family::default(),
            discarded: Family::default(),
            duplicate: Family::default(),
            quarantined: Family::default(),
            turned_away: Family::default(),
            expired: Family::default(),
            in_quarantine: Family::default(),
            refused: Family::default(),
            window_left: Family::default(),
            // 64 µs to about 8 s.
            ack_seconds: Histogram::new(exponential_buckets(0.000_064, 2.0, 18)),
        };
        registry.register(
            "forebay_events_accepted",
            "Events that were durable when their request was answered, or soon after it was given up",
            metrics.accepted.clone(),
        );
        registry.register(
            "forebay_events_discarded",
            "Events that were accepted and that no route's `when` wants",
            metrics.discarded.clone(),
        );
        registry.register(
            "forebay_events_duplicate",
            "Repeats that were answered with the first one's id",
            metrics.duplicate.clone(),
        );
        registry.register(
            "forebay_events_quarantined",
            "Requests that were not verified and were durably put in quarantine",
            metrics.quarantined.clone(),
        );
        registry.register(
            "forebay_quarantine_full",
            "Requests that were not verified and were refused because their source's quarantine was full",
            metrics.turned_away.clone(),
        );
        registry.register(
            "forebay_quarantine_expired",
            "Requests that were discarded from quarantine because they were in it for as long as quarantine_keep says",
            metrics.expired.clone(),
        );
        registry.register(
            "forebay_quarantine_requests",
            "Requests that are in quarantine",
            metrics.in_quarantine.clone(),
        );
        registry.register(
            "forebay_events_refused",
            "Requests that were not accepted, by the code of the answer",
            metrics.refused.clone(),
        );
        registry.register_with_unit(
            "forebay_ack",
            "From a request's head to its 2xx",
            Unit::Seconds,
            metrics.ack_seconds.clone(),
        );
        registry.register_with_unit(
            "forebay_source_retry_window_left",
            "How long the sender of the source will still try again what was refused first, and not there while nothing is refused",
            Unit::Seconds,
            metrics.window_left.clone(),
        );
        metrics
    }

    /// Shows how long a source's sender will still try; `None`: nothing of it is refused, and there is nothing to show.
    pub(crate) fn show_window_left(&self, source: &SourceName, seconds: Option<f64>) {
        let label = SourceLabel {
            source: source.to_string(),
        };
        match seconds {
            Some(seconds) => {
                self.window_left.get_or_create(&label).set(seconds);
            }
            None => {
                self.window_left.remove(&label);
            }
        }
    }

    /// The counters of what never becomes a request, shown from the start.
    pub(crate) fn at_the_connection(&self) -> AtTheConnection {
        let of = |code| {
            let source = UNKNOWN_SOURCE.to_owned();
            let label = RefusedLabel { source, code };
            self.refused.get_or_create(&label).clone()
        };
        AtTheConnection {
            too_many: of("too-many-connections"),
            too_many_of_address: of("too-many-from-address"),
            too_many_given_up: of("too-many-resets"),
            too_many_frames: of("too-many-frames"),
            busy: of("busy"),
            head_too_slow: of("head-too-slow"),
            head_too_large: of("headers-too-large"),
            unreadable: of("request-unreadable"),
            no_handshake: of("tls-failed"),
            plain_http: of("https-expected"),
            no_proxy_header: of("no-proxy-header"),
        }
    }

    /// The same of its quarantine.
    pub(crate) fn of_quarantine(&self, source: &SourceName) -> QuarantineMetrics {
        let label = SourceLabel {
            source: source.to_string(),
        };
        self.expired.get_or_create(&label).inc_by(0);
        QuarantineMetrics {
            kept: self.quarantined.get_or_create(&label).clone(),
            turned_away: self.turned_away.get_or_create(&label).clone(),
            requests: self.in_quarantine.get_or_create(&label).clone(),
        }
    }

    /// So many were discarded by age. `None`: of sources that are no more.
    pub(crate) fn note_expired(&self, source: Option<&SourceName>, requests: u64) {
        let source = source.map_or(UNKNOWN_SOURCE, SourceName::as_str).to_owned();
        let counter = self.expired.get_or_create(&SourceLabel { source });
        counter.inc_by(requests);
    }

    /// The counters of one source, shown from the start.
    pub(crate) fn of(&self, source: &SourceName) -> [Counter; 3] {
        let label = SourceLabel {
            source: source.to_string(),
        };
        [&self.accepted, &self.discarded, &self.duplicate]
            .map(|family| family.get_or_create(&label).clone())
    }
}

/// What is measured of one source's quarantine.
#[derive(Debug, Clone, Default)]
pub(crate) struct QuarantineMetrics {
    pub kept: Counter,
    /// There was no place.
    pub turned_away: Counter,
    /// What is in it, places included that are being filled.
    pub requests: Gauge,
}

/// Refusals that the listener answers itself, before anybody knows which source is meant.
#[derive(Debug)]
pub(crate) struct AtTheConnection {
    pub too_many: Counter,
    pub too_many_of_address: Counter,
    pub too_many_given_up: Counter,
    pub too_many_frames: Counter,
    pub busy: Counter,
    pub head_too_slow: Counter,
    pub head_too_large: Counter,
    pub unreadable: Counter,
    pub no_handshake: Counter,
    pub plain_http: Counter,
    pub no_proxy_header: Counter,
}
