//! Why a journal could not be opened, or cannot go on.

use std::io;
use std::path::PathBuf;

use domain::{InstallationId, RouteName, Seq};

use crate::format::header::HeaderError;
use crate::scan::ScanError;

/// Why the journal could not be opened. Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused a file operation.
    #[error("cannot {action} {name} in the journal's directory: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// Another process has the data directory.
    #[error(
        "the data directory {} is in use by another process: stop the server first", directory.display()
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// Written by another version.
    #[error(
        "segment {name} cannot be read: {source}; use the version of Forebay that wrote it, or newer"
    )]
    Format {
        /// The file.
        name: String,
        /// What is unknown.
        source: HeaderError,
    },
    /// Frames written with an unknown feature.
    #[error(
        "segment {name} cannot be read: {source}; use the version of Forebay that wrote it, or newer"
    )]
    Scan {
        /// The file.
        name: String,
        /// What is unknown.
        source: ScanError,
    },
    /// The disk does not give a segment's bytes.
    #[error(
        "segment {name} cannot be read: {source}; if this comes again, copy the file to a good disk with a tool that fills what is unreadable with zeros (ddrescue) and put the copy in its place: what it lost will be found and counted"
    )]
    Unreadable {
        /// The file.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A segment that a route still needs is not there.
    #[error(
        "the journal's segment that holds event {missing} is missing and route {route} has settled only up to {cursor}: restore the file, or start once with --accept-loss, which counts its events as damaged"
    )]
    MissingSegment {
        /// The first number that is not there.
        missing: Seq,
        /// A route that needs it.
        route: RouteName,
        /// Where that route stands.
        cursor: Seq,
    },
    /// Journal and state belong to different installations.
    #[error(
        "the journal belongs to installation {journal}, the state beside it to {state}: they are not of one installation; put back the one that belongs here"
    )]
    Stranger {
        /// The journal's installation.
        journal: InstallationId,
        /// The state's.
        state: InstallationId,
    },
    /// There are segments, but nothing says whose.
    #[error(
        "the journal has segments but its file `installation` is missing or unreadable: restore it (state.db names the installation too)"
    )]
    NoInstallation,
    /// There is state for events that this journal never had.
    #[error(
        "state belongs to installation {state} but the journal's directory is empty: restore the journal, or start once with --accept-loss, which gives up what was not delivered"
    )]
    JournalGone {
        /// The state's installation.
        state: InstallationId,
    },
}

impl OpenError {
    pub(crate) fn scan(name: &str) -> impl Fn(ScanError) -> Self {
        move |source| {
            let name = name.to_owned();
            match source {
                ScanError::Io(source) => Self::Unreadable { name, source },
                source @ ScanError::Flags(_) => Self::Scan { name, source },
            }
        }
    }

    pub(crate) fn io(
        action: &'static str,
        name: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let name = name.into();
        move |source| Self::Io {
            action,
            name,
            source,
        }
    }
}
