//! The queue read again: messages are taken one by one, and acknowledged only when they are let go.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::Unavailable;
use domain::ports::{Finding, Inlet, Message};
use tokio::time::Instant;

use super::error;
use super::message;
use super::reader::{Answer, Reader, Taking};

/// An empty queue is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// So many bytes are enough for once, whatever the limit.
const ENOUGH_BYTES: usize = 8 << 20;

/// Messages that were taken and that nobody has been given yet. Dropping it closes the channel, so that they come again.
struct OnTheWay<'r> {
    reader: &'r Reader,
    taking: Arc<Taking>,
    is_any: bool,
}

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        if self.is_any {
            self.reader.close(&self.taking);
        }
    }
}

#[async_trait]
impl Inlet for Reader {
    /// Dropping the call gives back to the queue what it had taken, and what was taken before and not let go.
    async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        let until = Instant::now() + wait;
        let taking = self.taking().await?;
        let mut on_the_way = OnTheWay {
            reader: self,
            taking,
            is_any: false,
        };
        let mut messages = Vec::new();
        let mut bytes = 0;
        while messages.len() < limit.max(1) && bytes < ENOUGH_BYTES {
            on_the_way.is_any = true;
            let got = self.take(&on_the_way.taking).await?;
            if let Some(got) = got {
                bytes += got.delivery.data.len();
                let handle = on_the_way.taking.handle(got.delivery.delivery_tag);
                messages.push(message::read(handle, got.delivery));
                continue;
            }
            let now = Instant::now();
            if !messages.is_empty() || now >= until {
                break;
            }
            on_the_way.is_any = false;
            tokio::time::sleep(LOOK_EVERY.min(until - now)).await;
        }
        on_the_way.is_any = false;
        Ok(messages)
    }

    async fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        Reader::keep(self, handles)
    }

    async fn look(&self) -> Result<(), Unavailable> {
        Reader::look(self).await.map(drop)
    }

    fn is_mistake(&self, why: &Unavailable) -> bool {
        error::is_mistake(why)
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let session = Reader::look(self).await?;
        let texts = session.url.unencrypted("amqps");
        Ok(texts.into_iter().map(|text| Finding { text }).collect())
    }

    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        self.answered(&handles, Answer::GiveBack).await
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        self.answered(&handles, Answer::LetGo).await
    }
}
