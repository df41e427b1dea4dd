//! Certificates that requests name: fetched once, by one request at a time, and not asked for again at once when
//! that failed. Whoever may post can name a certificate; only a place that the scheme knows is looked at, and never
//! more than one fetch a source is under way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::ports::Fetch;
use tokio::sync::Semaphore;

use crate::event::Unverified;
use crate::refusal::Refused;

/// How long a source's certificates are not asked for after one could not be had.
const REST: Duration = Duration::from_secs(5);

/// The place where one source's certificates are fetched, one at a time.
#[derive(Debug)]
pub(crate) struct Certificates {
    one: Semaphore,
    failed: Mutex<Option<Instant>>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            one: Semaphore::new(1),
            failed: Mutex::new(None),
        }
    }
}

impl Certificates {
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
        if self.rests() {
            return Err(Refused::NoCertificate);
        }
        let fetched = fetch.fetch(&place).await;
        let learned = match fetched {
            Ok(certificate) => request.source.scheme.learn(&place, &certificate),
            Err(error) => Err(error.to_string()),
        };
        learned.map_err(|error| {
            tracing::warn!(source = %request.source.name, %place, %error, "a certificate could not be had; requests that it signs are told 503");
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            Refused::NoCertificate
        })
    }

    fn rests(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < REST)
    }
}
