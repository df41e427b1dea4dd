//! The destination port on a queue of SQS.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use domain::ports::{Delivery, Destination, DestinationLimits, Finding, Inlet};
use domain::{BatchOutcome, Cause, Clock, Outcome, Unavailable};
use md5::{Digest as _, Md5};

use super::client::Client;
use super::error::{self, Refusal};
use super::group;
use super::inspect::Facts;
use super::message::{DATA_TYPE, Message};
use super::options::{Config, KIND};
use crate::aws::access::Access;
use crate::outbound;

/// What AWS takes in one request. Queues that take less say so.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Sqs {
    config: Arc<Config>,
    client: Client,
}

/// One message on its way.
struct Outgoing {
    /// Its place in the batch.
    place: usize,
    entry: SendMessageBatchRequestEntry,
    bytes: usize,
    /// The MD5 of its body, as SQS writes it.
    checksum: String,
}

impl Sqs {
    /// # Errors
    /// The key, and what cannot be read or set up.
    pub(super) fn new(
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, (&'static str, String)> {
        let http = outbound::client(
            config.endpoint.is_https(),
            config.connect_timeout,
            config.concurrency,
        )
        .map_err(|why| (config.endpoint_key, why))?;
        let access = Access::new(
            config.keys.clone(),
            Some(config.region.clone()),
            http,
            clock,
        )?;
        let config = Arc::new(config);
        Ok(Self {
            client: Client::new(Arc::clone(&config), access),
            config,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The message, or what becomes of the event without sending it.
    fn outgoing(
        &self,
        place: usize,
        delivery: &Delivery,
        facts: &Facts,
    ) -> Result<Outgoing, Outcome> {
        let message = Message::of(delivery);
        let bytes = message.bytes();
        if bytes > facts.message_bytes {
            return Err(error::too_large(Some(bytes), facts.message_bytes));
        }
        let checksum = Md5::digest(message.body.as_bytes());
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(place.to_string())
            .message_body(message.body);
        for (name, value) in message.attributes {
            let value = MessageAttributeValue::builder()
                .data_type(DATA_TYPE)
                .string_value(value)
                .build()
                .map_err(|_| unmade())?;
            entry = entry.message_attributes(name, value);
        }
        if let Some(group) = &self.config.group {
            entry = entry
                .message_group_id(group.of(delivery))
                .message_deduplication_id(group::deduplication_id(delivery));
        }
        Ok(Outgoing {
            place,
            entry: entry.build().map_err(|_| unmade())?,
            bytes,
            checksum: checksum.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Sends what fits into one request, from `next` on. Gives the places that are settled by it.
    async fn send_from(
        &self,
        next: usize,
        batch: &[Delivery],
        facts: &Facts,
        outcomes: &mut [Outcome],
    ) -> Result<Range<usize>, Unavailable> {
        let mut request: Vec<Outgoing> = Vec::new();
        let (mut bytes, mut end) = (0, next);
        while let Some(delivery) = batch.get(end)
            && request.len() < self.config.batch_max
        {
            match self.outgoing(end, delivery, facts) {
                Err(outcome) => outcomes[end] = outcome,
                Ok(one) if !request.is_empty() && bytes + one.bytes > facts.request_bytes() => {
                    break;
                }
                Ok(one) => {
                    bytes += one.bytes;
                    request.push(one);
                }
            }
            end += 1;
        }
        match self.send(&request, outcomes).await {
            Ok(()) => {}
            Err(Refusal::Bad(_) | Refusal::TooLarge) if request.len() > 1 => {
                // One of them is to blame, and which is not said.
                for one in request.chunks(1) {
                    if let Err(refusal) = self.send(one, outcomes).await {
                        outcomes[one[0].place] = refusal.outcome(facts.message_bytes)?;
                    }
                }
            }
            Err(Refusal::Throttled) => {
                for one in &request {
                    outcomes[one.place] = Outcome::Throttled { after: None };
                }
            }
            Err(refusal) => {
                let outcome = refusal.outcome(facts.message_bytes)?;
                for one in &request {
                    outcomes[one.place] = outcome.clone();
                }
            }
        }
        Ok(next..end)
    }

    /// Sends one request. What the queue says of each message goes to its place. A message that was refused because
    /// the queue as a whole is not there leaves its place as it is, and is the error.
    async fn send(&self, request: &[Outgoing], outcomes: &mut [Outcome]) -> Result<(), Refusal> {
        if request.is_empty() {
            return Ok(());
        }
        let entries = request.iter().map(|one| one.entry.clone()).collect();
        let answer = self.client.send(entries).await?;
        let mut gone = None;
        for one in request {
            match self.told(one, &answer) {
                Ok(outcome) => outcomes[one.place] = outcome,
                Err(why) => gone = Some(why),
            }
        }
        gone.map_or(Ok(()), |why| Err(Refusal::Gone(why)))
    }

    /// What an answer says of one message.
    fn told(
        &self,
        one: &Outgoing,
        answer: &SendMessageBatchOutput,
    ) -> Result<Outcome, Unavailable> {
        let id = one.entry.id();
        if let Some(failed) = answer.failed().iter().find(|entry| entry.id() == id) {
            let refusal =
                error::of_entry(failed.code(), failed.sender_fault(), &self.config.place());
            return refusal.outcome(one.bytes);
        }
        match answer.successful().iter().find(|entry| entry.id() == id) {
            Some(taken) if taken.md5_of_message_body() == one.checksum => Ok(Outcome::Delivered),
            Some(_) => Ok(error::changed()),
            None => Ok(error::unanswered()),
        }
    }
}

/// The SDK does not take what was made for it.
fn unmade() -> Outcome {
    Outcome::Retry {
        cause: Cause::new("sqs request", "the message cannot be put together"),
        after: None,
    }
}

#[async_trait]
impl Destination for Sqs {
    /// Sends requests of up to ten messages, one after the other, so that a FIFO queue has them in order. Of each
    /// message it is looked at what the queue says. Dropping the call gives up the request under way: the queue may
    /// have those messages, and gets them again.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        if batch.is_empty() {
            return BatchOutcome::all_delivered(0);
        }
        let facts = match self.client.facts().await {
            Ok(facts) => facts,
            Err(why) => return BatchOutcome::unavailable(batch.len(), why),
        };
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let mut next = 0;
        while next < batch.len() {
            match self.send_from(next, batch, &facts, &mut outcomes).await {
                Ok(done) => next = done.end,
                Err(why) => {
                    return BatchOutcome {
                        outcomes,
                        unavailable: Some(why),
                    };
                }
            }
        }
        BatchOutcome {
            outcomes,
            unavailable: None,
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.client.ask().await.map(drop)
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let facts = self.client.ask().await?;
        Ok(facts.findings(&self.config))
    }

    fn limits(&self) -> DestinationLimits {
        // The question, the request, and each message of it on its own.
        let exchanges = u32::try_from(self.config.batch_max).unwrap_or(1) + 2;
        DestinationLimits {
            batch_events: self.config.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: self.config.concurrency,
            timeout: self.config.timeout * exchanges + Duration::from_secs(5),
        }
    }

    /// A FIFO queue knows a repeat for five minutes, which is no promise.
    fn recognises_repeats(&self) -> bool {
        false
    }

    fn inlet(&self) -> Option<&dyn Inlet> {
        Some(self)
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
