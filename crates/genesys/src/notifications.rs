//! The source `genesys-notifications`, as a reader sees it: a queue that cannot be asked again.
//!
//! Tasks listen ([`crate::channel`]) and fill gaps ([`crate::backfill`]); what they have is handed out here, and what was let
//! go of here is durable. Nothing is begun before somebody reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::ports::{Finding, Gap, Gaps, Inlet, Message};
use domain::{Clock, SourceName, Timestamp, Unavailable};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::attendance::{Attendance, Waiting};
use crate::backfill::{Page, Runner};
use crate::buffer::{Buffer, Item, What};
use crate::channel::api;
use crate::channel::keeper::{Keeper, Shared};
use crate::channel::topics;
use crate::client::Client;
use crate::error::Error;
use crate::repeats::Repeats;
use crate::source::SourceConfig;
use crate::troubles::Troubles;

/// The type of the event that tells of a gap.
pub const GAP: &str = "forebay.gap";

/// The type of an event that a backfill made.
pub const CONVERSATION: &str = "v2.analytics.conversation.details";

/// The reader's end of a source.
pub struct Notifications {
    config: SourceConfig,
    source: SourceName,
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    gaps: Arc<dyn Gaps>,
    /// There once somebody has read.
    running: tokio::sync::Mutex<Option<Running>>,
    shared: Mutex<Option<Arc<Shared>>>,
    in_hand: Mutex<InHand>,
}

impl std::fmt::Debug for Notifications {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifications")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The tasks, and what they fill.
struct Running {
    items: mpsc::Receiver<Item>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// What was handed out and not let go of.
#[derive(Default)]
struct InHand {
    next: u64,
    handles: BTreeMap<u64, Held>,
}

enum Held {
    /// Everything that was sent before this had been heard when it came.
    Heard(Timestamp),
    Gap(u64),
    Filled(Arc<Page>),
}

impl Notifications {
    /// Begins nothing and connects to nothing.
    #[must_use]
    pub fn new(
        source: SourceName,
        config: SourceConfig,
        client: Arc<Client>,
        gaps: Arc<dyn Gaps>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            config,
            source,
            client,
            clock,
            gaps,
            running: tokio::sync::Mutex::default(),
            shared: Mutex::default(),
            in_hand: Mutex::default(),
        }
    }

    fn in_hand(&self) -> MutexGuard<'_, InHand> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.clone()
    }

    async fn start(&self) -> Running {
        let channels = topics::spread(topics::combine(&self.config.topics));
        let (buffer, items) = Buffer::new(self.config.buffer);
        let (stop, stopped) = watch::channel(false);
        let (gaps, source) = (Arc::clone(&self.gaps), self.source.clone());
        let shared = Arc::new(Shared {
            source: source.clone(),
            client: Arc::clone(&self.client),
            clock: Arc::clone(&self.clock),
            buffer,
            attendance: Attendance::new(
                gaps,
                source.clone(),
                channels.len(),
                self.config.fills_gaps,
            ),
            troubles: Troubles::new(source),
            repeats: Mutex::new(Repeats::new(self.config.dedup_window)),
            max_body: self.config.max_body,
            stop: stopped,
        });
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&shared));
        let untold = shared.attendance.begin(self.config.topics.clone()).await;
        let mut tasks = JoinSet::new();
        let teller = Arc::clone(&shared);
        tasks.spawn(async move { teller.tell(untold).await });
        for (number, entries) in channels.into_iter().enumerate() {
            let keeper = Keeper {
                shared: Arc::clone(&shared),
                number,
                entries,
            };
            tasks.spawn(keeper.run());
        }
        let runner = Runner {
            shared,
            gaps: Arc::clone(&self.gaps),
            query: self.config.query.clone(),
        };
        tasks.spawn(runner.until_stopped());
        Running { items, tasks, stop }
    }

    fn hand_out(&self, items: Vec<Item>) -> Vec<Message> {
        let mut in_hand = self.in_hand();
        let messages = items.into_iter().map(|item| {
            let (held, message) = match item.what {
                What::Heard(heard) => {
                    let message = message(heard.frame, heard.id, &heard.topic, "notification");
                    (Held::Heard(heard.sure_at), received(message, heard.at))
                }
                What::Gap(gap) => (Held::Gap(gap.id), of_gap(&gap)),
                What::Filled(filled) => {
                    let mut message = message(filled.record, filled.id, CONVERSATION, "backfill");
                    let mut attribute = |name: &str, value: u64| {
                        message
                            .attributes
                            .push((name.to_owned(), value.to_string()));
                    };
                    attribute("genesys-backfill", filled.backfill);
                    if let Some(gap) = filled.gap {
                        attribute("genesys-gap", gap);
                    }
                    (Held::Filled(filled.page), message)
                }
            };
            let handle = in_hand.next;
            in_hand.next += 1;
            in_hand.handles.insert(handle, held);
            Message {
                handle: handle.to_string(),
                ..message
            }
        });
        messages.collect()
    }

    /// Takes them out of the hand. What no gap covers is let go of for good.
    fn take_back(&self, handles: &[String]) -> Vec<Held> {
        let mut in_hand = self.in_hand();
        let numbers = handles
            .iter()
            .filter_map(|handle| handle.parse::<u64>().ok());
        numbers
            .filter_map(|number| in_hand.handles.remove(&number))
            .collect()
    }

    /// Writes down until when nothing was missed.
    async fn note(&self, at_once: bool) {
        let Some(shared) = self.shared() else { return };
        let waiting = || {
            let in_hand = self.in_hand();
            let oldest = in_hand.handles.values().find_map(|held| match held {
                Held::Heard(sure_at) => Some(*sure_at),
                _ => None,
            });
            match oldest {
                Some(oldest) => Waiting::Since(oldest),
                None if shared.buffer.is_empty() => Waiting::Nothing,
                None => Waiting::Some,
            }
        };
        shared.attendance.note(waiting, at_once).await;
    }
}

