//! What state measures of itself.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Handles to state's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Bytes of the database and its write-ahead log.
    pub bytes: Gauge,
}

impl Metrics {
    /// Registers them under their names.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            bytes: Gauge::default(),
        };
        registry.register_with_unit(
            "forebay_state",
            "Disk taken by the state database and its write-ahead log",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        metrics
    }
}
