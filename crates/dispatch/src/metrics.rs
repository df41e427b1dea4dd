//! What dispatch measures of itself, each with its name and help.

use domain::{DestinationName, Reason, RouteName};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

/// The label `route`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The route's name.
    pub route: RouteValue,
}

/// The labels `route` and `outcome`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// The route's name.
    pub route: RouteValue,
    /// The word for what the destination said.
    pub outcome: &'static str,
}

/// The labels `route` and `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The route's name.
    pub route: RouteValue,
    /// Why the event was given up.
    pub reason: &'static str,
}

/// The label `destination`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DestinationLabel {
    /// The destination's name.
    pub destination: String,
}

/// A route's name as a label value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RouteValue {
    /// A route with metrics of its own.
    Named(RouteName),
    /// All others: subscriptions past the hundredth.
    TheRest,
}

impl EncodeLabelValue for RouteValue {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Self::Named(name) => name.as_str(),
            Self::TheRest => "subscriptions",
        })
    }
}

/// What may come of an attempt.
const OUTCOMES: [&str; 6] = [
    "delivered",
    "retry",
    "throttled",
    "reject",
    "not-done",
    "unavailable",
];

/// Handles to the metrics of all routes.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Attempts of single events by what came of them, and `unavailable` once a batch.
    pub attempts: Family<OutcomeLabel, Counter>,
    /// Events that a destination confirmed.
    pub delivered: Family<RouteLabel, Counter>,
    /// Events that a route's `when` did not want.
    pub skipped: Family<RouteLabel, Counter>,
    /// Those of them that `when` could not be asked of.
    pub unfiltered: Family<RouteLabel, Counter>,
    /// Events given up on.
    pub dead: Family<ReasonLabel, Counter>,
    /// Events in the journal and not settled.
    pub pending: Family<RouteLabel, Gauge>,
    /// Rows waiting for their next attempt.
    pub parked: Family<RouteLabel, Gauge>,
    /// Rows in the dead-letter queue.
    pub dead_now: Family<RouteLabel, Gauge>,
    /// Age of the oldest event that is not settled.
    pub oldest_pending: Family<RouteLabel, Gauge<f64, AtomicU64>>,
    /// 0 passing, 1 probing, 2 tripped.
    pub breaker: Family<RouteLabel, Gauge>,
    /// Counters against an independent count; always 0.
    pub imbalance: Family<RouteLabel, Gauge>,
    /// Dead letters that a target has not been given.
    pub export_pending: Family<DestinationLabel, Gauge>,
}

