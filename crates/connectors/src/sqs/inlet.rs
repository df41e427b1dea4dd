//! The queue read again: messages are taken, and deleted only when they are let go.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
};
use domain::Unavailable;
use domain::ports::{Destination, Inlet, Message};

use super::destination::Sqs;
use super::error;
use super::message;

/// SQS gives and deletes so many at once.
const AT_ONCE: usize = 10;

/// So many ask at once: with ten messages an answer, one alone would wait more than it reads.
const READERS: usize = 4;

/// How long what was taken is nobody else's, from when it was taken or kept last, in seconds. Said with every request,
/// whatever the queue's own is.
pub(super) const VISIBILITY: i32 = 30;

impl Sqs {
    /// Hides messages for so many seconds from now on.
    async fn hide(&self, handles: &[String], seconds: i32) -> Result<(), Unavailable> {
        for some in handles.chunks(AT_ONCE) {
            let entries = some.iter().enumerate().filter_map(|(place, handle)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(place.to_string())
                    .receipt_handle(handle)
                    .visibility_timeout(seconds)
                    .build()
                    .ok()
            });
            self.client().hide(entries.collect()).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Inlet for Sqs {
    async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        let limit = limit.clamp(1, AT_ONCE);
        let messages = self.client().receive(limit, wait).await?;
        let taken = messages.into_iter().filter_map(|message| {
            let (handle, id) = (message.receipt_handle?, message.message_id);
            let attributes = message.message_attributes.unwrap_or_default();
            let attributes = attributes
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.string_value?)));
            let (body, attributes) =
                message::read(message.body.unwrap_or_default(), attributes.collect());
            Some(Message {
                handle,
                id,
                body,
                attributes,
                exact: false,
                event_type: None,
            })
        });
        Ok(taken.collect())
    }

    async fn look(&self) -> Result<(), Unavailable> {
        self.probe().await
    }

    fn is_mistake(&self, why: &Unavailable) -> bool {
        error::is_mistake(why)
    }

    fn readers(&self) -> usize {
        READERS
    }

    async fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        self.hide(handles, VISIBILITY).await
    }

    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        self.hide(&handles, 0).await
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        let mut handles = handles.into_iter().peekable();
        while handles.peek().is_some() {
            let entries = handles.by_ref().take(AT_ONCE).enumerate();
            let entries = entries.filter_map(|(place, handle)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(place.to_string())
                    .receipt_handle(handle)
                    .build()
                    .ok()
            });
            self.client().delete(entries.collect()).await?;
        }
        Ok(())
    }
}
