//! A certificate that Forebay fetches and renews itself: ACME (RFC 8555) with TLS-ALPN-01 (RFC 8737) or HTTP-01.
//!
//! The certificate lies in a file of the data directory and is in force like any other file of TLS. It is renewed after
//! two thirds of its time. What fails is said and tried again, ever more rarely; the certificate in force stays.

mod challenge;
mod http_challenge;
mod options;
mod order;
mod proof;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::{Clock, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::Notify;
use webpki::EndEntityCert;

pub(in crate::listener) use challenge::Challenges;
pub(super) use http_challenge::HttpChallenges;
pub use options::{AcmeChallenge, AcmeOptions};

use super::validity::validity;
use proof::Proof;
use store::Store;

/// The longest that it is slept without looking at the clock, which may jump.
const LOOK: Duration = Duration::from_hours(1);

/// The rest after a failure: so long after the first, twice as long after each further one, an hour at most. Authorities
/// allow a handful of failures an hour.
const REST: Duration = Duration::from_mins(2);

/// The longest that an order may take.
const ORDER: Duration = Duration::from_mins(5);

/// What keeps a certificate fresh.
#[derive(Debug)]
pub(super) struct Acme {
    options: AcmeOptions,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    proof: Proof,
    asked: Notify,
}

impl Acme {
    /// With its files below a data directory.
    ///
    /// # Errors
    /// What keeps challenges from being answered.
    pub(super) fn new(
        options: &AcmeOptions,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        Ok(Self {
            options: options.clone(),
            store: Arc::new(Store::new(data_dir, &options.directory)),
            clock,
            proof: Proof::new(options.challenge).map_err(|error| error.to_string())?,
            asked: Notify::new(),
        })
    }

    /// Where the certificate and its key are.
    pub(super) fn file(&self) -> PathBuf {
        self.store.certificate()
    }

    /// What is answered in a handshake, if that is the challenge.
    pub(super) const fn challenges(&self) -> Option<&Challenges> {
        match &self.proof {
            Proof::Tls(challenges) => Some(challenges),
            Proof::Http(_) => None,
        }
    }

    /// What is answered by plain HTTP, if that is the challenge.
    pub(super) const fn http_challenges(&self) -> Option<&HttpChallenges> {
        match &self.proof {
            Proof::Http(challenges) => Some(challenges),
            Proof::Tls(_) => None,
        }
    }

    /// Does not rest any longer if something is to be done.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Fetches a certificate whenever one is due, and says when there is a new one. For ever.
    pub(super) async fn keep(&self, new: impl Fn()) {
        let order = || order::certificate(&self.options, &self.store, &self.proof);
        self.keep_by(order, new).await;
    }

    /// The same with what puts a certificate into the store.
    async fn keep_by<F>(&self, order: impl Fn() -> F, new: impl Fn())
    where
        F: Future<Output = Result<(), order::Error>>,
    {
        let mut failures = 0_u32;
        loop {
            let rest = match failures {
                0 => Duration::ZERO,
                failures => REST.saturating_mul(1 << (failures - 1).min(5)).min(LOOK),
            };
            let pause = self.until_due().min(LOOK).max(rest);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked.notified() => failures = 0,
            }
            if !self.until_due().is_zero() {
                continue;
            }
            let outcome = tokio::time::timeout(ORDER, order()).await;
            self.proof.clear();
            match outcome.unwrap_or(Err(order::Error::TooSlow)) {
                Ok(()) => {
                    tracing::info!(
                        domains = self.options.domains.join(", "),
                        "a new certificate has come"
                    );
                    new();
                    if self.until_due().is_zero() {
                        failures += 1;
                        tracing::error!(
                            "the certificate that has come is due for the next already, which is asked for later: is it for all of server.tls.acme.domains, and is the clock of this machine right?"
                        );
                    } else {
                        failures = 0;
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "no certificate could be had; it is tried again. SIGHUP tries at once");
                }
            }
        }
    }

    /// How long until a certificate is to be fetched: none if there is none, or not for all of the domains.
    fn until_due(&self) -> Duration {
        let pem = std::fs::read(self.file()).unwrap_or_default();
        let Ok(certificate) = CertificateDer::from_pem_slice(&pem) else {
            return Duration::ZERO;
        };
        let Some(validity) = validity(&certificate).filter(|_| self.covers(&certificate)) else {
            return Duration::ZERO;
        };
        due(validity, self.clock.now())
    }

    fn covers(&self, certificate: &CertificateDer<'_>) -> bool {
        EndEntityCert::try_from(certificate).is_ok_and(|certificate| {
            let mut domains = self.options.domains.iter();
            domains.all(|domain| certificate.valid_dns_names().any(|name| name == domain))
        })
    }
}

/// How long until two thirds of the validity are over.
fn due([first, last]: [Timestamp; 2], now: Timestamp) -> Duration {
    let third = last.duration_since(first) / 3;
    let left = last.duration_since(now) - third;
    Duration::try_from(left).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use domain::Secret;
    use domain::clock::ManualClock;

    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_time() {
        let at = |day: u32| format!("2026-06-{day:02}T00:00:00Z").parse().unwrap();
        let days = |now: u32| due([at(1), at(31 - 1)], at(now)).as_secs_f64() / 86_400.0;
        let of = |now| (days(now) * 10.0).round() / 10.0;
        assert_eq!((of(1), of(10), of(20)), (19.3, 10.3, 0.3));
        assert_eq!((of(21), of(30)), (0.0, 0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_due_as_soon_as_it_comes_is_not_asked_for_again_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let options = AcmeOptions {
            domains: vec!["a.example".into()],
            ..AcmeOptions::default()
        };
        let clock = ManualClock::new("2026-06-01T00:00:00Z".parse().unwrap());
        let acme = Acme::new(&options, directory.path(), Arc::new(clock)).unwrap();
        let (orders, came) = (Cell::new(0), Cell::new(0));
        // As from an authority that leaves a domain out; one whose clock is another does the same.
        let order = || {
            orders.set(orders.get() + 1);
            assert!(orders.get() < 10, "authorities allow a handful an hour");
            let made = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
            let key = Secret::new(made.signing_key.serialize_pem());
            acme.store.put_certificate(&made.cert.pem(), &key).unwrap();
            std::future::ready(Ok(()))
        };
        let keeping = acme.keep_by(order, || came.set(came.get() + 1));
        let hour = tokio::time::timeout(Duration::from_hours(1), keeping).await;
        assert!(hour.is_err(), "it is kept for ever");
        assert!(orders.get() > 2, "it is tried again");
        assert_eq!(came.get(), orders.get(), "what came is in force");
    }

    #[test]
    fn one_is_due_if_there_is_none_or_one_for_other_domains() {
        let directory = tempfile::tempdir().unwrap();
        let of = |domains: &[&str]| {
            let options = AcmeOptions {
                domains: domains.iter().map(|domain| (*domain).into()).collect(),
                ..AcmeOptions::default()
            };
            let clock = ManualClock::new("2026-06-01T00:00:00Z".parse().unwrap());
            Acme::new(&options, directory.path(), Arc::new(clock)).unwrap()
        };
        assert!(of(&["a.example"]).until_due().is_zero());
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let store = &of(&["a.example"]).store;
        let key = Secret::new(made.signing_key.serialize_pem());
        store.put_certificate(&made.cert.pem(), &key).unwrap();
        assert!(!of(&["a.example"]).until_due().is_zero());
        assert!(!of(&["b.example", "a.example"]).until_due().is_zero());
        assert!(of(&["a.example", "c.example"]).until_due().is_zero());
    }
}
