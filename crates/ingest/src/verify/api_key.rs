//! `api-key`: a secret in a header of its own, as EventBridge API destinations send it. The header is
//! not stored.

use std::path::PathBuf;

use domain::Secret;
use serde::Deserialize;

use super::about::{SECRET, SECRET_FILE};
use super::token::Token;
use super::{
    About, CannotSign, Consumed, KeyDoc, Received, Refusal, Scheme, Secrets, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    keys: &[
        KeyDoc::new(
            "header",
            "string",
            "a header's name",
            "The header.",
            "\"x-api-key\"",
        ),
        SECRET,
        SECRET_FILE,
    ],
    guessable: false,
    sent: true,
    ..About::new(
        "api-key",
        "A secret in a header of its own. The header is not stored.",
    )
};

/// The keys that are taken, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The header's name. Default `"x-api-key"`.
    #[serde(default = "default_header")]
    pub(super) header: String,
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
    }
}

fn default_header() -> String {
    "x-api-key".into()
}

/// The scheme.
#[derive(Debug)]
pub(super) struct ApiKey(Token);

impl ApiKey {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        Token::load(&options.header, options).map(Self)
    }
}

impl Scheme for ApiKey {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn credential(&self) -> Option<&http::HeaderName> {
        Some(self.0.header())
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        self.0.check(request.headers)
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Ok(Signed::with([self.0.sign()]))
    }

    fn reload(&self) -> Result<(), String> {
        self.0.reload()
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
