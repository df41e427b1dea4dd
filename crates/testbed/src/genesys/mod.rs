//! A fake Genesys Cloud: login, platform API, notification sockets, analytics jobs and Open Messaging in one process.
//!
//! Owns everything that a client of the real one depends on and that a test must be able to bring about: limits,
//! refusals with the real bodies, evictions, expiry, faults, and a book of what was sent to whom, for a judge. It
//! refuses what the real one refuses. Where Genesys documents nothing, the doc of the item says what was chosen.
//!
//! All timing is tokio's: under a paused clock hours pass in no time, and nothing here reads the machine's clock.
//! Speaks plain HTTP/1.1 and WebSocket, on loopback ([`GenesysCloud::start`]) or over any stream that a test brings
//! ([`GenesysCloud::serve`], [`GenesysCloud::connect`]). Paused time wants the latter: a clock that jumps while bytes
//! are on their way through the kernel makes timeouts fire.

mod analytics;
mod answer;
mod api;
mod book;
mod channel;
mod clock;
mod command;
mod fault;
mod filter;
mod login;
mod notifications;
mod open_messaging;
mod outbox;
mod query;
mod rate;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod topic;
mod webhook;

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use analytics::{Fate, JobInfo};
pub use book::{Book, Emitted, Record, SocketRecord, Tally, fingerprint};
pub use channel::{CHANNELS, ChannelInfo, TOPICS};
pub use command::Command;
pub use fault::{Fault, Wait};
pub use login::Client;
use state::Cloud;
pub use webhook::{Attempt, Sent};

use crate::Result;
use crate::error::Doing;

/// What a pair of in-memory streams holds in each direction, in bytes.
const DUPLEX: usize = 256 * 1024;

/// A running fake. Clones are the same one; with the last of them its listener, connections and sockets are gone.
#[derive(Debug, Clone)]
pub struct GenesysCloud {
    cloud: Arc<Cloud>,
    _alive: Arc<watch::Sender<()>>,
}

