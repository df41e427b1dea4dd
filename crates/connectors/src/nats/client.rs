//! The connection: opened when needed, thrown away after a failure.
//!
//! The client library would come back by itself, for ever, and with what it had in hand. It is kept from that as far as
//! it can be (one try), so that a connection has one beginning and one end, and what is known of it is true.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind, RequestErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use async_nats::{ConnectOptions, Event, ServerAddr, ServerError};
use domain::Unavailable;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use super::error::{Fault, Where};
use super::inspect::takes;
use super::options::{Config, Way};
use super::publish::WINDOW;
use crate::broker_url::BrokerUrl;
use crate::outbound;

/// What the server has told besides answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// The connection ended.
    pub(super) lost: bool,
    /// The user may not publish to the subject.
    pub(super) denied: bool,
    /// The user may not ask about streams.
    pub(super) unasked: bool,
}

/// An open connection. Dropping it closes it.
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) here: Where,
    pub(super) urls: Vec<BrokerUrl>,
    notices: watch::Receiver<Notice>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = &self.here.place;
        f.debug_struct("Session")
            .field("place", place)
            .finish_non_exhaustive()
    }
}

/// The answer to "which streams take this subject".
#[derive(Debug, Deserialize)]
struct Names {
    streams: Option<Vec<String>>,
}

impl Session {
    pub(super) fn notices(&self) -> watch::Receiver<Notice> {
        self.notices.clone()
    }

    fn is_open(&self) -> bool {
        let notice = *self.notices.borrow();
        !notice.lost && !notice.denied
    }

    /// The server's version, as it gives it.
    pub(super) fn version(&self) -> String {
        self.context.client().server_info().version
    }

    /// The largest message that the server takes.
    pub(super) fn max_payload(&self) -> i64 {
        i64::try_from(self.context.client().max_payload()).unwrap_or(i64::MAX)
    }

    /// The stream that takes the subject. `None`: the user may not ask.
    async fn stream(&self) -> Result<Option<Info>, Fault> {
        let mut notices = self.notices();
        tokio::select! {
            asked = self.ask() => asked.map(Some),
            told = notices.wait_for(|notice| notice.unasked || notice.lost) => match told {
                Ok(notice) if !notice.lost => Ok(None),
                _ => Err(Fault::Gone(self.here.lost())),
            },
        }
    }

    async fn ask(&self) -> Result<Info, Fault> {
        let here = &self.here;
        let name = match &here.to.stream {
            Some(name) => name.clone(),
            None => self.name().await?,
        };
        let stream = self.context.get_stream(name).await;
        let info = match stream {
            Ok(stream) => stream.cached_info().clone(),
            Err(error) => {
                return Err(match error.kind() {
                    GetStreamErrorKind::JetStream(refusal) => here.refused(&refusal),
                    _ => self.unanswered(std::error::Error::source(&error)),
                });
            }
        };
        if !takes(&info.config.subjects, &here.to.subject) {
            return Err(Fault::Refused(here.no_stream()));
        }
        if info.config.no_ack {
            return Err(Fault::Refused(Unavailable::new(
                "no-ack",
                format!(
                    "stream {} has no_ack: it never says that it has a message; unset it",
                    info.config.name
                ),
            )));
        }
        Ok(info)
    }

    async fn name(&self) -> Result<String, Fault> {
        let asked = serde_json::json!({"subject": self.here.to.subject});
        let answer = self.context.request("STREAM.NAMES", &asked).await;
        let names: Response<Names> = answer.map_err(|error| self.unanswered(Some(&error)))?;
        match names {
            Response::Err { error } => Err(self.here.refused(&error)),
            Response::Ok(names) => names
                .streams
                .and_then(|names| names.into_iter().next())
                .ok_or_else(|| Fault::Refused(self.here.no_stream())),
        }
    }

    /// A question that JetStream did not answer.
    fn unanswered(&self, error: Option<&(dyn std::error::Error + 'static)>) -> Fault {
        let request = error
            .and_then(|error| error.downcast_ref::<async_nats::jetstream::context::RequestError>());
        match request.map(async_nats::jetstream::context::RequestError::kind) {
            Some(RequestErrorKind::NoResponders) => Fault::Refused(self.here.no_jetstream()),
            _ => Fault::Gone(outbound::late(&self.here.place, Duration::ZERO)),
        }
    }
}

/// The destination's connection, and room for batches.
#[derive(Debug)]
pub(super) struct Client {
    config: Arc<Config>,
    room: Semaphore,
    /// Held by whoever connects, so that the others wait for that connection and open none.
    connecting: Semaphore,
    session: Mutex<Option<Arc<Session>>>,
}

/// The connection, and room in it for one batch.
#[derive(Debug)]
pub(super) struct Lease<'c> {
    pub(super) session: Arc<Session>,
    _room: SemaphorePermit<'c>,
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

