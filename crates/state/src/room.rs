//! Whether there is room for more rows: what the rows take against `max_bytes`, and what the disk has left
//! against `min_free`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::ByteSize;
use rusqlite::Connection;

use crate::options::Options;

/// How old a look at the disk may be.
const FRESH: Duration = Duration::from_secs(1);

/// Looked at after every write, and asked before rows are made.
#[derive(Debug)]
pub(crate) struct Room {
    options: Options,
    directory: PathBuf,
    /// Bytes of the pages in use.
    used: AtomicU64,
    /// The last look at the disk: when, and what was free.
    free: Mutex<Option<(Instant, u64)>>,
}

impl Room {
    pub(crate) fn new(options: Options, directory: PathBuf) -> Self {
        Self {
            options,
            directory,
            used: AtomicU64::new(0),
            free: Mutex::new(None),
        }
    }

    /// Notes what the rows take now. Pages on the free list are room. What cannot be read stays as it was:
    /// the next write that fails says why.
    pub(crate) fn look(&self, connection: &Connection) {
        let pragma =
            |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let bytes = || {
            let pages = pragma("page_count")? - pragma("freelist_count")?;
            Ok::<i64, rusqlite::Error>(pages.saturating_mul(pragma("page_size")?))
        };
        if let Ok(used) = bytes() {
            let used = u64::try_from(used).unwrap_or(0);
            self.used.store(used, Ordering::Relaxed);
        }
    }

    /// Whether rows may be made.
    ///
    /// # Errors
    /// What is full, and what to raise.
    pub(crate) fn check(&self) -> Result<(), String> {
        let used = self.used.load(Ordering::Relaxed);
        let max = self.options.max_bytes.0;
        if used >= max {
            return Err(format!(
                "state.max_bytes ({}) is used up by parked events, dead letters and what is in quarantine: redrive or purge some, or raise it",
                ByteSize(max)
            ));
        }
        let min = self.options.min_free.0;
        match self.disk_free() {
            Some(free) if free < min => Err(format!(
                "the disk has {} free, less than state.min_free ({}): free some",
                ByteSize(free),
                ByteSize(min)
            )),
            _ => Ok(()),
        }
    }

    /// `None` where it cannot be told.
    fn disk_free(&self) -> Option<u64> {
        if self.options.min_free.0 == 0 {
            return None;
        }
        let mut last = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *last
            && at.elapsed() < FRESH
        {
            return Some(free);
        }
        let found = rustix::fs::statvfs(&self.directory).ok()?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        *last = Some((Instant::now(), free));
        Some(free)
    }
}
