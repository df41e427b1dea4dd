//! Notification channels: their limits, their lives, what they are subscribed to, and which socket is theirs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::clock::Clock;
use super::command::Command;
use super::outbox::{Bound, Item, Socket};
use super::topic;

/// How many channels a client has at most; one more puts the least recently used out, unconnected ones first.
pub const CHANNELS: usize = 20;
/// How many subscriptions a channel has at most. A combined one counts once.
pub const TOPICS: usize = 1000;

/// How long a channel lives after it is made or subscribed.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The close code of a socket that ends in order.
const NORMAL: u16 = 1000;

/// A channel as a test sees it.
#[derive(Debug, Clone)]
pub struct ChannelInfo {
    /// Its id, as in `connectUri`.
    pub id: String,
    /// The OAuth client that made it.
    pub client: String,
    /// The ids of its subscriptions, as they were given, in order.
    pub topics: Vec<String>,
    /// When it ends, unless it is subscribed again.
    pub expires: Timestamp,
    /// The number of its open socket.
    pub socket: Option<u64>,
}

/// All channels of all clients.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) life: Duration,
    pub(super) buffer: Bound,
    all: Vec<Channel>,
    uses: u64,
    sockets: u64,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) client: String,
    /// The token that made it or subscribed it last: in-band subscriptions are made with it.
    pub(super) token: String,
    pub(super) expires: Instant,
    /// The subscriptions as they were given.
    pub(super) subscriptions: Vec<String>,
    heard: HashSet<String>,
    /// The greater, the later it was used.
    used: u64,
    socket: Option<Arc<Socket>>,
}

/// A subscription that is permitted: its id, and the topics it comes to.
pub(super) type Subscription = (String, Vec<String>);

impl Channel {
    fn open_socket(&self) -> Option<&Arc<Socket>> {
        self.socket.as_ref().filter(|it| it.is_open())
    }

    /// Adds subscriptions, each once; or nothing, and false, when that were too many.
    fn add(&mut self, subscriptions: Vec<Subscription>) -> bool {
        let mut known: HashSet<String> = self.subscriptions.iter().cloned().collect();
        let new: Vec<_> = subscriptions
            .into_iter()
            .filter(|(id, _)| known.insert(id.clone()))
            .collect();
        if known.len() > TOPICS {
            return false;
        }
        for (id, topics) in new {
            self.subscriptions.push(id);
            self.heard.extend(topics);
        }
        true
    }

    fn clear(&mut self) {
        self.subscriptions.clear();
        self.heard.clear();
    }

    fn end(&self, reason: &str) {
        if let Some(socket) = &self.socket {
            socket.push(Item::End(NORMAL, reason.to_owned()));
        }
    }
}

impl Channels {
    pub(super) fn new() -> Self {
        Self {
            life: LIFE,
            buffer: Bound::default(),
            all: Vec::new(),
            uses: 0,
            sockets: 0,
        }
    }

    /// Ends those whose time has come, and their sockets.
    pub(super) fn purge(&mut self, now: Instant) {
        self.all.retain(|channel| {
            if channel.expires <= now {
                channel.end("channel expired");
            }
            channel.expires > now
        });
    }

    /// A new channel of a client, which may cost it another.
    pub(super) fn create(&mut self, client: &str, token: &str, id: String, now: Instant) {
        self.purge(now);
        while self.of(client).count() >= CHANNELS {
            let oldest = self
                .of(client)
                .min_by_key(|it| (it.open_socket().is_some(), it.used));
            let Some(evicted) = oldest.map(|it| it.id.clone()) else {
                break;
            };
            if let Some(channel) = self.remove(&evicted) {
                channel.end("too many channels");
            }
        }
        self.uses += 1;
        self.all.push(Channel {
            id,
            client: client.to_owned(),
            token: token.to_owned(),
            expires: now + self.life,
            subscriptions: Vec::new(),
            heard: HashSet::new(),
            used: self.uses,
            socket: None,
        });
    }

    /// A client's channels, in the order in which they were made.
    pub(super) fn of(&self, client: &str) -> impl Iterator<Item = &Channel> {
        self.all.iter().filter(move |it| it.client == client)
    }

