//! The connection: opened when needed, closed after a failure, one call at a time, off the runtime.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Unavailable;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::error::unavailable;

/// How long SQLite waits for another program's lock. Below any timeout of ours that is not very short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that may or may not be open.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    timeout: Duration,
    /// One permit: whoever has it may use the connection. It goes with the call, so that a call that was
    /// given up on keeps others out until SQLite lets go.
    turn: Arc<Semaphore>,
    open: Arc<Mutex<Option<Connection>>>,
}

impl Client {
    pub(super) fn new(path: PathBuf, timeout: Duration) -> Self {
        Self {
            path,
            timeout,
            turn: Arc::new(Semaphore::new(1)),
            open: Arc::new(Mutex::new(None)),
        }
    }

    /// Runs `act` on the connection, opening it first if need be. When `act` fails, or gives what is not
    /// `sound`, the connection is closed, and with it any transaction. Given up on after the timeout;
    /// `act` then still runs to its end.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, Unavailable> + Send + 'static,
        sound: fn(&T) -> bool,
    ) -> Result<T, Unavailable> {
        let late = || {
            Unavailable::new(
                "timeout",
                format!(
                    "the file was not done within {}s",
                    self.timeout.as_secs_f32()
                ),
            )
        };
        let done = async {
            let gone = |_| Unavailable::new("sqlite", "the connection is closed");
            let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(gone)?;
            let (open, path) = (Arc::clone(&self.open), self.path.clone());
            let busy = BUSY_TIMEOUT.min(self.timeout / 2);
            let work = move || {
                let _turn = turn;
                let mut slot = open.lock().unwrap_or_else(PoisonError::into_inner);
                let mut connection = match slot.take() {
                    Some(connection) if is_still_there(&path) => connection,
                    _ => connect(&path, busy)?,
                };
                let result = act(&mut connection);
                if result.as_ref().is_ok_and(sound) {
                    *slot = Some(connection);
                }
                result
            };
            let joined = tokio::task::spawn_blocking(work).await;
            joined.map_err(|_| Unavailable::new("sqlite", "the call did not come to its end"))?
        };
        tokio::time::timeout(self.timeout, done)
            .await
            .map_err(|_| late())?
    }
}

/// A file that was deleted lives on for those that have it open: what they write is lost with them.
fn is_still_there(path: &Path) -> bool {
    path.exists()
}

fn connect(path: &Path, busy: Duration) -> Result<Connection, Unavailable> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(busy)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| {
        let why = unavailable(&error).cause;
        Unavailable::new(
            why.code,
            format!(
                "cannot open {}: {}; check that its directory exists and is writable",
                path.display(),
                why.detail
            ),
        )
    })
}