impl Metrics {
    /// Registers them under their names.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "forebay_attempts",
            "Attempts of single events by outcome; unavailable counts once a batch",
            metrics.attempts.clone(),
        );
        registry.register(
            "forebay_events_delivered",
            "Events that the destination confirmed as durable",
            metrics.delivered.clone(),
        );
        registry.register(
            "forebay_events_skipped",
            "Events of the route's sources that its `when` did not want",
            metrics.skipped.clone(),
        );
        registry.register(
            "forebay_filter_errors",
            "Events that the route's `when` could not be asked of, and which it does not deliver",
            metrics.unfiltered.clone(),
        );
        registry.register(
            "forebay_events_dead",
            "Events given up on, by reason",
            metrics.dead.clone(),
        );
        registry.register(
            "forebay_route_pending_events",
            "Events in the journal that the route has not settled",
            metrics.pending.clone(),
        );
        registry.register(
            "forebay_route_parked_events",
            "Events waiting in state for their next attempt",
            metrics.parked.clone(),
        );
        registry.register(
            "forebay_route_dead_events",
            "Dead letters of the route",
            metrics.dead_now.clone(),
        );
        registry.register(
            "forebay_route_oldest_pending_seconds",
            "Age of the oldest event that the route has not settled; 0 when there is none",
            metrics.oldest_pending.clone(),
        );
        registry.register(
            "forebay_breaker_state",
            "The route's breaker: 0 passing, 1 probing, 2 tripped",
            metrics.breaker.clone(),
        );
        registry.register(
            "forebay_ledger_imbalance",
            "The route's counters against an independent count of the journal; always 0",
            metrics.imbalance.clone(),
        );
        registry.register(
            "forebay_export_pending_events",
            "Dead letters that the dead-letter target has not been given yet, of all routes",
            metrics.export_pending.clone(),
        );
        metrics
    }

    /// The gauge of what waits for one target.
    pub(crate) fn export_pending(&self, target: &DestinationName) -> Gauge {
        self.export_pending.get_or_create_owned(&DestinationLabel {
            destination: target.to_string(),
        })
    }

    /// Shows nothing of a target any more.
    pub(crate) fn forget_target(&self, target: &DestinationName) {
        self.export_pending.remove(&DestinationLabel {
            destination: target.to_string(),
        });
    }

    /// The handles of routes that are too many for names of their own: their counts are in one, and what they show
    /// of now in none.
    pub(crate) fn of_the_rest(&self) -> RouteMetrics {
        RouteMetrics {
            pending: Gauge::default(),
            parked: Gauge::default(),
            dead_now: Gauge::default(),
            oldest_pending: Gauge::default(),
            breaker: Gauge::default(),
            imbalance: Gauge::default(),
            ..self.labelled(RouteValue::TheRest)
        }
    }

    /// Shows nothing of a route any more.
    pub(crate) fn forget(&self, route: &RouteName) {
        let route = RouteValue::Named(route.clone());
        let label = RouteLabel {
            route: route.clone(),
        };
        for gauges in [
            &self.pending,
            &self.parked,
            &self.dead_now,
            &self.breaker,
            &self.imbalance,
        ] {
            gauges.remove(&label);
        }
        self.oldest_pending.remove(&label);
        self.delivered.remove(&label);
        self.skipped.remove(&label);
        self.unfiltered.remove(&label);
        for outcome in OUTCOMES {
            self.attempts.remove(&OutcomeLabel {
                route: route.clone(),
                outcome,
            });
        }
        for reason in Reason::ALL {
            self.dead.remove(&ReasonLabel {
                route: route.clone(),
                reason: reason.as_str(),
            });
        }
    }

    /// The handles of one route.
    pub(crate) fn of(&self, route: &RouteName) -> RouteMetrics {
        self.labelled(RouteValue::Named(route.clone()))
    }

    fn labelled(&self, route: RouteValue) -> RouteMetrics {
        let label = RouteLabel { route };
        let attempts = |outcome| {
            self.attempts.get_or_create_owned(&OutcomeLabel {
                route: label.route.clone(),
                outcome,
            })
        };
        let dead = |reason: Reason| {
            self.dead.get_or_create_owned(&ReasonLabel {
                route: label.route.clone(),
                reason: reason.as_str(),
            })
        };
        RouteMetrics {
            attempts_delivered: attempts("delivered"),
            attempts_retry: attempts("retry"),
            attempts_throttled: attempts("throttled"),
            attempts_reject: attempts("reject"),
            attempts_not_done: attempts("not-done"),
            attempts_unavailable: attempts("unavailable"),
            delivered: self.delivered.get_or_create_owned(&label),
            skipped: self.skipped.get_or_create_owned(&label),
            unfiltered: self.unfiltered.get_or_create_owned(&label),
            dead_rejected: dead(Reason::Rejected),
            dead_exhausted: dead(Reason::RetriesExhausted),
            dead_outage: dead(Reason::Outage),
            dead_backlog: dead(Reason::Backlog),
            pending: self.pending.get_or_create_owned(&label),
            parked: self.parked.get_or_create_owned(&label),
            dead_now: self.dead_now.get_or_create_owned(&label),
            oldest_pending: self.oldest_pending.get_or_create_owned(&label),
            breaker: self.breaker.get_or_create_owned(&label),
            imbalance: self.imbalance.get_or_create_owned(&label),
        }
    }
}

/// The handles of one route, looked up once.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    pub(crate) attempts_delivered: Counter,
    pub(crate) attempts_retry: Counter,
    pub(crate) attempts_throttled: Counter,
    pub(crate) attempts_reject: Counter,
    pub(crate) attempts_not_done: Counter,
    pub(crate) attempts_unavailable: Counter,
    pub(crate) delivered: Counter,
    pub(crate) skipped: Counter,
    pub(crate) unfiltered: Counter,
    pub(crate) dead_rejected: Counter,
    pub(crate) dead_exhausted: Counter,
    pub(crate) dead_outage: Counter,
    pub(crate) dead_backlog: Counter,
    pub(crate) pending: Gauge,
    pub(crate) parked: Gauge,
    pub(crate) dead_now: Gauge,
    pub(crate) oldest_pending: Gauge<f64, AtomicU64>,
    pub(crate) breaker: Gauge,
    pub(crate) imbalance: Gauge,
}
