//! The destination port on a file of lines.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Unavailable};

use super::client::{Client, TIMEOUT};
use super::line;
use super::options::KIND;

/// The most bytes of events in one write. They are put together in memory.
const BATCH_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct File {
    client: Client,
    batch_max: usize,
}

impl File {
    pub(super) fn new(path: PathBuf, batch_max: usize) -> Self {
        Self {
            client: Client::new(path),
            batch_max,
        }
    }
}

#[async_trait]
impl Destination for File {
    /// Appends the batch, and says delivered once it is synced. After a failure nothing is known of any of it: lines
    /// may be there, and come again. Dropping the call leaves the write running to its end.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        if batch.is_empty() {
            return BatchOutcome::all_delivered(0);
        }
        let events = batch.to_vec();
        let lines = move |out: &mut Vec<u8>| events.iter().for_each(|one| line::write(one, out));
        match self.client.append(lines).await {
            Ok(()) => BatchOutcome::all_delivered(batch.len()),
            Err(why) => BatchOutcome::unavailable(batch.len(), why),
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.client.look().await
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.client.look().await?;
        Ok(Vec::new())
    }

    fn limits(&self) -> DestinationLimits {
        DestinationLimits {
            batch_events: self.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: 1,
            timeout: TIMEOUT + Duration::from_secs(5),
        }
    }

    fn recognises_repeats(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
