//! Certificates that requests name: fetched once, by one request at a time. Whoever may post can name one, so only a
//! place that the scheme knows is looked at, a source fetches no more than a few and then one a second, and a place
//! where none was found is left alone for a while without any other having to wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::ports::Fetch;
use tokio::sync::Semaphore;

use crate::event::Unverified;
use crate::rate::{RateLimit, RateLimitOptions};
use crate::refusal::Refused;

/// How long a place is not asked again after there was no certificate.
const REST: Duration = Duration::from_secs(5);

/// How many such places are remembered; the oldest goes.
const RESTING: usize = 64;

/// A sender uses one certificate, and two while it changes it: this is far more than they ever need.
const PACE: RateLimitOptions = RateLimitOptions {
    per_second: 1,
    burst: Some(8),
};

/// The place where one source's certificates are fetched, one at a time.
#[derive(Debug)]
pub(crate) struct Certificates {
    one: Semaphore,
    pace: RateLimit,
    failed: Mutex<VecDeque<(String, Instant)>>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Certificates {
    fn new(now: Instant) -> Self {
        Self {
            one: Semaphore::new(1),
            pace: RateLimit::new(PACE, now),
            failed: Mutex::default(),
        }
    }

    /// Sees to it that the certificate which this request names is known.
    ///
    /// # Errors
    /// [`Refused::NotVerified`] where it names a place that is not the sender's, [`Refused::NoCertificate`] where it
    /// could not be had.
    pub(crate) async fn provide(
        &self,
        fetch: &Arc<dyn Fetch>,
        request: &Unverified<'_>,
    ) -> Result<(), Refused> {
        if request.wants()?.is_none() {
            return Ok(());
        }
        let turn = self.one.acquire().await;
        let _turn = turn.map_err(|_| Refused::NoCertificate)?;
        // Another request may have fetched it meanwhile.
        let Some(place) = request.wants()? else {
            return Ok(());
        };
        if !self.may_fetch(&place, Instant::now()) {
            return Err(Refused::NoCertificate);
        }
        let fetched = fetch.fetch(&place).await;
        let learned = match fetched {
            Ok(certificate) => request.source.scheme.learn(&place, &certificate),
            Err(error) => Err(error.to_string()),
        };
        learned.map_err(|error| {
            tracing::warn!(source = %request.source.name, %place, %error, "a certificate could not be had; requests that it signs are told 503");
            self.note_failed(place, Instant::now());
            Refused::NoCertificate
        })
    }

    /// Whether this place is to be asked now. It takes a fetch off the source's share.
    fn may_fetch(&self, place: &str, now: Instant) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |(known, at): &(String, Instant)| {
            known == place && now.saturating_duration_since(*at) < REST
        };
        !failed.iter().any(rests) && self.pace.take(now).is_ok()
    }

    fn note_failed(&self, place: String, now: Instant) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|(known, _)| *known != place);
        if failed.len() == RESTING {
            failed.pop_front();
        }
        failed.push_back((place, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_a_certificate_rests_and_no_other_does() {
        let begun = Instant::now();
        let known = Certificates::new(begun);
        assert!(known.may_fetch("a", begun));
        known.note_failed("a".into(), begun);
        assert!(!known.may_fetch("a", begun + REST / 2));
        assert!(known.may_fetch("b", begun));
        assert!(known.may_fetch("a", begun + REST));
    }

    #[test]
    fn ever_new_names_make_it_fetch_once_a_second_and_take_no_more_room() {
        let begun = Instant::now();
        let known = Certificates::new(begun);
        let mut fetched = 0;
        for number in 0..1000_u32 {
            let now = begun + Duration::from_millis(100) * number;
            if known.may_fetch(&number.to_string(), now) {
                fetched += 1;
                known.note_failed(number.to_string(), now);
            }
        }
        assert_eq!(fetched, 8 + 99);
        assert_eq!(known.failed.lock().unwrap().len(), RESTING);
    }
}
