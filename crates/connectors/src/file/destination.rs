//! The destination port on an NDJSON file.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, StoredEvent, Unavailable};

use super::line;
use super::log::Log;
use super::options::{Config, KIND};

/// The most bytes of events in one write.
const BATCH_BYTES: usize = 16 << 20;

/// The longest that a write and its sync may take before the disk is taken for away.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A file that lines are appended to.
pub(super) struct File {
    log: Arc<Mutex<Log>>,
    batch_max: usize,
}

impl File {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            log: Arc::new(Mutex::new(Log::new(config.path.clone()))),
            batch_max: config.batch_max,
        }
    }

    /// Runs `act` where it may block. Once begun it goes on to its end, also when the caller stops waiting; the
    /// next one waits for it.
    async fn call(
        &self,
        act: impl FnOnce(&mut Log) -> Result<(), Unavailable> + Send + 'static,
    ) -> Result<(), Unavailable> {
        let log = Arc::clone(&self.log);
        let done = tokio::task::spawn_blocking(move || {
            act(&mut log.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let done = done.await;
        done.unwrap_or_else(|error| Err(Unavailable::new("defect", error.to_string())))
    }
}

#[async_trait]
impl Destination for File {
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let count = batch.len();
        let events: Vec<StoredEvent> = batch.iter().map(|one| one.stored.clone()).collect();
        let written = self.call(move |log| {
            let mut lines = Vec::new();
            for event in &events {
                line::write(event, &mut lines)
                    .map_err(|error| Unavailable::new("defect", error.to_string()))?;
            }
            log.append(&lines)
        });
        match written.await {
            Ok(()) => BatchOutcome::all_delivered(count),
            Err(why) => BatchOutcome::unavailable(count, why),
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.call(Log::ready).await
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.probe().await?;
        Ok(Vec::new())
    }

    fn limits(&self) -> DestinationLimits {
        DestinationLimits {
            batch_events: self.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: 1,
            timeout: TIMEOUT,
        }
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