    /// The connection. Waits for room at most the timeout.
    ///
    /// # Errors
    /// The server is not there.
    pub(super) async fn take(&self) -> Result<Lease<'_>, Unavailable> {
        let limit = self.config.timeout;
        let Ok(Ok(room)) = timeout(limit, self.room.acquire()).await else {
            return Err(outbound::late("a batch under way", limit));
        };
        Ok(Lease {
            session: self.session().await?,
            _room: room,
        })
    }

    /// Whether the server is there and a stream takes the subject, as far as the user may ask.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn look(&self) -> Result<(Arc<Session>, Option<Info>), Unavailable> {
        let session = self.session().await?;
        let limit = self.config.timeout;
        let asked = timeout(limit, session.stream()).await;
        match asked {
            Ok(Ok(info)) => Ok((session, info)),
            Ok(Err(Fault::Refused(why))) => Err(why),
            Ok(Err(Fault::Gone(why))) if why.cause.code != "timeout" => {
                self.forget(&session);
                Err(why)
            }
            _ => {
                self.forget(&session);
                Err(outbound::late(&session.here.place, limit))
            }
        }
    }

    /// Throws the connection away, if it still is the one in use.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|one| Arc::ptr_eq(one, session)) {
            *held = None;
        }
    }

    /// The connection in use, or a new one.
    async fn session(&self) -> Result<Arc<Session>, Unavailable> {
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
        if held.as_ref().is_some_and(|session| !session.is_open()) {
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
        open(way, &self.config).await
    }
}

/// Opens a connection and logs in.
async fn open(way: Way, config: &Config) -> Result<Session, Unavailable> {
    let Way { urls, tls } = way;
    let places: Vec<String> = urls.iter().map(BrokerUrl::place).collect();
    let here = Where {
        place: places.join(", "),
        to: config.to.clone(),
    };
    let mut servers = Vec::with_capacity(urls.len());
    for (url, place) in urls.iter().zip(&places) {
        let scheme = if url.tls { "tls" } else { "nats" };
        let server: Result<ServerAddr, _> = format!("{scheme}://{place}").parse();
        servers.push(server.map_err(|_| {
            Unavailable::new("configuration", format!("{place} is no host and port"))
        })?);
    }
    let (said, notices) = watch::channel(Notice::default());
    let subject = config.to.subject.clone();
    let limit = config.connect_timeout;
    let mut options = ConnectOptions::new()
        .name("forebay")
        .tls_client_config(tls)
        .connection_timeout(limit)
        .request_timeout(Some(config.timeout))
        .ping_interval(Duration::from_secs(20))
        .ignore_discovered_servers()
        .retain_servers_order()
        // The least that lets every server be tried once at the beginning.
        .max_reconnects(servers.len())
        .event_callback(move |event| {
            note(&said, &event, &subject);
            async {}
        });
    if let Some(BrokerUrl {
        user: Some(user),
        password,
        ..
    }) = urls.first()
    {
        options = match password {
            Some(password) => {
                options.user_and_password(user.expose().to_owned(), password.expose().to_owned())
            }
            None => options.token(user.expose().to_owned()),
        };
    }
    let hosts = u32::try_from(servers.len()).unwrap_or(1).max(1);
    let opened = timeout(limit.saturating_mul(hosts), options.connect(servers)).await;
    let client = opened
        .map_err(|_| outbound::not_opened(&here.place, "url", limit))?
        .map_err(|error| here.connecting(&error, limit))?;
    tracing::debug!(server = %here.place, "connected to nats");
    let context = ContextBuilder::new()
        .timeout(config.timeout)
        .ack_timeout(config.timeout)
        .max_ack_inflight(config.concurrency * WINDOW * 2)
        .build(client);
    Ok(Session {
        context,
        here,
        urls,
        notices,
    })
}

/// Notes what ends a connection, or its use.
fn note(said: &watch::Sender<Notice>, event: &Event, subject: &str) {
    match event {
        Event::Disconnected | Event::Closed => {
            said.send_modify(|notice| notice.lost = true);
        }
        Event::ServerError(ServerError::Other(text)) => {
            let text = text.to_ascii_lowercase();
            if !text.contains("permissions violation for publish") {
                return;
            }
            if text.contains(&format!("\"{}\"", subject.to_ascii_lowercase())) {
                said.send_modify(|notice| notice.denied = true);
            } else if text.contains("\"$js.api.") {
                said.send_modify(|notice| notice.unasked = true);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_unasked_is_told_apart() {
        let (said, notices) = watch::channel(Notice::default());
        let told = |event: Event| {
            said.send_replace(Notice::default());
            note(&said, &event, "hooks.In");
            *notices.borrow()
        };
        let violation = |subject: &str| {
            let text = format!("Permissions Violation for Publish to \"{subject}\"");
            Event::ServerError(ServerError::Other(text))
        };
        let nothing = Notice::default();
        assert!(told(Event::Disconnected).lost && told(Event::Closed).lost);
        assert!(told(violation("hooks.In")).denied);
        assert!(told(violation("$JS.API.STREAM.NAMES")).unasked);
        assert_eq!(told(violation("hooks.In.other")), nothing);
        let other = ServerError::Other("Permissions Violation for Subscription".into());
        assert_eq!(told(Event::ServerError(other)), nothing);
        assert_eq!(told(Event::LameDuckMode), nothing);
    }
}
