//! The connection: opened when needed, closed after a failure, one call at a time, off the runtime.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Unavailable;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::error::unavailable;

/// How long SQLite waits for another program's lock. Below any timeout of ours that is not very short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Which file it is, whatever its name is by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the file that has this name now. It is not opened for that: closing it would take SQLite's locks on
    /// it away from the whole process.
    fn of(path: &Path) -> Option<Self> {
        let there = std::fs::metadata(path).ok()?;
        Some(Self {
            device: there.dev(),
            inode: there.ino(),
        })
    }
}

/// A connection, and the file that it is on.
#[derive(Debug)]
struct Open {
    connection: Connection,
    file: Identity,
}

/// A file that may or may not be open.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    timeout: Duration,
    /// One permit: whoever has it may use the connection. It goes with the call, so that a call that was
    /// given up on keeps others out until SQLite lets go.
    turn: Arc<Semaphore>,
    open: Arc<Mutex<Option<Open>>>,
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
    /// `act` then still runs to its end. A panic of `act` is the caller's.
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
                // A file that was deleted or replaced lives on for those that have it open: what they write
                // is lost with them. It is closed before the one in its place is opened.
                let same = |open: &Open| Identity::of(&path) == Some(open.file);
                let kept = slot.take().filter(same);
                let mut open = match kept {
                    Some(open) => open,
                    None => connect(&path, busy)?,
                };
                let result = act(&mut open.connection);
                if result.as_ref().is_ok_and(sound) {
                    *slot = Some(open);
                }
                result
            };
            let joined = tokio::task::spawn_blocking(work).await;
            joined.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Unavailable::new(
                    "sqlite",
                    "the call did not come to its end",
                )),
            })
        };
        tokio::time::timeout(self.timeout, done)
            .await
            .map_err(|_| late())?
    }
}

fn connect(path: &Path, busy: Duration) -> Result<Open, Unavailable> {
    let before = Identity::of(path);
    let connection = open(path, busy)?;
    match Identity::of(path) {
        Some(file) if before.is_none_or(|before| before == file) => Ok(Open { connection, file }),
        _ => Err(Unavailable::new(
            "sqlite",
            format!("{} was replaced while it was opened", path.display()),
        )),
    }
}

fn open(path: &Path, busy: Duration) -> Result<Connection, Unavailable> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_call_is_its_callers_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(dir.path().join("events.db"), Duration::from_secs(30));
        let client = Arc::new(client);
        let other = Arc::clone(&client);
        let panicked = tokio::spawn(async move {
            let call = |_: &mut Connection| panic!("as the test asked");
            other.call(call, |()| true).await
        });
        assert!(panicked.await.unwrap_err().is_panic());
        client.call(|_| Ok(()), |()| true).await.unwrap();
    }
}
