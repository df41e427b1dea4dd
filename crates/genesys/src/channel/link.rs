//! A channel that is made, connected and subscribed; and whether it is alive.

use std::collections::VecDeque;
use std::time::Duration;

use domain::Timestamp;
use tokio::time::Instant;

use super::api::{self, Rejected};
use super::socket::{Heard, Socket};
use super::topics::Entry;
use crate::client::Client;
use crate::error::{Error, Problem};

/// "Heartbeat about every 30 s": asked for ahead of time, so that a heartbeat that is late is told from a dead socket.
const PING: Duration = Duration::from_secs(15);

/// "Nothing for 35 s: reconnect."
const SILENCE: Duration = Duration::from_secs(35);

/// "24 h of life, extended by resubscribing": so long after that it is done.
const RENEW: Duration = Duration::from_secs(20 * 3600);

/// Not listening for longer than this, by our own doing, is having fallen behind.
const STALL: Duration = Duration::from_millis(100);

/// A live channel.
pub(crate) struct Link {
    pub(crate) channel: String,
    socket: Socket,
    /// The last sign of life.
    heard: Instant,
    /// When it was listened to the last time.
    listened: Instant,
    /// Everything that was sent before this has been heard.
    pub(crate) sure_at: Timestamp,
    /// The same as it was before what was heard last.
    pub(crate) sure_before: Timestamp,
    /// When the pings were sent that were not answered yet, oldest first.
    pings: VecDeque<Timestamp>,
    /// What is heard may have been sent long ago, until the last ping is answered.
    behind: bool,
    /// When it is to be subscribed again.
    pub(crate) renew_at: Instant,
}

/// While it is there, the link is listened to.
struct Listening<'l>(&'l mut Link);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.listened = Instant::now();
    }
}

/// Why no channel came of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoLink {
    #[error(transparent)]
    Api(#[from] Error),
    #[error("{0}")]
    Socket(String),
    #[error("every topic is rejected: {0}")]
    Rejected(String),
}

impl Link {
    /// Makes a channel, connects to it, then subscribes it: what is subscribed before anybody listens would be lost.
    /// `now` is asked once it is subscribed. Gives the topics that are rejected as well.
    pub(crate) async fn establish(
        client: &Client,
        entries: &[Entry],
        now: impl Fn() -> Timestamp,
    ) -> Result<(Self, Vec<Rejected>), NoLink> {
        let made = api::make(client).await?;
        let (place, path) = client
            .region()
            .streaming(&made.connect_uri)
            .map_err(NoLink::Socket)?;
        let socket = Socket::open(client.dial(), &place, &path)
            .await
            .map_err(NoLink::Socket)?;
        let rejected = api::subscribe(client, &made.id, entries).await?;
        if rejected.len() >= entries.len() {
            return Err(NoLink::Rejected(in_words(&rejected)));
        }
        let link = Self {
            channel: made.id,
            socket,
            heard: Instant::now(),
            listened: Instant::now(),
            sure_at: now(),
            sure_before: now(),
            pings: VecDeque::new(),
            behind: false,
            renew_at: Instant::now() + RENEW,
        };
        Ok((link, rejected))
    }

    /// Subscribes again, for another 24 h.
    pub(crate) async fn renew(&mut self, client: &Client, entries: &[Entry]) -> Result<(), Error> {
        let rejected = api::subscribe(client, &self.channel, entries).await?;
        self.renew_at = Instant::now() + RENEW;
        if rejected.len() < entries.len() {
            return Ok(());
        }
        Err(Error {
            what: format!("the topics of channel {}", self.channel),
            problem: Problem::Unreadable(in_words(&rejected)),
            correlation_id: None,
        })
    }

    /// What is heard next. Dropping the call loses nothing.
    ///
    /// # Errors
    /// The channel is lost, and why.
    pub(crate) async fn next(&mut self, now: impl Fn() -> Timestamp) -> Result<Heard, String> {
        if self.listened.elapsed() > STALL {
            // Nobody can say how long ago that was sent which waits now; the answer to a ping comes behind all of it.
            self.heard = Instant::now();
            self.behind = true;
            self.ping(now()).await?;
        }
        let here = Listening(self);
        loop {
            let wait = if here.0.pings.is_empty() {
                PING
            } else {
                SILENCE
            };
            let until = here.0.heard + wait;
            match tokio::time::timeout_at(until, here.0.socket.next()).await {
                Ok(heard) => {
                    let heard = heard?;
                    here.0.heard = Instant::now();
                    here.0.sure_before = here.0.sure_at;
                    if !here.0.behind {
                        here.0.sure_at = now();
                    }
                    return Ok(heard);
                }
                Err(_) if here.0.pings.is_empty() => here.0.ping(now()).await?,
                Err(_) => return Err(format!("nothing was heard for {} s", SILENCE.as_secs())),
            }
        }
    }

    async fn ping(&mut self, now: Timestamp) -> Result<(), String> {
        self.pings.push_back(now);
        self.socket.ping().await
    }

    /// A ping was answered.
    pub(crate) fn ponged(&mut self) {
        if let Some(sent) = self.pings.pop_front() {
            self.sure_at = self.sure_at.max(sent);
        }
        self.behind &= !self.pings.is_empty();
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        self.socket.close().await;
    }
}

/// The rejected topics in words; the first few of them.
pub(crate) fn in_words(rejected: &[Rejected]) -> String {
    const SHOWN: usize = 5;
    let shown = rejected.iter().take(SHOWN);
    let shown: Vec<String> = shown
        .map(|one| format!("{} ({})", one.topic, one.why))
        .collect();
    match rejected.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}
