//! The destination port on a Redis server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding, Inlet};
use domain::{BatchOutcome, Outcome, Unavailable};
use redis::Value;
use tokio::time::Instant;

use super::client::{Lease, Pool};
use super::connect::Session;
use super::error::{self, Refusal, Verdict};
use super::inspect;
use super::options::{Config, KIND};
use super::reading::{Reader, Reading};
use super::url::Place;
use super::write::{self, End};

/// The most bytes of events in one batch, all of which are in memory as commands until they are answered.
const BATCH_BYTES: usize = 4 << 20;

/// How many times the timeout one batch may take before it is given up.
const SLOW_ANSWERS: u32 = 3;

/// How often a batch follows the key to another node.
const MOVES: usize = 3;

#[derive(Debug)]
pub(super) struct Redis {
    config: Arc<Config>,
    pool: Pool,
    reader: Reader,
}

impl Redis {
    pub(super) fn new(config: Config, reading: Reading) -> Self {
        let config = Arc::new(config);
        Self {
            pool: Pool::new(Arc::clone(&config)),
            reader: Reader::new(Arc::clone(&config), reading),
            config,
        }
    }

    fn budget(&self) -> Duration {
        self.config.timeout.saturating_mul(SLOW_ANSWERS)
    }

    /// A session with a server that would take an event now.
    async fn ready(&self) -> Result<Lease<'_>, Unavailable> {
        for _ in 0..=MOVES {
            let lease = match self.pool.take().await {
                Ok(lease) => lease,
                Err(why) => {
                    self.pool.forget();
                    return Err(why);
                }
            };
            match ready(lease.session(), &self.config).await {
                Ok(None) => return Ok(lease),
                Ok(Some(place)) => self.pool.move_to(place),
                Err(why) => {
                    drop(lease);
                    self.pool.forget();
                    return Err(why);
                }
            }
        }
        Err(error::restless(self.config.target.key()))
    }
}

#[async_trait]
impl Destination for Redis {
    /// Sends a batch as one pipeline, and takes each answer for its event. In a cluster it follows the key to the node
    /// that has it. Dropping the call closes the connection: the server may have what was sent, and gets it again.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        if batch.is_empty() {
            return BatchOutcome::all_delivered(0);
        }
        let deadline = Instant::now() + self.budget();
        let mut moves = 0;
        let unavailable = loop {
            let lease = match self.pool.take().await {
                Ok(lease) => lease,
                Err(why) => {
                    self.pool.forget();
                    break Some(why);
                }
            };
            let session = lease.session();
            let end = write::batch(session, &self.config, deadline, batch, &mut outcomes).await;
            match end {
                End::Done => {
                    self.pool.give_back(lease);
                    break None;
                }
                // One event fewer each time.
                End::Closed => drop(lease),
                End::Moved(place) => {
                    drop(lease);
                    self.pool.move_to(place);
                    moves += 1;
                    if moves > MOVES {
                        break Some(error::restless(self.config.target.key()));
                    }
                }
                End::Away(why) => {
                    drop(lease);
                    self.pool.forget();
                    break Some(why);
                }
            }
            if !outcomes.contains(&Outcome::NotDone) {
                break None;
            }
            if Instant::now() >= deadline {
                break Some(error::late("the server", self.budget()));
            }
        };
        BatchOutcome {
            outcomes,
            unavailable,
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        let lease = self.ready().await?;
        self.pool.give_back(lease);
        Ok(())
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let lease = self.ready().await?;
        let found = inspect::findings(lease.session(), &self.config).await;
        if found.is_ok() {
            self.pool.give_back(lease);
        }
        found
    }

    fn limits(&self) -> DestinationLimits {
        // Waiting for a connection and opening one to some host, both once more for a key that has moved, then the batch
        // and its replicas.
        let opening = self
            .config
            .connect_timeout
            .saturating_mul(self.config.hosts())
            + self.config.timeout;
        DestinationLimits {
            batch_events: self.config.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: self.config.concurrency,
            timeout: opening.saturating_mul(2)
                + self.budget()
                + self.config.timeout
                + Duration::from_secs(5),
        }
    }

    fn recognises_repeats(&self) -> bool {
        false
    }

    fn inlet(&self) -> Option<&dyn Inlet> {
        Some(&self.reader)
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}

/// Asks whether the server would take an event, without giving it one: the command is queued in a transaction, which is
/// where memory, permission, role and slot are looked at, and the transaction is thrown away. Then the key's type is
/// asked for. Gives the place of the node that has the key, if it is another.
async fn ready(session: &Session, config: &Config) -> Result<Option<Place>, Unavailable> {
    let (limit, target) = (config.timeout, &config.target);
    let refused = |why: &Refusal| error::refused("take an event", why, target);
    match session.ask(limit, &redis::cmd("MULTI")).await? {
        Ok(_) => {
            let queued = session.ask(limit, &target.add_nothing()).await?;
            let thrown_away = session.ask(limit, &redis::cmd("DISCARD")).await?;
            if let Err(why) = &queued {
                return match error::judge(why, target) {
                    Verdict::Moved(to) => match Place::moved_to(&to, &session.place) {
                        Some(place) => Ok(Some(place)),
                        None => Err(refused(why)),
                    },
                    _ => Err(refused(why)),
                };
            }
            thrown_away.map_err(|why| refused(&why))?;
        }
        // Without transactions there is only the type to go by.
        Err(why) if why.is_of_the_command() => {}
        Err(why) => return Err(refused(&why)),
    }
    let mut question = redis::cmd("TYPE");
    question.arg(target.key());
    match session.ask(limit, &question).await? {
        Ok(Value::SimpleString(kind)) if kind != "none" && kind != target.kind() => {
            Err(error::another_type(target))
        }
        Ok(_) => Ok(None),
        Err(why) if why.is_of_the_command() => Ok(None),
        Err(why) => Err(refused(&why)),
    }
}
