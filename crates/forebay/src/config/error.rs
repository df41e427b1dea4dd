//! A mistake in the configuration, in one line.

use std::path::{Path, PathBuf};

/// What is wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{}{key}: {reason}", if place.is_empty() { "" } else { ": " })]
pub struct ConfigError {
    /// `forebay.toml:12`, `environment variable X` or `flag --listen`.
    pub place: String,
    /// The key, as `routes.a.to`; the section if there is no key.
    pub key: String,
    /// What is wrong and what would be right, without the value unless it cannot be secret.
    pub reason: String,
}

impl ConfigError {
    /// The file cannot be read at all.
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self {
            place: String::new(),
            key: path.display().to_string(),
            reason: format!(
                "cannot read the configuration ({error}); name another file with --config"
            ),
        }
    }
}

/// `forebay.toml:12`
pub(super) fn place(file: Option<&PathBuf>, line: Option<usize>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{}:{line}", file.display()),
        (Some(file), None) => file.display().to_string(),
        (None, _) => "built-in configuration".into(),
    }
}
