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

/// Takes values out of a deserialiser's message: `invalid type: string "hunter2", expected a sequence`
/// becomes `is a string; it must be a sequence`.
pub(super) fn without_value(message: &str) -> String {
    let message = message.trim();
    for start in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some(rest) = message.strip_prefix(start)
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            let kind: String = found
                .chars()
                .take_while(|c| !matches!(c, '"' | '`' | '\'' | '0'..='9'))
                .collect();
            return match kind.trim() {
                "" => format!("must be {expected}"),
                kind => format!("is of the wrong kind ({kind}); it must be {expected}"),
            };
        }
    }
    message.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_quoted_that_may_be_secret() {
        for (message, wanted) in [
            (
                "invalid type: string \"a, expected \\\"b\", expected a sequence",
                "is of the wrong kind (string); it must be a sequence",
            ),
            (
                "invalid type: integer `12345`, expected a string",
                "is of the wrong kind (integer); it must be a string",
            ),
            (
                "unknown field `x`, expected `y`",
                "unknown field `x`, expected `y`",
            ),
        ] {
            assert_eq!(without_value(message), wanted);
        }
    }
}
