//! The connection and its channels: opened when needed, thrown away after a failure.
//!
//! Every exchange ends within its timeout. While the broker has an alarm the connection is kept and nothing is published
//! over it: a new one would be taken, given a batch, and blocked in its turn, and all those batches would arrive when
//! the alarm is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_rs::{Runtime, Tokio};
use domain::Unavailable;
use futures_util::StreamExt as _;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Error, Event, ExchangeKind,
};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::error::{Fault, Where};
use super::net::{self, Closer, Kit, Opened};
use super::options::{Config, Way};
use super::publish::Alarm;
use crate::broker_url::BrokerUrl;
use crate::outbound;

/// Seconds. A broker that goes without a word is found out after two of these.
const HEARTBEAT: u16 = 20;

/// The default of every broker. It bounds what the library keeps of a connection: 32 frames a direction.
const FRAME_MAX: u32 = 128 << 10;

/// An open connection. Dropping it closes it, whatever the broker does.
pub(super) struct Session {
    connection: Connection,
    pub(super) here: Where,
    pub(super) url: BrokerUrl,
    alarm: Alarm,
    idle: Mutex<Vec<Channel>>,
    watcher: AbortHandle,
    _closer: Closer,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = &self.here.place;
        f.debug_struct("Session")
            .field("place", place)
            .finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Session {
    pub(super) fn alarm(&self) -> Alarm {
        self.alarm.clone()
    }

    /// Nothing while the broker has an alarm.
    fn free(&self) -> Result<(), Unavailable> {
        match &*self.alarm.borrow() {
            Some(reason) => Err(self.here.blocked(reason)),
            None => Ok(()),
        }
    }

    /// A channel with confirms: an idle one, else a new one.
    async fn channel(&self) -> lapin::Result<Channel> {
        if let Some(channel) = self.take_idle() {
            return Ok(channel);
        }
        let channel = self.plain_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(channel)
    }

    /// A new channel, without confirms.
    pub(super) async fn plain_channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    fn take_idle(&self) -> Option<Channel> {
        let mut idle = self.idle();
        idle.retain(|channel| channel.status().connected());
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether the queue, or the exchange, is there. Nothing is made.
    async fn look(&self, channel: &Channel) -> lapin::Result<()> {
        let to = &self.here.to;
        if to.is_queue() {
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let asked =
                channel.queue_declare(to.routing_key.clone(), options, FieldTable::default());
            asked.await.map(drop)
        } else {
            let options = ExchangeDeclareOptions {
                passive: true,
                ..ExchangeDeclareOptions::default()
            };
            // The kind counts for nothing in a question.
            let (name, kind) = (to.exchange.clone(), ExchangeKind::Direct);
            let asked = channel.exchange_declare(name, kind, options, FieldTable::default());
            asked.await
        }
    }
}

/// The destination's connection, and room for its channels.
#[derive(Debug)]
pub(super) struct Client {
    config: Arc<Config>,
    room: Semaphore,
    /// Held by whoever connects, so that the others wait for that connection and open none.
    connecting: Semaphore,
    session: Mutex<Option<Arc<Session>>>,
}

/// A channel in use. It is closed when dropped, unless it is given back.
#[derive(Debug)]
pub(super) struct Lease<'c> {
    pub(super) session: Arc<Session>,
    pub(super) channel: Channel,
    _room: SemaphorePermit<'c>,
}

impl Lease<'_> {
    /// Keeps the channel for the next, which it must owe no confirm to.
    pub(super) fn give_back(self) {
        self.session.idle().push(self.channel);
    }
}

