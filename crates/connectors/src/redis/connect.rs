//! Opening one connection: to the first host that can be reached, to the master that sentinels name, or to the node
//! that last had the key.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::Unavailable;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::command::Target;
use super::error::{self, Refusal};
use super::options::Config;
use super::sentinel;
use super::url::{Login, Place, Url};

const PORT: u16 = 6379;

/// How to get to the server, as the configuration and its files had it when they were read.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) url: Url,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// What sentinels call the server, and how to log in to them.
    pub(super) sentinel: Option<(String, Option<Login>)>,
}

/// An open connection. It is closed when dropped.
#[derive(Debug)]
pub(super) struct Session {
    connection: MultiplexedConnection,
    /// Moves bytes between the connection and the socket, until either is gone.
    driver: JoinHandle<()>,
    pub(super) place: Place,
    pub(super) encrypted: bool,
    /// What the server takes in one piece, once it was asked.
    pub(super) largest: OnceLock<usize>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Whether the server has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// Sends a command and gives its answer, however long that takes. Commands that are sent without waiting for one
    /// another are a pipeline.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Result<Value, Refusal>, Unavailable> {
        let mut connection = self.connection.clone();
        match connection.req_packed_command(command).await {
            Ok(Value::ServerError(error)) => Ok(Err(Refusal::from(&error))),
            Ok(value) => Ok(Ok(value)),
            Err(error) => Err(error::gone(&self.place, &error)),
        }
    }

    /// The same, no longer than `limit`.
    pub(super) async fn ask(
        &self,
        limit: Duration,
        command: &Cmd,
    ) -> Result<Result<Value, Refusal>, Unavailable> {
        within(limit, &self.place, self.send(command)).await?
    }
}

/// Opens one by the way that the options have now: to `home` alone, if the key is known to be there.
pub(super) async fn open(
    config: &Arc<Config>,
    home: Option<Place>,
) -> Result<Session, Unavailable> {
    let reading = Arc::clone(config);
    let read = tokio::task::spawn_blocking(move || reading.way()).await;
    let way = read
        .map_err(|_| Unavailable::new("configuration", "a file was not read to its end"))?
        .map_err(|(key, why)| Unavailable::new("configuration", format!("{key}: {why}")))?;
    if let Some(place) = home {
        return way.connect(config, place).await;
    }
    if let Some((name, login)) = &way.sentinel {
        let place = sentinel::master(&way, config, name, login.as_ref()).await?;
        let session = way.connect(config, place).await?;
        sentinel::confirm(&session, config).await?;
        return Ok(session);
    }
    let mut shown = None;
    for place in way.url.places(PORT) {
        match way.connect(config, place).await {
            Ok(session) => return Ok(session),
            Err(why) => shown = Some(error::more_telling(shown, why)),
        }
    }
    Err(shown.unwrap_or_else(|| Unavailable::new("configuration", "url: names no host")))
}

impl Way {
    async fn connect(&self, config: &Config, place: Place) -> Result<Session, Unavailable> {
        let (login, db) = (self.url.login.as_ref(), self.url.db);
        let opening = async {
            let session = self.raw(place.clone()).await?;
            log_in(&session, login, &config.target).await?;
            if db != 0 {
                let mut select = redis::cmd("SELECT");
                select.arg(db);
                let answer = session.send(&select).await?;
                answer
                    .map_err(|why| error::refused("select the database", &why, &config.target))?;
            }
            Ok(session)
        };
        let limit = config.connect_timeout;
        let opened = tokio::time::timeout(limit, opening).await;
        let session =
            opened.map_err(|_| error::not_opened(&place, limit, self.tls.is_some()))??;
        tracing::debug!(server = %place, "connected to redis");
        Ok(session)
    }

    /// A connection on which nothing was said yet.
    pub(super) async fn raw(&self, place: Place) -> Result<Session, Unavailable> {
        let why = |error: io::Error| error::broken(&place, &error);
        let stream = TcpStream::connect((place.host.as_str(), place.port)).await;
        let stream = stream.map_err(why)?;
        stream.set_nodelay(true).map_err(why)?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5));
        SockRef::from(&stream)
            .set_tcp_keepalive(&keepalive)
            .map_err(why)?;
        // Login and database are asked for by ourselves, so that each refusal is seen as it came; the waits are ours as well.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let settings = AsyncConnectionConfig::new().set_response_timeout(None);
        let not_made = |error| error::gone(&place, &error);
        let (connection, driver) = if let Some(tls) = &self.tls {
            let name = ServerName::try_from(place.host.clone());
            let name = name.map_err(|error| why(io::Error::other(error)))?;
            let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
            let stream = stream.await.map_err(why)?;
            let made = MultiplexedConnection::new_with_config(&info, stream, settings).await;
            let (connection, driver) = made.map_err(not_made)?;
            (connection, tokio::spawn(driver))
        } else {
            let made = MultiplexedConnection::new_with_config(&info, stream, settings).await;
            let (connection, driver) = made.map_err(not_made)?;
            (connection, tokio::spawn(driver))
        };
        Ok(Session {
            connection,
            driver,
            place,
            encrypted: self.tls.is_some(),
            largest: OnceLock::new(),
        })
    }
}

/// Logs in, if there is a login.
pub(super) async fn log_in(
    session: &Session,
    login: Option<&Login>,
    target: &Target,
) -> Result<(), Unavailable> {
    let Some(login) = login else {
        return Ok(());
    };
    let mut auth = redis::cmd("AUTH");
    if let Some(user) = &login.user {
        auth.arg(user);
    }
    auth.arg(login.password.expose());
    let answer = session.send(&auth).await?;
    answer
        .map(|_| ())
        .map_err(|why| error::refused("log us in", &why, target))
}

/// Waits for `answer` no longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    from: &Place,
    answer: impl Future<Output = T>,
) -> Result<T, Unavailable> {
    let waited = tokio::time::timeout(limit, answer).await;
    waited.map_err(|_| error::late(&from.to_string(), limit))
}
