//! The connections: opened when needed, at most as many as configured, thrown away after any failure.
//!
//! Every exchange with the server ends within the timeout. A connection in which one did not is closed,
//! so that its answer can never be taken for another's.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Unavailable;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Connection};

use super::error::setup;
use super::options::Config;
use super::plan::{self, Plan};

/// A connection that is ready to write.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) plan: Plan,
    /// `synchronous_commit` as it would have been, had the session not set it.
    pub(super) commit_setting: String,
    /// The connection's task, which would wait for a hung server for ever.
    task: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connections that are open and idle, and room for more.
#[derive(Debug)]
pub(super) struct Pool {
    config: Arc<Config>,
    room: Semaphore,
    idle: Mutex<Vec<Session>>,
}

/// A session in use. It is closed when dropped, unless it is given back.
#[derive(Debug)]
pub(super) struct Lease<'p> {
    session: Session,
    _room: SemaphorePermit<'p>,
}

impl Lease<'_> {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl Pool {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            room: Semaphore::new(config.concurrency),
            idle: Mutex::new(Vec::new()),
            config,
        }
    }

    /// A session: an idle one, else a new one. Waits for room at most the timeout.
    pub(super) async fn take(&self) -> Result<Lease<'_>, Unavailable> {
        let room = within(
            self.config.timeout,
            "a free connection",
            self.room.acquire(),
        )
        .await?;
        let room = room.map_err(|_| Unavailable::new("connection", "the pool is closed"))?;
        let session = match self.take_idle() {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Lease {
            session,
            _room: room,
        })
    }

    /// Keeps a session that is as good as new.
    pub(super) fn give_back(&self, lease: Lease<'_>) {
        let Lease { session, _room } = lease;
        self.idle().push(session);
    }

    /// Closes the idle sessions: the server that one failed with is theirs as well, and the next to be
    /// opened may go elsewhere.
    pub(super) fn forget_idle(&self) {
        let closing = std::mem::take(&mut *self.idle());
        drop(closing);
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.idle();
        idle.retain(|session| !session.client.is_closed());
        idle.pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Session, Unavailable> {
        let config = Arc::clone(&self.config);
        let read = tokio::task::spawn_blocking(move || {
            let url = config.server.url()?;
            let connector = url.connector()?;
            Ok::<_, String>((url, connector))
        });
        let (url, connector) = read
            .await
            .map_err(|_| Unavailable::new("connection", "the set-up did not come to its end"))?
            .map_err(|reason| Unavailable::new("configuration", reason))?;
        let mut settings = url.config();
        let timeout = self.config.timeout;
        settings.connect_timeout(self.config.connect_timeout);
        settings.keepalives_idle(Duration::from_secs(15));
        settings.keepalives_interval(Duration::from_secs(5));
        settings.keepalives_retries(3);
        settings.tcp_user_timeout(timeout);
        let place = url.place();
        let hosts = u32::try_from(url.hosts()).unwrap_or(1).max(1);
        let opening = self.config.connect_timeout.saturating_mul(hosts);
        let (client, connection) = within(opening, &place, settings.connect(connector))
            .await?
            .map_err(|error| setup(&format!("connect to {place}"), &error))?;
        let task = tokio::spawn(drive(connection)).abort_handle();
        // From here on the connection ends with the session, however the set-up goes.
        let guard = AbortOnDrop(Some(task));
        let set_up = async {
            let commit_setting = durable_commits(&client).await?;
            let plan = plan::make(&client, &self.config.target).await?;
            Ok::<_, Unavailable>((commit_setting, plan))
        };
        let (commit_setting, plan) = within(timeout, &place, set_up).await??;
        let Some(task) = guard.disarm() else {
            return Err(Unavailable::new("connection", "closed while being set up"));
        };
        tracing::debug!(server = %place, "connected to postgres");
        Ok(Session {
            client,
            plan,
            commit_setting,
            task,
        })
    }
}

/// Runs a connection to its end. As a future of its own it would log every notice of the server, in which a
/// trigger of the user's may say the whole event: here they are thrown away unread. Its error is told to the
/// client's next call as well, so it is not lost.
async fn drive<S, T>(mut connection: Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(_)) = poll_fn(|context| connection.poll_message(context)).await {}
}

/// Ends a connection's task if the set-up is abandoned.
struct AbortOnDrop(Option<AbortHandle>);

impl AbortOnDrop {
    fn disarm(mut self) -> Option<AbortHandle> {
        self.0.take()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// A commit must be on the server's disk when it is confirmed, whatever the role's or database's default.
async fn durable_commits(client: &Client) -> Result<String, Unavailable> {
    let asked = client
        .query_one("SELECT current_setting('synchronous_commit')", &[])
        .await;
    let setting: String = asked
        .map_err(|error| setup("ask for synchronous_commit", &error))?
        .get(0);
    if setting == "off" {
        let set = client.batch_execute("SET synchronous_commit = on").await;
        set.map_err(|error| setup("set synchronous_commit", &error))?;
    }
    Ok(setting)
}

/// Waits for an answer no longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    from: &str,
    answer: impl Future<Output = T>,
) -> Result<T, Unavailable> {
    let waited = tokio::time::timeout(limit, answer).await;
    waited.map_err(|_| {
        Unavailable::new(
            "timeout",
            format!("no answer from {from} within {}s", limit.as_secs_f32()),
        )
    })
}
