//! The destination port on a NATS JetStream stream.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Outcome, Unavailable};
use tokio::time::Instant;

use super::client::Client;
use super::error::{Fault, too_large};
use super::inspect::findings;
use super::options::{Config, KIND, Server};
use super::publish::publish;

/// The most bytes of events in one batch.
const BATCH_BYTES: usize = 8 << 20;

/// How many waits of the full timeout one batch may take before it is given up.
const SLOW_ANSWERS: u32 = 3;

#[derive(Debug)]
pub(super) struct Nats {
    config: Arc<Config>,
    client: Client,
}

impl Nats {
    pub(super) fn new(config: Config) -> Self {
        let config = Arc::new(config);
        Self {
            client: Client::new(Arc::clone(&config)),
            config,
        }
    }

    fn budget(&self) -> Duration {
        self.config.timeout.saturating_mul(SLOW_ANSWERS)
    }

    async fn publish(
        &self,
        batch: &[Delivery],
        outcomes: &mut [Outcome],
    ) -> Result<(), Unavailable> {
        if batch.is_empty() {
            return Ok(());
        }
        let lease = self.client.take().await?;
        let session = &lease.session;
        let until = Instant::now() + self.budget();
        let published = publish(session, batch, self.config.timeout, until).await;
        for place in published.delivered {
            outcomes[place] = Outcome::Delivered;
        }
        for place in published.over_payload {
            let cause = too_large("server's max_payload", Some(session.max_payload()));
            outcomes[place] = Outcome::Reject { cause };
        }
        if !published.over_stream.is_empty() {
            // Asked for now only: it is seldom wanted, and may have been changed.
            let looked = self.client.look().await;
            let limit = looked.ok().and_then(|(_, info)| info);
            let limit = limit.map(|info| i64::from(info.config.max_message_size));
            for place in published.over_stream {
                let cause = too_large("stream's max_msg_size", limit);
                outcomes[place] = Outcome::Reject { cause };
            }
        }
        match published.fault {
            None => Ok(()),
            Some(Fault::Refused(why)) => Err(why),
            Some(Fault::Gone(why)) => {
                self.client.forget(session);
                Err(why)
            }
            // These are of one event, and among the places above.
            Some(Fault::OverPayload | Fault::OverStream) => Ok(()),
        }
    }

    fn servers(&self) -> u32 {
        match &self.config.server {
            Server::Urls(urls) => u32::try_from(urls.len()).unwrap_or(1),
            // Read only when it is connected to.
            Server::File(_) => 3,
        }
    }
}

#[async_trait]
impl Destination for Nats {
    /// Publishes a batch and waits for its acknowledgements. Dropping the call leaves whole messages behind: the stream
    /// may have them, and gets them again.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let done = self.publish(batch, &mut outcomes).await;
        BatchOutcome {
            outcomes,
            unavailable: done.err(),
        }
    }

    /// Asks which stream takes the subject. A user who may not ask that is believed to have one.
    async fn probe(&self) -> Result<(), Unavailable> {
        self.client.look().await.map(|_| ())
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let (session, info) = self.client.look().await?;
        let plain = session.urls.iter().find_map(|url| url.unencrypted("tls"));
        let mut texts: Vec<String> = plain.into_iter().collect();
        match info {
            Some(info) => texts.extend(findings(&info, &session.version())),
            None => texts.push(
                "the user may not ask how the stream is set up, so nobody checks it here: allow publishing to $JS.API.STREAM.NAMES and $JS.API.STREAM.INFO.*".to_owned(),
            ),
        }
        Ok(texts.into_iter().map(|text| Finding { text }).collect())
    }

    fn limits(&self) -> DestinationLimits {
        // Room, one who connects before us, our own connection, the batch, and a question about a limit.
        let opening = self
            .config
            .connect_timeout
            .saturating_mul(self.servers() + 1);
        DestinationLimits {
            batch_events: self.config.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: self.config.concurrency,
            timeout: opening + self.budget() + self.config.timeout * 2 + Duration::from_secs(5),
        }
    }

    /// Not for ever: a repeat is known within the stream's duplicate window only, two minutes unless it is set, and an
    /// outage or a retry may take longer.
    fn recognises_repeats(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
