//! The file: opened when needed, locked, appended to and synced. Blocks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::Unavailable;

/// An appending writer, alone on its file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    open: Option<File>,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Opens the file unless it is open and still the one of that name.
    ///
    /// # Errors
    /// Why it cannot be written to, and what to do.
    pub(super) fn ready(&mut self) -> Result<(), Unavailable> {
        self.file().map(drop)
    }

    /// Appends and syncs. After an error the file is opened anew, and what was written of `bytes` is ended as a
    /// line of its own.
    ///
    /// # Errors
    /// Why it was not written, and what to do. Nothing of it counts then.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Unavailable> {
        let path = self.path.clone();
        let file = self.file()?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        written.map_err(|error| {
            self.open = None;
            trouble("write to", &path, &error)
        })
    }

    fn file(&mut self) -> Result<&mut File, Unavailable> {
        if !self
            .open
            .as_ref()
            .is_some_and(|file| is_named(file, &self.path))
        {
            // Moved away, as logrotate does, or removed: what is there by now is another file.
            self.open = None;
        }
        let file = match self.open.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.open.insert(file))
    }
}

/// Whether the path names this very file.
fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

fn open(path: &Path) -> Result<File, Unavailable> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options
        .open(path)
        .map_err(|error| trouble("open", path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let detail = format!(
                "another process writes to {}: give each a file of its own",
                path.display()
            );
            return Err(Unavailable::new("locked", detail));
        }
        Err(TryLockError::Error(error)) => return Err(trouble("lock", path, &error)),
    }
    if is_new {
        sync_directory(path).map_err(|error| trouble("sync the directory of", path, &error))?;
    }
    end_cut_line(&mut file).map_err(|error| trouble("end the last line of", path, &error))?;
    Ok(file)
}

/// The name of a new file must last as long as what is in it.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// A line that a crash cut short stays as it is, and is ended. Its event was never confirmed, and comes again.
fn end_cut_line(file: &mut File) -> io::Result<()> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn trouble(doing: &str, path: &Path, error: &io::Error) -> Unavailable {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; make its directory",
        io::ErrorKind::PermissionDenied => "; let Forebay's user write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        io::ErrorKind::IsADirectory => "; name a file",
        _ => "",
    };
    let detail = format!("cannot {doing} {}: {error}{remedy}", path.display());
    Unavailable::new("file", detail)
}
