//! `api-key`: a secret in a header of its own, as EventBridge API destinations send it. The header is
//! not stored.

use std::path::PathBuf;

use domain::Secret;
use http::HeaderName;
use serde::Deserialize;

use super::keys::Keys;
use super::{Proven, Received, Refusal, Scheme, Signed, Unsigned, plain, same};

/// The keys that are taken, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The header's name. Default `"x-api-key"`.
    #[serde(default = "default_header")]
    header: String,
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
}

fn default_header() -> String {
    "x-api-key".into()
}

/// The scheme.
#[derive(Debug)]
pub(super) struct ApiKey {
    header: HeaderName,
    keys: Keys<Secret>,
}

impl ApiKey {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let header = options
            .header
            .parse()
            .map_err(|_| "header is not a header's name".to_owned())?;
        Ok(Self {
            header,
            keys: Keys::load(&options.secrets, &options.secret_files, plain)?,
        })
    }
}

impl Scheme for ApiKey {
    fn name(&self) -> &'static str {
        "api-key"
    }

    fn verify(&self, request: &Received<'_>) -> Result<Proven, Refusal> {
        let given = request
            .headers
            .get(&self.header)
            .ok_or(Refusal::Missing)?
            .as_bytes();
        if self
            .keys
            .current()
            .iter()
            .any(|known| same(known.expose().as_bytes(), given))
        {
            Ok(Proven {
                consumed: Some(self.header.clone()),
                ..Proven::default()
            })
        } else {
            Err(Refusal::Wrong)
        }
    }

    fn sign(&self, _: &Unsigned<'_>) -> Signed {
        let key = self.keys.current()[0].expose().to_owned();
        Signed {
            headers: vec![(self.header.as_str().to_owned(), key)],
        }
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::signs_what_it_takes;
    use super::*;

    fn scheme(header: &str, key: &str) -> Result<ApiKey, String> {
        let secrets = vec![Secret::new(key.into())];
        ApiKey::new(&Options {
            header: header.into(),
            secrets,
            secret_files: vec![],
        })
    }

    #[test]
    fn the_key_stands_in_the_header_that_was_named() {
        signs_what_it_takes(
            &scheme("x-my-key", "k1").unwrap(),
            &scheme("x-my-key", "k2").unwrap(),
            false,
        );
        assert!(scheme("not a header", "k").is_err());
    }
}
