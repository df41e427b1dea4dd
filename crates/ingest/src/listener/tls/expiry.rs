//! Until when the certificate in force is good: as a metric, and as a warning in good time, said once a day.
//!
//! A chain is good as long as every certificate of it is. The metric is a moment and not a span, so that it is true
//! whenever it is read and a query that subtracts `time()` needs no scrape to be fresh; its name is made as Prometheus
//! names such a thing, and as cert-manager's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use rustls_pki_types::CertificateDer;

use super::Tls;
use super::validity::validity;

/// So long before the end it is warned of.
const SOON: Duration = Duration::from_hours(7 * 24);

/// Of a certificate with a short life it is the last part of it: one that is fetched is renewed well before.
const LAST_PART: i32 = 6;

/// How often it is said again.
const AGAIN: Duration = Duration::from_hours(24);

/// From when to when a chain of certificates is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    first: Timestamp,
    last: Timestamp,
}

impl Life {
    /// `None` where one of them cannot be read.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let mut lives = chain.iter().map(validity);
        let [mut first, mut last] = lives.next()??;
        for life in lives {
            let [begins, ends] = life?;
            first = first.max(begins);
            last = last.min(ends);
        }
        Some(Self { first, last })
    }

    pub(super) const fn last(self) -> Timestamp {
        self.last
    }

    /// What is to be said of it now, if it is over or soon will be.
    pub(super) fn warning(self, now: Timestamp) -> Option<String> {
        let left = self.last.duration_since(now);
        let Ok(rest) = Duration::try_from(left) else {
            return Some(format!("expired at {}: clients refuse it", self.last));
        };
        let part = self.last.duration_since(self.first) / LAST_PART;
        let soon = Duration::try_from(part).unwrap_or(Duration::ZERO).min(SOON);
        (rest < soon).then(|| {
            let days = rest.as_secs() / 86_400;
            let hours = rest.as_secs() / 3_600 % 24;
            format!("expires at {}, in {days}d {hours}h", self.last)
        })
    }
}

/// What was warned of last: which end, and when.
pub(super) type Said = Option<(Timestamp, Timestamp)>;

/// What is to be said now: of each certificate at once, and then once a day.
pub(super) fn due(life: Option<Life>, now: Timestamp, said: &mut Said) -> Option<String> {
    let life = life?;
    if let Some((last, when)) = *said
        && last == life.last
        && now >= when
        && Duration::try_from(now.duration_since(when)).is_ok_and(|past| past < AGAIN)
    {
        return None;
    }
    let warning = life.warning(now);
    *said = warning.is_some().then_some((life.last, now));
    warning
}

/// The metric, which asks TLS whenever it is read: nothing can be forgotten when a certificate changes.
struct Gauge(Arc<Tls>);

impl fmt::Debug for Gauge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Gauge").finish_non_exhaustive()
    }
}

impl EncodeMetric for Gauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self.0.expires_at() {
            Some(last) => encoder.encode_gauge(&last.as_second()),
            None => Ok(()),
        }
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl Tls {
    /// Registers when the certificate expires, which has no value as long as there is no certificate.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_with_unit(
            "forebay_tls_certificate_expiry_timestamp",
            "When the certificate in force expires, or the first of those sent with it",
            Unit::Seconds,
            Gauge(Arc::clone(self)),
        );
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn life(first: &str, last: &str) -> Life {
        let [first, last] = [first, last].map(|day| at(&format!("{day}T00:00:00Z")));
        Life { first, last }
    }

    #[test]
    fn a_chain_is_good_as_long_as_each_of_it_is() {
        let made = |(from, to): (u8, u8)| {
            let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2026, 6, from);
            params.not_after = date_time_ymd(2026, 6, to);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            made.der().clone()
        };
        let chain = [(2, 20), (1, 19), (3, 25)].map(made);
        assert_eq!(Life::of(&chain), Some(life("2026-06-03", "2026-06-19")));
        assert_eq!(Life::of(&[]), None);
        let broken = CertificateDer::from(vec![0x30, 0x00]);
        assert_eq!(Life::of(&[chain[0].clone(), broken]), None);
    }

    #[test]
    fn it_is_warned_of_in_the_last_week_or_the_last_sixth_of_a_short_life() {
        let long = life("2026-01-01", "2026-06-30");
        assert_eq!(long.warning(at("2026-06-22T23:59:59Z")), None);
        let soon = long.warning(at("2026-06-24T12:00:00Z"));
        assert_eq!(soon.unwrap(), "expires at 2026-06-30T00:00:00Z, in 5d 12h");
        let over = long.warning(at("2026-06-30T00:00:01Z"));
        assert_eq!(
            over.unwrap(),
            "expired at 2026-06-30T00:00:00Z: clients refuse it"
        );
        let short = life("2026-06-01", "2026-06-07");
        assert_eq!(short.warning(at("2026-06-05T23:00:00Z")), None);
        assert!(short.warning(at("2026-06-06T01:00:00Z")).is_some());
    }

    #[test]
    fn a_warning_comes_once_a_day_and_at_once_for_another_certificate() {
        let (old, new) = (
            life("2026-01-01", "2026-06-30"),
            life("2026-01-01", "2026-06-29"),
        );
        let fresh = life("2026-06-28", "2026-09-28");
        let mut said = None;
        let mut says = |life, now: &str| due(Some(life), at(now), &mut said).is_some();
        assert!(!says(old, "2026-06-20T00:00:00Z"));
        assert!(says(old, "2026-06-28T00:00:00Z"));
        assert!(!says(old, "2026-06-28T23:59:59Z"));
        assert!(says(new, "2026-06-28T23:59:59Z"));
        assert!(says(new, "2026-06-30T00:00:00Z"));
        assert!(!says(fresh, "2026-06-30T00:00:01Z"));
        assert!(says(new, "2026-06-30T00:00:02Z"));
        // A clock that was put back does not silence it.
        assert!(says(new, "2026-06-27T00:00:00Z"));
        assert_eq!(due(None, at("2026-06-28T00:00:00Z"), &mut said), None);
    }
}
