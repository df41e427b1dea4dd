//! The destination port on a SQLite file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Outcome, Unavailable};

use super::client::Client;
use super::error;
use super::options::{Config, KIND};
use super::schema::{self, Prepared};
use super::write::{self, Written};
use crate::target::Target;

/// The most bytes of events in one transaction.
const BATCH_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Sqlite {
    client: Client,
    config: Arc<Config>,
}

impl Sqlite {
    pub(super) fn new(path: PathBuf, config: Config) -> Self {
        Self {
            client: Client::new(path, config.timeout),
            config: Arc::new(config),
        }
    }

    async fn prepared(&self) -> Result<Prepared, Unavailable> {
        let config = Arc::clone(&self.config);
        self.client
            .call(
                move |connection| schema::prepare(connection, &config.target),
                |_| true,
            )
            .await
    }
}

#[async_trait]
impl Destination for Sqlite {
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let count = batch.len();
        let events = batch.to_vec();
        let config = Arc::clone(&self.config);
        let written = self
            .client
            .call(
                move |connection| {
                    // Looked at for every batch: another program may have changed the table, and the
                    // look costs little beside the sync.
                    let prepared = schema::prepare(connection, &config.target)?;
                    Ok(write::write(connection, &prepared, &config.target, &events))
                },
                |written| written.unavailable.is_none(),
            )
            .await;
        match written {
            Ok(Written {
                mut outcomes,
                unavailable,
            }) => {
                outcomes.resize(count, Outcome::NotDone);
                BatchOutcome {
                    outcomes,
                    unavailable,
                }
            }
            Err(why) => BatchOutcome::unavailable(count, why),
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.prepared().await?;
        // Taking the write lock shows a file, a directory and a disk that can be written, and nobody in
        // the way.
        let take_and_give_back = |connection: &mut rusqlite::Connection| {
            connection
                .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
                .map_err(|error| error::unavailable(&error))
        };
        self.client.call(take_and_give_back, |()| true).await
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let prepared = self.prepared().await?;
        let text = match &self.config.target {
            Target::Statement(_) => {
                "the statement runs at least once an event: make it idempotent on $id, as in \"… ON CONFLICT (id) DO NOTHING\"".to_owned()
            }
            Target::Table(table) if !prepared.unique => format!(
                "at least once only: column {id} of {table} has no unique index of its own, so a repeat is written twice; CREATE UNIQUE INDEX ON {table} ({id})",
                id = table.id_column.as_str(),
                table = table.name
            ),
            Target::Table(_) => return Ok(Vec::new()),
        };
        Ok(vec![Finding { text }])
    }

    fn limits(&self) -> DestinationLimits {
        DestinationLimits {
            batch_events: self.config.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: 1,
            timeout: self.config.timeout + Duration::from_secs(5),
        }
    }

    fn recognises_repeats(&self) -> bool {
        matches!(self.config.target, Target::Table(_))
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
