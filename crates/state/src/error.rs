//! Why state could not be opened, and what SQLite's errors mean to the port.

use std::path::{Path, PathBuf};

use domain::ports::StateError;
use rusqlite::{Error, ErrorCode, ffi};

/// Why state could not be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer version.
    #[error("{} has schema version {found}, this version of Forebay knows up to {}: start the newer version again, or restore a backup", path.display(), crate::schema::VERSION)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A SQLite database, but of something else.
    #[error("{} is a SQLite database of something else, not Forebay's state: move it away, or set another server.data_dir", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Not a database, or a damaged one.
    #[error("{} is not a readable SQLite database ({source}): restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: Error,
    },
    /// Anything else: permissions, disk.
    #[error("cannot open {}: {source}; check that its directory exists and is writable", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: Error,
    },
}

impl OpenError {
    /// Trouble beside SQLite's own.
    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Sqlite {
            path: path.to_owned(),
            source: Error::ToSqlConversionFailure(Box::new(error)),
        }
    }

    pub(crate) fn sqlite(path: &Path, source: Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, source }
            }
            _ => Self::Sqlite { path, source },
        }
    }
}

/// Whether the disk is full. SQLite has a code of its own for the file of its shared memory, which grows with
/// the log: that holds nothing that is to last, and the transaction is rolled back as for any other file. (A
/// crash before the next one may bring it back, whole: then what it said is so.)
fn is_full(error: &Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || code == Some(ffi::SQLITE_IOERR_SHMSIZE)
}

/// Whether the store can go on after this error. A full disk rolled the transaction back cleanly, a
/// violated constraint, another program's lock and a row that was not there changed nothing; after anything else (a failed
/// write or sync above all) it is unknown what is on the disk.
pub(crate) fn is_final(error: &Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    ) && !is_full(error)
        && !matches!(error, Error::QueryReturnedNoRows)
}

/// The port's word for a SQLite error. SQLite's messages name tables and columns, never values.
pub(crate) fn classify(error: &Error) -> StateError {
    match error.sqlite_error_code() {
        _ if is_full(error) => StateError::Full("the disk is full".into()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StateError::Busy(error.to_string())
        }
        Some(ErrorCode::ConstraintViolation) => StateError::Conflict(error.to_string()),
        _ => StateError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_failed_write_or_sync_is_final_and_a_full_disk_is_not() {
        for code in [
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_TRUNCATE,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOMEM,
        ] {
            let error = sqlite(code);
            assert!(is_final(&error), "{error}");
            assert!(matches!(classify(&error), StateError::Failed(_)));
        }
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_CONSTRAINT_UNIQUE,
        ] {
            assert!(!is_final(&sqlite(code)), "{code}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(!is_final(&sqlite(code)), "{code}");
            assert!(matches!(classify(&sqlite(code)), StateError::Full(_)));
        }
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_SNAPSHOT,
            ffi::SQLITE_LOCKED,
        ] {
            assert!(matches!(classify(&sqlite(code)), StateError::Busy(_)));
        }
    }
}
