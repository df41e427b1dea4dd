//! One process a data directory: an advisory lock that the kernel drops when its holder ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::OpenError;

const NAME: &str = "lock";

/// Holds the lock until dropped. The file stays; its existence means nothing.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock in `directory`, which must exist. With `wait`, blocks the thread until the
    /// process that has it ends.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if another process has it and `wait` is false.
    pub fn acquire(directory: &Path, wait: bool) -> Result<Self, OpenError> {
        let open = || {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(directory.join(NAME))
        };
        let file = open().map_err(OpenError::io("open", NAME))?;
        if wait {
            file.lock().map_err(OpenError::io("lock", NAME))?;
        } else {
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => OpenError::Locked {
                    directory: directory.to_owned(),
                },
                TryLockError::Error(error) => OpenError::io("lock", NAME)(io::Error::other(error)),
            })?;
        }
        Ok(Self { _file: file })
    }

    /// Whether a process holds the lock in `directory` or in the one above it, which is the data directory
    /// when this is the journal's. Makes no file; a directory that cannot be looked into counts as free.
    #[must_use]
    pub fn is_held(directory: &Path) -> bool {
        let held = |directory: &Path| {
            // Shared and let go at once: two that look at the same time do not see each other.
            File::open(directory.join(NAME))
                .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
        };
        held(directory) || held(&directory.join(".."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path(), false).unwrap();
        let refused = DirectoryLock::acquire(directory.path(), false).unwrap_err();
        assert!(matches!(refused, OpenError::Locked { .. }));
        let words = refused.to_string();
        let path = directory.path().display().to_string();
        assert!(words.contains(&path), "{words}");
        assert!(DirectoryLock::is_held(directory.path()));
        let journal = directory.path().join("journal");
        std::fs::create_dir(&journal).unwrap();
        assert!(DirectoryLock::is_held(&journal));
        drop(first);
        assert!(!DirectoryLock::is_held(&journal));
        assert!(DirectoryLock::acquire(directory.path(), true).is_ok());
    }
}
