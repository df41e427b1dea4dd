//! Requests to the queue, each within its time, and what is known of the queue.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{
    BehaviorVersion, IdentityCache, Region, SharedCredentialsProvider,
    StalledStreamProtectionConfig,
};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use domain::Unavailable;
use std::sync::Arc;
use tokio::time::{Instant, timeout};

use super::error::{Refusal, of_request};
use super::inlet::VISIBILITY;
use super::inspect::Facts;
use super::options::Config;
use crate::aws::access::Access;
use crate::aws::error::in_xml;
use crate::outbound;

/// What the queue said of itself counts so long: it may be given another limit.
const FRESH: Duration = Duration::from_secs(60);

/// The longest that SQS waits for a message.
const LONGEST_POLL: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Client {
    config: Arc<Config>,
    access: Access,
    sdk: Mutex<Option<aws_sdk_sqs::Client>>,
    facts: Mutex<Option<(Facts, Instant)>>,
}

impl Client {
    pub(super) fn new(config: Arc<Config>, access: Access) -> Self {
        Self {
            config,
            access,
            sdk: Mutex::default(),
            facts: Mutex::default(),
        }
    }

    /// What the queue takes, asked at most once a minute.
    ///
    /// # Errors
    /// It is not there.
    pub(super) async fn facts(&self) -> Result<Facts, Unavailable> {
        let known = *self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some((facts, asked)) if asked.elapsed() < FRESH => Ok(facts),
            _ => self.ask().await,
        }
    }

    /// Asks the queue what it takes. Keys that may not ask may still be allowed to send.
    ///
    /// # Errors
    /// It is not there.
    pub(super) async fn ask(&self) -> Result<Facts, Unavailable> {
        let ask = async {
            let sdk = self.sdk().await?;
            let answer = sdk
                .get_queue_attributes()
                .queue_url(&self.config.queue_url)
                .attribute_names(QueueAttributeName::MaximumMessageSize)
                .attribute_names(QueueAttributeName::MessageRetentionPeriod)
                .send()
                .await;
            match answer {
                Ok(answer) => Ok(Facts::read(answer.attributes())),
                Err(error) => match self.refusal(&error) {
                    Refusal::Gone(why) if why.cause.code == "permission" => Ok(Facts::UNKNOWN),
                    refusal => Err(self.gone(refusal)),
                },
            }
        };
        let facts = self.in_time(ask).await?;
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some((facts, Instant::now()));
        Ok(facts)
    }

    /// Sends messages, at most ten.
    ///
    /// # Errors
    /// Why the request was refused as a whole.
    pub(super) async fn send(
        &self,
        entries: Vec<SendMessageBatchRequestEntry>,
    ) -> Result<SendMessageBatchOutput, Refusal> {
        let send = async {
            let sdk = self.sdk().await.map_err(Refusal::Gone)?;
            let answer = sdk
                .send_message_batch()
                .queue_url(&self.config.queue_url)
                .set_entries(Some(entries))
                .send()
                .await;
            answer.map_err(|error| self.refusal(&error))
        };
        match timeout(self.config.timeout, send).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::Gone(self.late())),
        }
    }

    /// Takes messages, at most ten, and waits for the first of them for so long, in whole seconds.
    ///
    /// # Errors
    /// It is not there.
    pub(super) async fn receive(
        &self,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, Unavailable> {
        // The answer takes as long as the wait: it must come within the time of a request.
        let wait = wait.min(self.config.timeout / 2).min(LONGEST_POLL);
        let receive = async {
            let sdk = self.sdk().await?;
            let answer = sdk
                .receive_message()
                .queue_url(&self.config.queue_url)
                .max_number_of_messages(i32::try_from(limit).unwrap_or(1))
                .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(0))
                .message_attribute_names("All")
                .visibility_timeout(VISIBILITY)
                .send()
                .await;
            let answer = answer.map_err(|error| self.gone(self.refusal(&error)))?;
            Ok(answer.messages.unwrap_or_default())
        };
        self.in_time(receive).await
    }

    /// Deletes messages, at most ten.
    ///
    /// # Errors
    /// It is not there, or did not delete all of them.
    pub(super) async fn delete(
        &self,
        entries: Vec<DeleteMessageBatchRequestEntry>,
    ) -> Result<(), Unavailable> {
        let delete = async {
            let sdk = self.sdk().await?;
            let answer = sdk
                .delete_message_batch()
                .queue_url(&self.config.queue_url)
                .set_entries(Some(entries))
                .send()
                .await;
            let answer = answer.map_err(|error| self.gone(self.refusal(&error)))?;
            match answer.failed.len() {
                0 => Ok(()),
                count => Err(self.troubled(&format!("did not delete {count} messages"))),
            }
        };
        self.in_time(delete).await
    }

    /// Changes how long messages are out of others' sight, at most ten.
    ///
    /// # Errors
    /// It is not there, or some are not ours any more.
    pub(super) async fn hide(
        &self,
        entries: Vec<ChangeMessageVisibilityBatchRequestEntry>,
    ) -> Result<(), Unavailable> {
        let hide = async {
            let sdk = self.sdk().await?;
            let answer = sdk
                .change_message_visibility_batch()
                .queue_url(&self.config.queue_url)
                .set_entries(Some(entries))
                .send()
                .await;
            let answer = answer.map_err(|error| self.gone(self.refusal(&error)))?;
            match answer.failed.len() {
                0 => Ok(()),
                count => Err(self.troubled(&format!("did not hide {count} messages"))),
            }
        };
        self.in_time(hide).await
    }

    /// Of a queue that is read, every refusal says that it cannot be.
    fn gone(&self, refusal: Refusal) -> Unavailable {
        match refusal {
            Refusal::Gone(why) => why,
            Refusal::Throttled => self.troubled("asks to wait"),
            Refusal::Bad(cause) | Refusal::Failed(cause) => Unavailable { cause },
            Refusal::TooLarge => self.troubled("does not take the request"),
        }
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let done = timeout(self.config.timeout, exchange).await;
        done.unwrap_or_else(|_| Err(self.late()))
    }

    fn late(&self) -> Unavailable {
        outbound::late(&self.config.endpoint.place(), self.config.timeout)
    }

    fn troubled(&self, what: &str) -> Unavailable {
        Unavailable::new("service", format!("{} {what}", self.config.place()))
    }

    /// The SDK's client. Without keys there is none: what is wrong with them is said here, in our words.
    async fn sdk(&self) -> Result<aws_sdk_sqs::Client, Unavailable> {
        self.access.credentials().await?;
        if let Some(sdk) = &*self.sdk.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(sdk.clone());
        }
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.config.region.clone()))
            .endpoint_url(self.config.endpoint.text())
            .http_client(self.access.http_client())
            .credentials_provider(SharedCredentialsProvider::new(self.access.clone()))
            .identity_cache(IdentityCache::no_cache())
            // Dispatch tries again, and knows what else waits.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let sdk = aws_sdk_sqs::Client::from_conf(config);
        *self.sdk.lock().unwrap_or_else(PoisonError::into_inner) = Some(sdk.clone());
        Ok(sdk)
    }

    fn refusal<E>(&self, error: &SdkError<E, HttpResponse>) -> Refusal
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let place = self.config.place();
        let refusal = match error {
            SdkError::ServiceError(refused) => {
                let raw = refused.raw();
                // Some answer a question of JSON with XML when the keys are not good.
                let text = raw
                    .body()
                    .bytes()
                    .and_then(|body| std::str::from_utf8(body).ok());
                let code = refused.err().code().or_else(|| in_xml(text?));
                of_request(code, raw.status().as_u16(), &place)
            }
            SdkError::ResponseError(answer) => {
                of_request(None, answer.raw().status().as_u16(), &place)
            }
            SdkError::DispatchFailure(failure) => {
                let broken = failure.as_connector_error().map(|error| {
                    let place = self.config.endpoint.place();
                    outbound::gone(&place, self.config.endpoint_key, error)
                });
                Refusal::Gone(broken.unwrap_or_else(|| self.troubled("cannot be asked")))
            }
            _ => Refusal::Gone(self.troubled("cannot be asked: the request cannot be made")),
        };
        if matches!(&refusal, Refusal::Gone(why) if why.cause.code == "credentials") {
            self.access.forget();
        }
        refusal
    }
}