impl GenesysCloud {
    /// One that listens on a free loopback port; see [`GenesysCloud::url`].
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .doing(|| "listen on a loopback port")?;
        let authority = listener.local_addr().doing(|| "read the port")?.to_string();
        let this = Self::new(&authority);
        this.cloud.spawn(accept(Arc::clone(&this.cloud), listener));
        Ok(this)
    }

    /// One that listens nowhere; see [`GenesysCloud::serve`]. Its `connectUri` is `ws://localhost/channels/ID`.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new("localhost")
    }

    fn new(authority: &str) -> Self {
        let (alive, gone) = watch::channel(());
        Self {
            cloud: Arc::new(Cloud::new(authority, gone)),
            _alive: Arc::new(alive),
        }
    }

    /// `http://127.0.0.1:PORT` (in memory: `http://localhost`), for login and API. Without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.cloud.authority)
    }

    /// Serves one connection, in a task of its own that ends with the connection. Must be called within a runtime.
    pub fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.cloud
            .spawn(api::connection(Arc::clone(&self.cloud), stream));
    }

    /// A new connection in memory, already served: the client's end of it.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(DUPLEX);
        self.serve(ours);
        theirs
    }

    /// What time it is here: a fixed start, and what tokio's clock has run since.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.cloud.clock.now()
    }

    /// Sets the time to this; it goes on from there. For clocks that differ between client and cloud. Lifetimes that
    /// run already are not touched.
    pub fn set_now(&self, now: Timestamp) {
        self.cloud.clock.set(now);
    }

    /// Adds an OAuth client of the client-credentials grant, with all permissions. The handle takes some away.
    /// A second one of the same id replaces the first.
    pub fn client(&self, id: &str, secret: &str) -> Client {
        self.cloud.state().clients.add(id, secret);
        Client::new(Arc::clone(&self.cloud), id)
    }

    /// Revokes all tokens of this client. Each of its sockets gets `v2.system.token_revoked.{client id}`, then
    /// `v2.system.no_longer_subscribed.{channel id}` with the reason `user_tokens_revoked`, and has no subscriptions
    /// any more; it stays open, and so do the channels. API calls with these tokens are 401. Returns how many
    /// tokens there were.
    pub fn revoke_tokens(&self, client: &str) -> usize {
        let mut state = self.cloud.state();
        let count = state.clients.revoke(client);
        state.channels.revoked(client);
        count
    }

    /// How many requests a minute a token has. 300 at first.
    pub fn requests_a_minute(&self, allowed: u32) {
        self.cloud.state().rate.allowed = allowed;
    }

    /// How a 429 for too many requests says when to come again. [`Wait::RetryAfter`] at first; the seconds in it are
    /// not looked at, for here the window says.
    pub fn too_many_requests_say(&self, wait: Wait) {
        self.cloud.state().rate.wait = wait;
    }

    /// The next `count` requests whose path starts with `prefix` fare so. A prefix may start with a method:
    /// `POST /api/v2/notifications`. Sockets' handshakes (`/channels/`) and the login (`/oauth/token`) are paths like
    /// others. Of several that fit, the one that was set first is used up first.
    pub fn fault(&self, prefix: &str, count: usize, fault: Fault) {
        self.cloud.state().faults.add(prefix, count, fault);
    }

    /// Forgets all faults that were set and not used.
    pub fn no_faults(&self) {
        self.cloud.state().faults.clear();
    }

    /// The requests that came in, as `METHOD /path?query`, in order, faulted ones included; at most the last 10,000.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.cloud.state().requests.iter().cloned().collect()
    }

    /// How long a channel lives after it is made or subscribed. 24 h at first.
    pub fn channel_life(&self, life: Duration) {
        self.cloud.state().channels.life = life;
    }

    /// What `connectUri` says from now on, with `{id}` where the channel's id is to stand: for clients that must not
    /// follow it anywhere. `None`: the truth again.
    pub fn connect_uri(&self, template: Option<&str>) {
        self.cloud.state().connect_uri = template.map(str::to_owned);
    }

    /// What a socket holds of frames that its client has not read. 10,000 frames and 64 MiB at first. Holds for
    /// sockets that are opened from now on.
    pub fn socket_buffer(&self, frames: usize, bytes: usize) {
        self.cloud.state().channels.buffer = outbox::Bound { frames, bytes };
    }

    /// Adds a topic's template, such as `v2.users.{id}.presence`. `transports` are those of `availabletopics`, such as
    /// `Websocket` and `EventBridge`.
    pub fn template(&self, id: &str, transports: &[&str], permissions: &[&str]) {
        let template = topic::Template::new(id, transports, permissions);
        self.cloud.state().templates.push(template);
    }

    /// The channels that live, in the order in which they were made.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let now = self.cloud.clock.instant();
        let mut state = self.cloud.state();
        state.channels.purge(now);
        state.channels.list(&self.cloud.clock)
    }

    /// Does this to a channel's open socket. False when it has none.
    pub fn command(&self, channel: &str, command: &Command) -> bool {
        self.cloud.command(channel, command)
    }

    /// Does this to all open sockets, and says to how many.
    pub fn command_all(&self, command: &Command) -> usize {
        let ids = self.cloud.state().channels.ids();
        ids.iter()
            .filter(|id| self.cloud.command(id, command))
            .count()
    }

    /// Gives an event to every channel that has an open socket and a subscription that fits, and writes it in the
    /// book. `event_body` is JSON (a [`serde_json::Value`], or its text). Never waits for a slow client: one whose
    /// buffer runs over is disconnected; see [`GenesysCloud::drained_to`]. Lets other tasks run once.
    pub async fn emit(&self, topic: &str, event_body: impl Display) -> Emitted {
        let emitted = self.cloud.emit(topic, &event_body.to_string());
        tokio::task::yield_now().await;
        emitted
    }

    /// Waits until no open socket has more than this many frames that are not yet written. A socket that hangs or
    /// whose client does not read keeps it waiting.
    pub async fn drained_to(&self, frames: usize) {
        loop {
            let written = self.cloud.written.notified();
            tokio::pin!(written);
            // From here on a wake-up is not lost, whenever the look is.
            written.as_mut().enable();
            if self.cloud.state().channels.most_waiting() <= frames {
                return;
            }
            written.await;
        }
    }

    /// Keeps of each event only that it was sent and written, and a sum of fingerprints: for runs of a million.
    /// To be called before the first event.
    pub fn keep_counts_only(&self) {
        self.cloud.state().book.keep_counts_only();
    }

    /// Adds a conversation that analytics find: an object with `conversationId`, `conversationStart`, and, when they
    /// are to be looked at, `conversationEnd`, `divisionIds` and `participants`.
    ///
    /// # Errors
    ///
    /// When it has no id or no start, or times that are none.
    pub fn conversation(&self, conversation: serde_json::Value) -> Result<()> {
        self.cloud.state().analytics.add(conversation)
    }

    /// How far analytics reach: conversations that start later are not found by any query that is made from now on.
    /// At first they reach up to now, whenever that is, and find all there are.
    pub fn data_available_until(&self, until: Timestamp) {
        self.cloud.state().analytics.available = Some(until);
    }

    /// How long jobs that are made from now on are `QUEUED`, and then `PENDING`. 1 s and 5 s at first.
    pub fn job_times(&self, queued: Duration, pending: Duration) {
        let analytics = &mut self.cloud.state().analytics;
        (analytics.queued, analytics.pending) = (queued, pending);
    }

    /// What becomes of the next job for which nothing is set yet.
    pub fn next_job(&self, fate: Fate) {
        self.cloud.state().analytics.fates.push_back(fate);
    }

    /// The next `count` pages of results that are asked for by a cursor, and after which more come, have this very
    /// cursor as the next one; asked for by it once more, the cloud gives the same page again.
    pub fn repeat_cursor(&self, count: usize) {
        self.cloud.state().analytics.repeats = count;
    }

    /// After so many more pages of results, all jobs that exist are `EXPIRED`, and their results are refused with
    /// `status`, 404 or 410. Holds for the jobs that are made later too, until [`GenesysCloud::jobs_last`].
    pub fn expire_jobs_after(&self, pages: usize, status: u16) {
        self.cloud.state().analytics.expiry = Some((pages, status));
    }

    /// Jobs do not expire any more; those that did stay so.
    pub fn jobs_last(&self) {
        self.cloud.state().analytics.expiry = None;
    }

    /// The jobs that were made, in order.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobInfo> {
        self.cloud
            .state()
            .analytics
            .list(self.cloud.clock.instant())
    }

    /// Open Messaging takes webhooks of plain HTTP to this machine, on any port. The real one, and this one at first,
    /// takes only https on 443.
    pub fn allow_loopback_webhooks(&self) {
        self.cloud.state().integrations.loopback = true;
    }

    /// Messages are posted over connections that `dial` makes, in the clear, whatever the webhook's URL. Without
    /// it they go to the URL over TCP, which must be plain HTTP.
    pub fn post_messages_through(&self, dial: impl Fn() -> DuplexStream + Send + Sync + 'static) {
        self.cloud.state().dial = Some(webhook::Dial(Arc::new(dial)));
    }

    /// Sends a message of an Open Messaging integration to its webhook: signed, with a timeout of 10 s, and after a
    /// timeout, a 429 or a 5xx again, up to 5 times, 5 s apart; returns when it is delivered or lost, after 85 s at
    /// most. `body` is sent as it is. Receipts that share an id are such bodies.
    ///
    /// # Errors
    ///
    /// When there is no such integration.
    pub async fn send_message(&self, integration: &str, body: impl Display) -> Result<Sent> {
        webhook::send(&self.cloud, integration, body.to_string()).await
    }

    /// The messages that were sent, in the order in which they were delivered or lost.
    #[must_use]
    pub fn sent_messages(&self) -> Vec<Sent> {
        self.cloud.state().sent.clone()
    }

    /// The events that were emitted so far, and to whom they were written.
    #[must_use]
    pub fn book(&self) -> Book {
        self.cloud.state().book.clone()
    }
}

async fn accept(cloud: Arc<Cloud>, listener: TcpListener) -> Infallible {
    loop {
        // A client that is gone again before it was accepted is not this server's trouble.
        if let Ok((stream, _)) = listener.accept().await {
            // Frames are small, and a test that waits for one waits long for Nagle.
            let _best_effort = stream.set_nodelay(true);
            cloud.spawn(api::connection(Arc::clone(&cloud), stream));
        }
    }
}
