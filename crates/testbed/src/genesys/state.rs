//! What all requests and sockets of one cloud share, behind one lock that is never held while anything waits.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::analytics::Analytics;
use super::book::{Book, Emitted};
use super::channel::Channels;
use super::clock::Clock;
use super::command::Command;
use super::fault::Faults;
use super::login::Clients;
use super::open_messaging::Integrations;
use super::outbox::Item;
use super::rate::Rate;
use super::topic::{self, Template};
use super::webhook::{Dial, Sent};

/// How many requests are remembered.
const REMEMBERED: usize = 10_000;

/// One fake cloud.
#[derive(Debug)]
pub(super) struct Cloud {
    /// Host and port.
    pub(super) authority: String,
    pub(super) clock: Clock,
    /// Woken whenever frames were written, or a socket is gone.
    pub(super) written: Notify,
    state: Mutex<State>,
    gone: watch::Receiver<()>,
}

/// All that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ids: Ids,
    pub(super) clients: Clients,
    pub(super) rate: Rate,
    pub(super) faults: Faults,
    pub(super) channels: Channels,
    pub(super) templates: Vec<Template>,
    pub(super) analytics: Analytics,
    /// What `connectUri` says instead of the truth, with `{id}` for the channel's id.
    pub(super) connect_uri: Option<String>,
    pub(super) integrations: Integrations,
    pub(super) dial: Option<Dial>,
    pub(super) sent: Vec<Sent>,
    pub(super) book: Book,
    pub(super) requests: VecDeque<String>,
}

impl Cloud {
    pub(super) fn new(authority: &str, gone: watch::Receiver<()>) -> Self {
        let ids = Ids::new();
        Self {
            authority: authority.to_owned(),
            clock: Clock::new(),
            written: Notify::new(),
            state: Mutex::new(State {
                clients: Clients::default(),
                rate: Rate::new(),
                faults: Faults::default(),
                channels: Channels::new(),
                templates: topic::templates(),
                analytics: Analytics::new(),
                connect_uri: None,
                integrations: Integrations::default(),
                dial: None,
                sent: Vec::new(),
                book: Book::default(),
                requests: VecDeque::new(),
                ids,
            }),
            gone,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task that ends with the cloud at the latest.
    pub(super) fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
    {
        let mut gone = self.gone.clone();
        tokio::spawn(async move {
            tokio::select! {
                // It changes only by being dropped.
                _dropped = gone.changed() => {}
                _output = task => {}
            }
        });
    }

    /// See [`super::GenesysCloud::command`].
    pub(super) fn command(&self, channel: &str, command: &Command) -> bool {
        let mut state = self.state();
        let done = state.channels.command(channel, command);
        if let (Some(socket), Command::Lose) = (done, command) {
            // It stays open for nothing.
            let now = self.clock.now();
            state.book.closed(socket, now, "its channel was lost");
        }
        done.is_some()
    }

    /// See [`super::GenesysCloud::emit`].
    pub(super) fn emit(&self, topic: &str, body: &str) -> Emitted {
        let now = self.clock.instant();
        let mut state = self.state();
        let state = &mut *state;
        state.channels.purge(now);
        let number = state.book.next_number();
        let text = topic::frame(topic, body, state.ids.of_event(number));
        let mut sockets = Vec::new();
        for socket in state.channels.listeners(topic) {
            let item = Item::Event {
                number,
                text: text.clone(),
            };
            if socket.push(item) {
                sockets.push(socket.number);
            }
        }
        state
            .book
            .emitted(topic, body, self.clock.now(), sockets.clone());
        Emitted { number, sockets }
    }
}

impl State {
    pub(super) fn remember(&mut self, request: String) {
        if self.requests.len() == REMEMBERED {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}

/// Makes ids that differ within the process and are the same in each run of a test.
#[derive(Debug)]
pub(super) struct Ids {
    cloud: u64,
    next: u64,
}

impl Ids {
    fn new() -> Self {
        static CLOUDS: AtomicU64 = AtomicU64::new(1);
        Self {
            cloud: CLOUDS.fetch_add(1, Ordering::Relaxed),
            next: 0,
        }
    }

    pub(super) fn uuid(&mut self) -> Uuid {
        self.next += 1;
        let (high, low) = (mixed(self.cloud << 32 | 1), mixed(self.next));
        uuid::Builder::from_u128(u128::from(high) << 64 | u128::from(low))
            .with_version(uuid::Version::Random)
            .into_uuid()
    }

    /// The correlation id of an event: the same for the same number.
    pub(super) fn of_event(&self, number: u64) -> Uuid {
        let (high, low) = (mixed(self.cloud << 32 | 2), mixed(number));
        uuid::Builder::from_u128(u128::from(high) << 64 | u128::from(low))
            .with_version(uuid::Version::Random)
            .into_uuid()
    }

    pub(super) fn token(&mut self) -> String {
        let (first, second) = (self.uuid().simple(), self.uuid().simple());
        format!("{first}-{second}_fake")
    }

    pub(super) fn channel(&mut self) -> String {
        format!("streaming-0-{}", self.uuid().simple())
    }
}

/// SplitMix64: all bits depend on all bits.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}
