//! What the journal measures of itself.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Handles to the journal's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// How long each `fdatasync` of a frame, with its write, took.
    pub sync_seconds: Histogram,
    /// Bytes of all segments and spares.
    pub bytes: Gauge,
    /// Events lost to damage and settled so.
    pub damaged_events: Gauge,
    /// Free bytes of the file system.
    pub disk_free: Gauge,
}

impl Metrics {
    /// Registers them under their names.
    pub fn register(registry: &mut Registry) -> Self {
        // 32 µs to about 8 s.
        let metrics = Self {
            sync_seconds: Histogram::new(exponential_buckets(0.000_032, 2.0, 18)),
            bytes: Gauge::default(),
            damaged_events: Gauge::default(),
            disk_free: Gauge::default(),
        };
        registry.register_with_unit(
            "forebay_journal_sync",
            "Time to write one frame and sync it",
            Unit::Seconds,
            metrics.sync_seconds.clone(),
        );
        registry.register_with_unit(
            "forebay_journal",
            "Disk taken by the journal's segments and spares",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register(
            "forebay_journal_damaged_events",
            "Acknowledged events that damage of the journal's files took",
            metrics.damaged_events.clone(),
        );
        registry.register_with_unit(
            "forebay_disk_free",
            "Free space of the journal's file system",
            Unit::Bytes,
            metrics.disk_free.clone(),
        );
        metrics
    }
}
