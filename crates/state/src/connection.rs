//! A SQLite connection on a thread of its own, so that nobody in the runtime ever blocks on it.

use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use domain::ports::StateError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{OpenError, classify, is_final};
use crate::schema;

/// Calls that may wait. Each route has at most a few under way.
const WAITING_CALLS: usize = 256;

/// Prepared statements kept; a little above the number there are.
const CACHED_STATEMENTS: usize = 64;

/// How long a call waits for another program's lock.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

type Call = Box<dyn FnOnce(&mut Connection) + Send>;

/// Runs calls on one connection, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionThread {
    calls: mpsc::Sender<Call>,
    /// Set once a write failed for good, or a call panicked; nothing is tried after it.
    failure: watch::Sender<Option<String>>,
    /// Whether a failure here is that of a write.
    writes: bool,
}

/// What a call may find in its own terms, besides SQLite's errors.
#[derive(Debug)]
pub(crate) enum CallError {
    Sqlite(rusqlite::Error),
    State(StateError),
}

impl From<rusqlite::Error> for CallError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StateError> for CallError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl ConnectionThread {
    pub(crate) fn start(
        name: &str,
        connection: Connection,
        failure: watch::Sender<Option<String>>,
        writes: bool,
    ) -> std::io::Result<Self> {
        let (calls, mut incoming) = mpsc::channel::<Call>(WAITING_CALLS);
        let mut connection = connection;
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                while let Some(call) = incoming.blocking_recv() {
                    call(&mut connection);
                }
            })?;
        Ok(Self {
            calls,
            failure,
            writes,
        })
    }

    /// Runs `act` and waits for what it gives. Once queued it runs to its end, also when the caller stops
    /// waiting.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = oneshot::channel();
        let (failure, writes) = (self.failure.clone(), self.writes);
        let call: Call = Box::new(move |connection| {
            let refused = failure.borrow().clone();
            let result = match refused {
                Some(reason) => Err(StateError::Failed(reason)),
                None => run(act, connection, &failure, writes),
            };
            // The caller may be gone; the work is done all the same.
            let _ = reply.send(result);
        });
        let gone = || StateError::Failed("the state store is closed".into());
        self.calls.send(call).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Runs one call. A write that failed for good, and a panic, which is a defect and leaves the connection
/// in who knows what state, are the end of the store: nobody may wait in vain for a thread that died.
fn run<T>(
    act: impl FnOnce(&mut Connection) -> Result<T, CallError>,
    connection: &mut Connection,
    failure: &watch::Sender<Option<String>>,
    writes: bool,
) -> Result<T, StateError> {
    let Ok(result) = catch_unwind(AssertUnwindSafe(|| act(connection))) else {
        let reason = "a call of the state store panicked: a defect; what is on disk is whole";
        failure.send_replace(Some(reason.into()));
        return Err(StateError::Failed(reason.into()));
    };
    result.map_err(|error| match error {
        CallError::State(error) => error,
        CallError::Sqlite(error) => {
            if writes && is_final(&error) {
                failure.send_replace(Some(error.to_string()));
            }
            classify(&error)
        }
    })
}

/// Makes the file, for the owner alone, unless it is there: it will hold payloads. SQLite gives its log
/// and its index the same mode.
pub(crate) fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Has a prepared statement keep its plan whatever is bound to it. Otherwise SQLite, built with `ENABLE_STAT4`, prepares
/// it anew each time that it runs, since another value might ask for another plan; that takes longer than most of ours
/// run (<https://www.sqlite.org/queryplanner-ng.html#qpstab>).
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    let stability = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
    connection.set_db_config(stability, true).map(drop)
}

/// Opens the file for writing: WAL, and every commit synced. A file that is not ours, or newer, is
/// left as it is.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::sqlite(path, source);
    make_private(path).map_err(|error| OpenError::io(path, error))?;
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(LOCK_PATIENCE).map_err(failed)?;
    schema::check(&connection, path, schema::VERSION)?;
    let set = || {
        keep_plans(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)
    };
    set().map_err(failed)?;
    // A transaction that begins by reading cannot wait for another program's lock once it writes.
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Opens the file a second time, for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(LOCK_PATIENCE)?;
        keep_plans(&connection)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        Ok(connection)
    };
    open().map_err(|source| OpenError::sqlite(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_call_is_told_to_its_caller_and_ends_the_store() {
        for writes in [true, false] {
            let failure = watch::Sender::new(None);
            let connection = Connection::open_in_memory().unwrap();
            let thread = ConnectionThread::start("test", connection, failure.clone(), writes);
            let thread = thread.unwrap();
            let panicked =
                thread.call(|_| -> Result<(), CallError> { panic!("as the test asked") });
            let told = panicked.await.unwrap_err();
            assert!(told.to_string().contains("panicked"), "{told}");
            assert!(
                failure
                    .borrow()
                    .as_ref()
                    .is_some_and(|why| why.contains("panicked"))
            );
            let after = thread.call(|_| Ok(())).await.unwrap_err();
            assert!(after.to_string().contains("panicked"), "{after}");
        }
    }
}
