//! `bearer`: `Authorization: Bearer TOKEN` (RFC 6750). The header is not stored.

use std::path::PathBuf;

use domain::Secret;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use super::keys::Keys;
use super::{Proven, Received, Refusal, Scheme, Signed, Unsigned, plain, same, text};

/// The tokens that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Bearer {
    tokens: Keys<Secret>,
}

impl Bearer {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        Ok(Self {
            tokens: Keys::load(&options.secrets, &options.secret_files, plain)?,
        })
    }
}

impl Scheme for Bearer {
    fn name(&self) -> &'static str {
        "bearer"
    }

    fn verify(&self, request: &Received<'_>) -> Result<Proven, Refusal> {
        let (scheme, token) = text(request.headers, "authorization")?
            .split_once(' ')
            .ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Malformed);
        }
        let token = token.trim().as_bytes();
        if self
            .tokens
            .current()
            .iter()
            .any(|known| same(known.expose().as_bytes(), token))
        {
            Ok(Proven {
                consumed: Some(AUTHORIZATION),
                ..Proven::default()
            })
        } else {
            Err(Refusal::Wrong)
        }
    }

    fn sign(&self, _: &Unsigned<'_>) -> Signed {
        let token = self.tokens.current()[0].expose().to_owned();
        Signed {
            headers: vec![("authorization".into(), format!("Bearer {token}"))],
        }
    }

    fn reload(&self) -> Result<(), String> {
        self.tokens.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, signs_what_it_takes};
    use super::*;

    fn scheme(tokens: &[&str]) -> Bearer {
        let secrets = tokens
            .iter()
            .map(|token| Secret::new((*token).into()))
            .collect();
        Bearer::new(&Options {
            secrets,
            secret_files: vec![],
        })
        .unwrap()
    }

    #[test]
    fn tokens_old_and_new_are_taken_and_the_header_is_consumed() {
        let scheme = scheme(&["new", "old"]);
        signs_what_it_takes(&scheme, &self::scheme(&["other"]), false);
        let check = |value: &str| Case::new(&[("authorization", value)], "", 0).check(&scheme);
        assert_eq!(check("Bearer old").unwrap().consumed, Some(AUTHORIZATION));
        assert!(check("bearer new").is_ok());
        assert_eq!(check("Bearer "), Err(Refusal::Wrong));
        assert_eq!(check("Basic bmV3"), Err(Refusal::Malformed));
        assert_eq!(check("new"), Err(Refusal::Malformed));
    }
}
