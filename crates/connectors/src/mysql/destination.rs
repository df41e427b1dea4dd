//! The destination port on a MySQL or MariaDB server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Outcome, Unavailable};
use mysql_async::prelude::Queryable as _;
use tokio::time::Instant;

use super::client::{Lease, Pool};
use super::error::setup;
use super::inspect;
use super::link::{Link, within};
use super::options::{Config, KIND};
use super::plan::Plan;
use super::session::Session;
use super::write::{BatchWriter, Line};
use crate::row::Row;
use crate::split;
use crate::target::Target;

/// The most bytes of events in one batch. They are copied once to be sent, so this bounds memory.
const BATCH_BYTES: usize = 8 << 20;

/// How many exchanges at the full timeout one batch may take before it is given up.
const SLOW_EXCHANGES: u32 = 3;

#[derive(Debug)]
pub(super) struct Mysql {
    config: Arc<Config>,
    pool: Pool,
}

impl Mysql {
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
impl Destination for Mysql {
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        if batch.is_empty() {
            return BatchOutcome::all_delivered(0);
        }
        let mut lease = match self.pool.take().await {
            Ok(lease) => lease,
            Err(why) => {
                self.pool.forget_idle();
                return BatchOutcome::unavailable(batch.len(), why);
            }
        };
        let session = lease.session();
        let plan = Arc::clone(&session.plan);
        let packet = session.variables.packet();
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let (mut lines, mut places) = (
            Vec::with_capacity(batch.len()),
            Vec::with_capacity(batch.len()),
        );
        for (place, delivery) in batch.iter().enumerate() {
            let placed = Row::place(delivery, plan.body());
            match placed.and_then(|row| Line::make(&plan, row, packet)) {
                Ok(line) => {
                    lines.push(line);
                    places.push(place);
                }
                Err(cause) => outcomes[place] = Outcome::Reject { cause },
            }
        }
        let link = Link {
            session,
            timeout: self.config.timeout,
            deadline: Instant::now() + self.budget(),
        };
        let mut writer = BatchWriter { link, lines };
        let (written, unavailable) = split::write(&mut writer, places.len()).await;
        drop(writer);
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
        let mut lease = self.pool.take().await?;
        let ask = ask(lease.session());
        let done = within(self.config.timeout, "the server", ask).await;
        self.end(lease, done.and_then(|asked| asked))
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        // Settings and table may have changed since a connection was opened.
        self.pool.forget_idle();
        let mut lease = self.pool.take().await?;
        let findings = inspect::findings(lease.session(), &self.config);
        self.end(lease, Ok(findings))
    }

    fn limits(&self) -> DestinationLimits {
        // Waiting for a connection, opening one and setting it up, then the batch.
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

/// What the server would refuse of an event, it refuses of none as well. Of a statement nothing can be tried, and an
/// account that may write to a read-only server is told by delivering only.
async fn ask(session: &mut Session) -> Result<(), Unavailable> {
    let asked = match &*session.plan {
        Plan::Table(plan) => session.conn.query_drop(plan.probe()).await,
        Plan::Statement(_) => session.conn.ping().await,
    };
    asked.map_err(|error| setup("write to the server", &error))
}