/// Whether the topics of a source can be had, and what is wrong besides.
///
/// # Errors
/// Genesys Cloud cannot be asked.
pub async fn inspect(client: &Client, config: &SourceConfig) -> Result<Vec<Finding>, Error> {
    let available = api::available(client).await?;
    let is_known = |topic: &&String| available.iter().any(|one| is_of(&one.id, topic));
    let topics = config.topics.iter();
    let unknown: Vec<&str> = topics
        .filter(|topic| !is_known(topic))
        .map(String::as_str)
        .collect();
    let mut findings = Vec::new();
    if !unknown.is_empty() {
        let text = format!(
            "Genesys Cloud has no such topics, or the client may not see them: {}; `forebay genesys topics` lists those there are",
            unknown.join(", ")
        );
        findings.push(Finding { text });
    }
    if let Some(seconds) = client.clock_is_off() {
        let text = format!(
            "this machine's clock and that of Genesys Cloud are {} s apart: set it",
            seconds.unsigned_abs()
        );
        findings.push(Finding { text });
    }
    Ok(findings)
}

/// Whether a topic is of a template.
pub(crate) fn is_of(template: &str, topic: &str) -> bool {
    let (mut template, mut topic) = (template.split('.'), topic.split('.'));
    loop {
        match (template.next(), topic.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || a.starts_with('{') => {}
            _ => return false,
        }
    }
}

fn message(body: Bytes, id: String, kind: &str, origin: &str) -> Message {
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Message {
        handle: String::new(),
        id: Some(id),
        exact: true,
        body,
        attributes: vec![
            attribute("content-type", "application/json"),
            attribute("genesys-topic", kind),
            attribute("genesys-origin", origin),
        ],
        event_type: Some(kind.to_owned()),
    }
}

/// When it was heard, and not when it was read.
fn received(mut message: Message, at: Timestamp) -> Message {
    let received_at = ("forebay-received-at".to_owned(), at.to_string());
    message.attributes.push(received_at);
    message
}

fn of_gap(gap: &Gap) -> Message {
    let body = json!({"gap": {
        "id": gap.id,
        "source": gap.source.as_str(),
        "from": gap.from.to_string(),
        "to": gap.to.map(|to| to.to_string()),
        "topics": gap.topics,
        "why": gap.why,
    }});
    // The number is of this state alone; the begin goes with it, for a state that begins anew.
    let id = format!("gap {} {}", gap.id, gap.from);
    message(body.to_string().into(), id, GAP, "gap")
}

#[async_trait]
impl Inlet for Notifications {
    async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            *running = Some(self.start().await);
        }
        let mut items = Vec::new();
        if let Some(running) = running.as_mut() {
            let some = running.items.recv_many(&mut items, limit);
            // Nothing in time is nothing: that is told by an empty list.
            let _ = tokio::time::timeout(wait, some).await;
        }
        let messages = self.hand_out(items);
        self.note(false).await;
        Ok(messages)
    }

    async fn look(&self) -> Result<(), Unavailable> {
        self.client
            .authorise()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(())
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let inspected = inspect(&self.client, &self.config).await;
        inspected.map_err(|error| unavailable(&error))
    }

    fn trouble(&self) -> Option<String> {
        self.shared()?.troubles.in_words()
    }

    fn way(&self) -> &'static str {
        "NOTIFICATION"
    }

    async fn leave(&self, handle: &str, why: &str) {
        let Some(shared) = self.shared() else { return };
        for held in self.take_back(&[handle.to_owned()]) {
            match held {
                Held::Heard(at) => {
                    let gap = shared.attendance.missed(at, "unknown".into(), why).await;
                    shared.tell(vec![gap]).await;
                }
                Held::Filled(page) => page.one_is_done(),
                Held::Gap(_) => {}
            }
        }
    }

    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        // Until when nothing was missed stays before them: the next start has a gap there.
        let _ = handles;
        Ok(())
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        let mut told = Vec::new();
        for held in self.take_back(&handles) {
            match held {
                Held::Heard(_) => {}
                Held::Gap(id) => told.push(id),
                Held::Filled(page) => page.one_is_done(),
            }
        }
        if let Some(shared) = self.shared() {
            shared.attendance.announced(&told).await;
        }
        self.note(false).await;
        Ok(())
    }

    async fn close(&self) {
        let Some(mut running) = self.running.lock().await.take() else {
            return;
        };
        // What is in the buffer was heard and is not stored: it lies behind what is noted.
        self.note(true).await;
        running.stop.send_replace(true);
        running.items.close();
        while running.tasks.join_next().await.is_some() {}
    }
}

fn unavailable(error: &Error) -> Unavailable {
    Unavailable::new("genesys", error.to_string())
}
