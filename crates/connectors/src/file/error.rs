//! What the system's errors mean: all of them are about the file, and none about an event.

use std::io;
use std::path::Path;

use domain::Unavailable;

/// Why the file is not there, with what was tried and what to do.
pub(super) fn unavailable(path: &Path, tried: &str, error: &io::Error) -> Unavailable {
    let (code, remedy) = match error.kind() {
        io::ErrorKind::StorageFull => ("full", "make room on its disk"),
        io::ErrorKind::QuotaExceeded => ("full", "raise the quota, or make room"),
        io::ErrorKind::FileTooLarge => ("full", "move it away, and a new one is begun"),
        io::ErrorKind::PermissionDenied => (
            "permission",
            "let Forebay's user write it and its directory",
        ),
        io::ErrorKind::ReadOnlyFilesystem => ("permission", "mount its disk for writing"),
        io::ErrorKind::NotFound => ("missing", "make its directory, or correct `path`"),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            ("missing", "name a file in `path`")
        }
        _ => ("io", "look at its disk"),
    };
    Unavailable::new(
        code,
        format!("cannot {tried} {}: {error}; {remedy}", path.display()),
    )
}

/// The file is there, and not what can be appended to now.
pub(super) fn unfit(code: &str, path: &Path, what: &str) -> Unavailable {
    Unavailable::new(code, format!("{} {what}", path.display()))
}
