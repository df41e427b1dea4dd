//! The options that say with which keys to sign.

use std::path::{Path, PathBuf};

use domain::Secret;

use crate::options::OptionsError;
use crate::reference::OptionDoc;

pub(crate) const ACCESS_KEY_ID: OptionDoc = OptionDoc {
    key: "access_key_id",
    value: "secret string",
    default: "",
    limit: "with `secret_access_key` or `secret_access_key_file`; not with `profile`",
    effect: "The access key. Without it keys come the AWS way: environment, profile, web identity, the container's or the machine's role.",
};
pub(crate) const SECRET_ACCESS_KEY: OptionDoc = OptionDoc {
    key: "secret_access_key",
    value: "secret string",
    default: "",
    limit: "only with `access_key_id`",
    effect: "The access key's secret. It is never shown.",
};
pub(crate) const SECRET_ACCESS_KEY_FILE: OptionDoc = OptionDoc {
    key: "secret_access_key_file",
    value: "path",
    default: "",
    limit: "instead of `secret_access_key`",
    effect: "A file with the secret, read again when it was read more than 5s ago.",
};
pub(crate) const PROFILE: OptionDoc = OptionDoc {
    key: "profile",
    value: "string",
    default: "",
    limit: "not with `access_key_id`",
    effect: "The profile of ~/.aws/config and ~/.aws/credentials that keys come from. Default: what AWS_PROFILE says, else `default`.",
};

/// Where the keys come from.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// The AWS way, perhaps of one profile.
    Chain(Option<String>),
    /// The configuration.
    Here(Secret, Secret),
    /// The configuration and a file.
    File(Secret, PathBuf),
}

impl Keys {
    /// Checks how the options go together.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn new(
        access_key_id: Option<&Secret>,
        secret: Option<&Secret>,
        file: Option<&Path>,
        profile: Option<&str>,
    ) -> Result<Self, OptionsError> {
        let wrong = |key, reason: &str| Err(OptionsError::new(key, reason));
        let Some(id) = access_key_id else {
            if secret.is_some() || file.is_some() {
                return wrong(
                    "access_key_id",
                    "is missing: a secret access key goes with its access key",
                );
            }
            if profile.is_some_and(str::is_empty) {
                return wrong("profile", "cannot be empty: name a profile");
            }
            return Ok(Self::Chain(profile.map(str::to_owned)));
        };
        if profile.is_some() {
            return wrong(
                "profile",
                "does not go with `access_key_id`: keep one of them",
            );
        }
        if !is_one(id) {
            return wrong("access_key_id", "must be a key without blanks");
        }
        match (secret, file) {
            (Some(secret), None) if is_one(secret) => Ok(Self::Here(id.clone(), secret.clone())),
            (Some(_), None) => wrong("secret_access_key", "must be a key without blanks"),
            (None, Some(path)) => Ok(Self::File(id.clone(), path.to_owned())),
            (None, None) => wrong(
                "secret_access_key",
                "is missing: an access key goes with its secret, here or in `secret_access_key_file`",
            ),
            (Some(_), Some(_)) => wrong(
                "secret_access_key_file",
                "does not go with `secret_access_key`: keep one of them",
            ),
        }
    }

    /// Reads a file with a secret. Blocks.
    ///
    /// # Errors
    /// What cannot be read or is no key.
    pub(super) fn read(path: &Path) -> Result<Secret, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let secret = Secret::new(text.trim().to_owned());
        if is_one(&secret) {
            Ok(secret)
        } else {
            Err(format!(
                "{} holds no key: one line, no blanks",
                path.display()
            ))
        }
    }
}

fn is_one(key: &Secret) -> bool {
    !key.is_empty() && key.expose().bytes().all(|byte| byte.is_ascii_graphic())
}