    pub(super) fn find(&self, id: &str) -> Option<&Channel> {
        self.all.iter().find(|it| it.id == id)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Channel> {
        self.all.iter_mut().find(|it| it.id == id)
    }

    fn remove(&mut self, id: &str) -> Option<Channel> {
        let at = self.all.iter().position(|it| it.id == id)?;
        Some(self.all.remove(at))
    }

    /// Adds subscriptions or puts them in the place of all others, and gives the channel its whole life again. False,
    /// and nothing has changed, when the channel would have more than [`TOPICS`].
    pub(super) fn subscribe(
        &mut self,
        id: &str,
        subscriptions: Vec<Subscription>,
        replace: bool,
        now: Instant,
    ) -> bool {
        self.uses += 1;
        let (used, expires) = (self.uses, now + self.life);
        let Some(channel) = self.find_mut(id) else {
            return false;
        };
        let before = replace.then(|| {
            (
                std::mem::take(&mut channel.subscriptions),
                std::mem::take(&mut channel.heard),
            )
        });
        if !channel.add(subscriptions) {
            if let Some((subscriptions, heard)) = before {
                (channel.subscriptions, channel.heard) = (subscriptions, heard);
            }
            return false;
        }
        (channel.used, channel.expires) = (used, expires);
        true
    }

    /// In-band subscriptions are made with this token from now on.
    pub(super) fn with_token(&mut self, id: &str, token: &str) {
        if let Some(channel) = self.find_mut(id) {
            token.clone_into(&mut channel.token);
        }
    }

    pub(super) fn unsubscribe_all(&mut self, id: &str) {
        if let Some(channel) = self.find_mut(id) {
            channel.clear();
        }
    }

    /// A new socket for a channel. The one before ends by a close frame, after what it was to write.
    pub(super) fn connect(&mut self, id: &str, now: Instant) -> Option<Arc<Socket>> {
        self.purge(now);
        let (number, used, buffer) = (self.sockets, self.uses + 1, self.buffer);
        let channel = self.find_mut(id)?;
        channel.end("another socket connected to the channel");
        channel.used = used;
        let socket = Arc::new(Socket::new(number, id, buffer));
        channel.socket = Some(Arc::clone(&socket));
        self.uses = used;
        self.sockets += 1;
        Some(socket)
    }

    /// The socket is gone.
    pub(super) fn disconnected(&mut self, socket: &Socket) {
        if let Some(channel) = self.find_mut(&socket.channel) {
            channel.socket.take_if(|it| it.number == socket.number);
        }
    }

    /// The open sockets whose channels are subscribed to a topic.
    pub(super) fn listeners(&self, topic: &str) -> impl Iterator<Item = &Arc<Socket>> {
        let fits = move |channel: &&Channel| channel.heard.contains(topic);
        self.all
            .iter()
            .filter(fits)
            .filter_map(Channel::open_socket)
    }

    /// The most frames that an open socket has still to write.
    pub(super) fn most_waiting(&self) -> usize {
        let sockets = self.all.iter().filter_map(Channel::open_socket);
        sockets.map(|it| it.waiting()).max().unwrap_or(0)
    }

    pub(super) fn list(&self, clock: &Clock) -> Vec<ChannelInfo> {
        let info = |channel: &Channel| ChannelInfo {
            id: channel.id.clone(),
            client: channel.client.clone(),
            topics: channel.subscriptions.clone(),
            expires: clock.at(channel.expires),
            socket: channel.open_socket().map(|it| it.number),
        };
        self.all.iter().map(info).collect()
    }

    /// Says to which socket it was done.
    pub(super) fn command(&mut self, id: &str, command: &Command) -> Option<u64> {
        let socket = self.find(id).and_then(Channel::open_socket)?;
        let socket = Arc::clone(socket);
        for item in command.items(id) {
            socket.push(item);
        }
        match command {
            Command::Reset => socket.cut("reset"),
            Command::Closing => socket.doom(),
            Command::Hang => socket.hang(),
            Command::Lose => {
                self.remove(id);
            }
            Command::NoLongerSubscribed(_) => self.unsubscribe_all(id),
            _ => {}
        }
        Some(socket.number)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.all.iter().map(|it| it.id.clone()).collect()
    }

    /// Tells a client's sockets that its tokens are revoked.
    pub(super) fn revoked(&mut self, client: &str) {
        let topic = format!("v2.system.token_revoked.{client}");
        let frame = topic::system_frame(&topic, &json!({ "reason": "token_revoked" }));
        let ids: Vec<String> = self.of(client).map(|it| it.id.clone()).collect();
        for id in ids {
            if let Some(socket) = self.find(&id).and_then(Channel::open_socket) {
                socket.push(Item::Message(Message::Text(frame.clone())));
            }
            let reason = Command::NoLongerSubscribed("user_tokens_revoked".to_owned());
            if self.command(&id, &reason).is_none() {
                self.unsubscribe_all(&id);
            }
        }
    }
}