impl Client {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            room: Semaphore::new(config.concurrency),
            connecting: Semaphore::new(1),
            session: Mutex::new(None),
            config,
        }
    }

    /// A channel that is ready to publish on. Waits for room at most the timeout.
    ///
    /// # Errors
    /// The broker is not there, or has an alarm.
    pub(super) async fn take(&self) -> Result<Lease<'_>, Unavailable> {
        let limit = self.config.timeout;
        let room = timeout(limit, self.room.acquire()).await;
        let Ok(Ok(room)) = room else {
            return Err(outbound::late("a free channel", limit));
        };
        let session = self.session().await?;
        session.free()?;
        let told = |error: &Error| session.here.fault(error);
        let opened = self.answer(&session, session.channel(), told).await;
        let channel = opened.map_err(Fault::unavailable)?;
        Ok(Lease {
            session,
            channel,
            _room: room,
        })
    }

    /// Whether the broker is there, without an alarm, and has what is published to.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn look(&self) -> Result<Arc<Session>, Unavailable> {
        let lease = self.take().await?;
        let looked = lease.session.look(&lease.channel);
        let told = |error: &Error| lease.session.here.fault(error);
        let looked = self.answer(&lease.session, looked, told).await;
        looked.map_err(Fault::unavailable)?;
        let session = Arc::clone(&lease.session);
        lease.give_back();
        Ok(session)
    }

    /// Throws the connection away, if it still is the one in use.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|one| Arc::ptr_eq(one, session)) {
            *held = None;
        }
    }

    /// Waits for the broker's answer to a question, of which `told` says what a refusal means, and throws the connection away if it is of no more use.
    pub(super) async fn answer<T>(
        &self,
        session: &Arc<Session>,
        asked: impl Future<Output = lapin::Result<T>>,
        told: impl FnOnce(&Error) -> Fault,
    ) -> Result<T, Fault> {
        let limit = self.config.timeout;
        let fault = match timeout(limit, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => told(&error),
            // In an alarm the broker reads nothing, questions neither.
            Err(_) => match session.free() {
                Err(why) => Fault::Refused(why),
                Ok(()) => Fault::Gone(outbound::late(&session.here.place, limit)),
            },
        };
        if matches!(fault, Fault::Gone(_)) {
            self.forget(session);
        }
        Err(fault)
    }

    /// The connection in use, or a new one.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Unavailable> {
        if let Some(session) = self.open() {
            return Ok(session);
        }
        let limit = self.config.connect_timeout;
        let Ok(Ok(_alone)) = timeout(limit, self.connecting.acquire()).await else {
            return Err(outbound::late("a connection that is being opened", limit));
        };
        // Somebody else may have opened it meanwhile.
        if let Some(session) = self.open() {
            return Ok(session);
        }
        let session = Arc::new(self.connect().await?);
        *self.held() = Some(Arc::clone(&session));
        Ok(session)
    }

    fn open(&self) -> Option<Arc<Session>> {
        let mut held = self.held();
        if let Some(session) = &*held
            && !session.connection.status().connected()
        {
            *held = None;
        }
        held.clone()
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Session, Unavailable> {
        let config = Arc::clone(&self.config);
        let read = tokio::task::spawn_blocking(move || config.way()).await;
        let way = read
            .map_err(|_| Unavailable::new("configuration", "a file was not read to its end"))?
            .map_err(|(key, why)| Unavailable::new("configuration", format!("{key}: {why}")))?;
        let here = Where {
            place: way.url.place(),
            vhost: vhost(&way.url).to_owned(),
            to: self.config.to.clone(),
        };
        let limit = self.config.connect_timeout;
        let opened = timeout(limit, open(way, here.clone())).await;
        opened.unwrap_or_else(|_| Err(outbound::not_opened(&here.place, "url", limit)))
    }
}

fn vhost(url: &BrokerUrl) -> &str {
    if url.path.is_empty() { "/" } else { &url.path }
}

/// Opens a connection and logs in. Dropping the call closes what it had opened.
async fn open(way: Way, here: Where) -> Result<Session, Unavailable> {
    let Way { url, tls } = way;
    let line = net::open(&url, tls).await;
    let line = line.map_err(|error| here.connecting(&Error::from(error)))?;
    let closer = line.closer;
    let socket = Mutex::new(Some(line.socket));
    // It is asked for once: without recovery the library does not come back for another.
    let hand_over = async move |_: AMQPUri, _: Runtime<Kit>| {
        let taken = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let taken = taken.ok_or(std::io::ErrorKind::NotConnected);
        let taken = taken.map_err(|kind| Error::from(std::io::Error::from(kind)));
        taken.map(AsyncTcpStream::Plain)
    };
    let tokio = Tokio::current();
    let kit = Kit::new(tokio.clone(), Opened(tokio));
    let name = ConnectionProperties::default().with_connection_name("forebay".into());
    let connection = Connection::connector(uri(&url), Runtime::new(kit), hand_over, name).await;
    let connection = connection.map_err(|error| here.connecting(&error))?;
    let (said, alarm) = watch::channel(None);
    let mut events = Box::pin(connection.events_listener());
    let watcher = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::ConnectionBlocked(reason) => drop(said.send_replace(Some(reason))),
                Event::ConnectionUnblocked => drop(said.send_replace(None)),
                _ => {}
            }
        }
    });
    tracing::debug!(broker = %here.place, "connected to rabbitmq");
    Ok(Session {
        connection,
        here,
        url,
        alarm,
        idle: Mutex::new(Vec::new()),
        watcher: watcher.abort_handle(),
        _closer: closer,
    })
}

/// As the library takes it.
fn uri(url: &BrokerUrl) -> AMQPUri {
    let mut login = AMQPUserInfo::default();
    if let Some(user) = &url.user {
        user.expose().clone_into(&mut login.username);
    }
    if let Some(password) = &url.password {
        password.expose().clone_into(&mut login.password);
    }
    AMQPUri {
        // TLS, if any, is spoken below it.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: login,
            host: url.host.clone(),
            port: url.port,
        },
        vhost: vhost(url).to_owned(),
        query: AMQPQueryString {
            frame_max: Some(FRAME_MAX),
            heartbeat: Some(HEARTBEAT),
            ..AMQPQueryString::default()
        },
    }
}

/// How long a whole exchange of a few questions may take.
pub(super) fn longest_set_up(config: &Config) -> Duration {
    // Room, one who connects before us, our own connection, and a channel with its confirms.
    config.timeout * 2 + config.connect_timeout * 2
}
