//! The destination port on a PostgreSQL server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Outcome, Unavailable};
use tokio::time::Instant;

use super::client::{Lease, Pool, within};
use super::error::setup;
use super::inspect;
use super::options::{Config, KIND};
use super::write::BatchWriter;
use crate::row::Row;
use crate::split;
use crate::target::Target;

/// The most bytes of events in one batch. A batch is encoded in one piece, so this bounds memory.
const BATCH_BYTES: usize = 8 << 20;

/// How many exchanges at the full timeout one batch may take before it is given up.
const SLOW_EXCHANGES: u32 = 3;

#[derive(Debug)]
pub(super) struct Postgres {
    config: Arc<Config>,
    pool: Pool,
}

impl Postgres {
    pub(super) fn new(config: Config) -> Self {
        let config = Arc::new(config);
        Self {
            pool: Pool::new(Arc::clone(&config)),
            config,
        }
    }

    /// Gives the session back after it did what was asked, or closes it and the idle ones.
    fn end<T>(&self, lease: Lease<'_>, done: Result<T, Unavailable>) -> Result<T, Unavailable> {
        if done.is_ok() {
            self.pool.give_back(lease);
        } else {
            drop(lease);
            self.pool.forget_idle();
        }
        done
    }

    fn budget(&self) -> Duration {
        self.config.timeout.saturating_mul(SLOW_EXCHANGES)
    }
}

#[async_trait]
impl Destination for Postgres {
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        if batch.is_empty() {
            return BatchOutcome::all_delivered(0);
        }
        let lease = match self.pool.take().await {
            Ok(lease) => lease,
            Err(why) => {
                self.pool.forget_idle();
                return BatchOutcome::unavailable(batch.len(), why);
            }
        };
        let session = lease.session();
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let (mut rows, mut places) = (
            Vec::with_capacity(batch.len()),
            Vec::with_capacity(batch.len()),
        );
        for (place, delivery) in batch.iter().enumerate() {
            match Row::place(delivery, session.plan.body()) {
                Ok(row) => {
                    rows.push(row);
                    places.push(place);
                }
                Err(cause) => outcomes[place] = Outcome::Reject { cause },
            }
        }
        let mut writer = BatchWriter {
            session,
            rows,
            timeout: self.config.timeout,
            deadline: Instant::now() + self.budget(),
        };
        let (written, unavailable) = split::write(&mut writer, places.len()).await;
        for (place, outcome) in places.into_iter().zip(written) {
            if let Some(outcome) = outcome {
                outcomes[place] = outcome;
            }
        }
        let done = unavailable.map_or(Ok(()), Err);
        let unavailable = self.end(lease, done).err();
        BatchOutcome {
            outcomes,
            unavailable,
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        let lease = self.pool.take().await?;
        let ask = async {
            let asked = lease
                .session()
                .client
                .query_one(
                    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool",
                    &[],
                )
                .await;
            let read_only: bool = asked
                .map_err(|error| setup("ask the server", &error))?
                .get(0);
            if read_only {
                return Err(Unavailable::new(
                    "sqlstate 25006",
                    "the server is read-only: a standby, or one that is being switched over",
                ));
            }
            Ok(())
        };
        let done = within(self.config.timeout, "the server", ask).await;
        self.end(lease, done.and_then(|asked| asked))
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let lease = self.pool.take().await?;
        let ask = inspect::findings(lease.session(), &self.config);
        let done = within(self.config.timeout, "the server", ask).await;
        self.end(lease, done.and_then(|asked| asked))
    }

    fn limits(&self) -> DestinationLimits {
        // Waiting for a connection, opening one to a few hosts and setting it up, then the batch.
        let opening = self.config.connect_timeout.saturating_mul(2) + self.config.timeout * 2;
        DestinationLimits {
            batch_events: self.config.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: self.config.concurrency,
            timeout: opening + self.budget(),
        }
    }

    fn recognises_repeats(&self) -> bool {
        matches!(self.config.target, Target::Table(_))
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
