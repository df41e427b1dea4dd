//! The file: opened and locked when it is needed, looked at before every batch, closed after a failure.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Unavailable;
use tokio::sync::Semaphore;

use super::error::{unavailable, unfit};

/// The longest that one call may take. A disk that is slower than this is not there.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// A file that may or may not be open.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    /// One permit, which goes with the call: one that was given up on keeps others out until the system lets go.
    turn: Arc<Semaphore>,
    open: Arc<Mutex<Option<File>>>,
}

impl Client {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            turn: Arc::new(Semaphore::new(1)),
            open: Arc::new(Mutex::new(None)),
        }
    }

    /// Sees that the file is there and ours to append to.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn look(&self) -> Result<(), Unavailable> {
        self.call(|_, _| Ok(())).await
    }

    /// Appends what `lines` gives in one write, and syncs it. Given up on after [`TIMEOUT`], and when dropped; the
    /// write then still runs to its end.
    ///
    /// # Errors
    /// Why the lines may not be there to stay. Some may be there all the same.
    pub(super) async fn append(
        &self,
        lines: impl FnOnce(&mut Vec<u8>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        self.call(|file, path| append(file, path, lines)).await
    }

    async fn call(
        &self,
        act: impl FnOnce(&mut File, &Path) -> Result<(), Unavailable> + Send + 'static,
    ) -> Result<(), Unavailable> {
        let done = async {
            let gone = |_| Unavailable::new("file", "the file is closed");
            let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(gone)?;
            let (slot, path) = (Arc::clone(&self.open), self.path.clone());
            let work = move || {
                let _turn = turn;
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                // A file that was moved away or removed is no longer the one that the user reads.
                let kept = slot.take().filter(|file| is_at(file, &path));
                let mut file = match kept {
                    Some(file) => file,
                    None => open(&path)?,
                };
                act(&mut file, &path)?;
                // Only now: after a failure the file is closed, and what is known of it with it.
                *slot = Some(file);
                Ok(())
            };
            let joined = tokio::task::spawn_blocking(work).await;
            joined.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Unavailable::new("file", "the call did not come to its end")),
            })
        };
        tokio::time::timeout(TIMEOUT, done).await.map_err(|_| {
            Unavailable::new(
                "timeout",
                format!(
                    "{} was not written within {}s; look at its disk",
                    self.path.display(),
                    TIMEOUT.as_secs()
                ),
            )
        })?
    }
}

/// Whether this is the file that has the name now.
fn is_at(file: &File, path: &Path) -> bool {
    let same =
        |ours: &Metadata, there: &Metadata| (ours.dev(), ours.ino()) == (there.dev(), there.ino());
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(ours), Ok(there)) if same(&ours, &there))
}

fn open(path: &Path) -> Result<File, Unavailable> {
    // Looked at before it is opened: opening a pipe would wait for a reader.
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(unfit(
            "missing",
            path,
            "is not a regular file: name one in `path`",
        ));
    }
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| unavailable(path, "open", &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(unfit(
                "locked",
                path,
                "is locked by another program, such as a second Forebay or another destination with this path: one of them has to go",
            ));
        }
        Err(TryLockError::Error(error)) => return Err(unavailable(path, "lock", &error)),
    }
    if !is_at(&file, path) {
        return Err(unfit("moved", path, "was moved away while it was opened"));
    }
    // Its name must last as well. Every time: the file may be there from a run that ended before it came to this.
    sync_directory(path).map_err(|error| unavailable(path, "sync the directory of", &error))?;
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn append(
    file: &mut File,
    path: &Path,
    lines: impl FnOnce(&mut Vec<u8>),
) -> Result<(), Unavailable> {
    let cut_short =
        ends_within_a_line(file).map_err(|error| unavailable(path, "read the end of", &error))?;
    let mut bytes = Vec::new();
    if cut_short {
        bytes.push(b'\n');
    }
    lines(&mut bytes);
    let written = file
        .write(&bytes)
        .map_err(|error| unavailable(path, "write to", &error))?;
    if written < bytes.len() {
        return Err(unfit(
            "full",
            path,
            "took a part of a batch only: make room on its disk",
        ));
    }
    file.sync_data()
        .map_err(|error| unavailable(path, "sync", &error))?;
    // Moved away, it is still somewhere; removed while it was written, it is nowhere.
    let links = file.metadata().map(|ours| ours.nlink());
    match links.map_err(|error| unavailable(path, "look at", &error))? {
        0 => Err(unfit("moved", path, "was removed while it was written to")),
        _ => Ok(()),
    }
}

/// Whether the last line has no end: a crash, or another program, left it so.
fn ends_within_a_line(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}
