//! `basic`: `Authorization: Basic` with `user:password` (RFC 7617). The header is not stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use http::header::AUTHORIZATION;

use super::keys::Keys;
use super::{
    About, CannotSign, Consumed, Received, Refusal, Scheme, SecretOptions, Signed, Unsigned, same,
    text,
};

pub(super) const ABOUT: About = About {
    least: "secrets = [\"user:password\"]",
    guessable: false,
    sent: true,
    ..About::new(
        "basic",
        "`Authorization: Basic …`. Each secret is written `user:password`, and the password is not empty. The header is not stored.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Basic {
    credentials: Keys<Secret>,
}

impl Basic {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        let parse = |secret: &Secret| match secret.expose().split_once(':') {
            Some((_, "")) => Err("has an empty password: anybody could guess it".into()),
            Some(_) => Ok(secret.clone()),
            None => Err("must be written \"user:password\"".into()),
        };
        Ok(Self {
            credentials: Keys::load(&options.secrets, &options.secret_files, parse)?,
        })
    }
}

impl Scheme for Basic {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let (scheme, encoded) = text(request.headers, "authorization")?
            .split_once(' ')
            .ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Refusal::Malformed);
        }
        let given = STANDARD
            .decode(encoded.trim())
            .map_err(|_| Refusal::Malformed)?;
        if self
            .credentials
            .current()
            .iter()
            .any(|known| same(known.expose().as_bytes(), &given))
        {
            Ok(Consumed::Header(AUTHORIZATION))
        } else {
            Err(Refusal::Wrong)
        }
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let encoded = STANDARD.encode(self.credentials.current()[0].expose());
        Ok(Signed::with([(
            "authorization",
            format!("Basic {encoded}"),
        )]))
    }

    fn reload(&self) -> Result<(), String> {
        self.credentials.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, signs_what_it_takes};
    use super::*;

    fn scheme(credentials: &str) -> Result<Basic, String> {
        let secrets = vec![Secret::new(credentials.into())];
        Basic::new(&SecretOptions {
            secrets,
            secret_files: vec![],
        })
    }

    #[test]
    fn the_pair_must_match_whole() {
        let known = scheme("user:pass:word").unwrap();
        signs_what_it_takes(&known, &scheme("user:other").unwrap(), false);
        let check = |value: &str| Case::new(&[("authorization", value)], "", 0).check(&known);
        assert_eq!(check("Basic ???"), Err(Refusal::Malformed));
        assert_eq!(
            check(&format!("Basic {}", STANDARD.encode("user:pass"))),
            Err(Refusal::Wrong)
        );
        let error = scheme("hunter2").unwrap_err();
        assert!(
            error.contains("user:password") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn a_credential_without_a_password_is_none() {
        for bad in [":", "user:"] {
            assert!(scheme(bad).unwrap_err().contains("has an empty password"));
        }
        assert!(scheme(":password").is_ok());
    }
}
