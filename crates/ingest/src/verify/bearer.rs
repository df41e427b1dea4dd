//! `bearer`: `Authorization: Bearer TOKEN` (RFC 6750). The header is not stored.

use domain::Secret;
use http::header::AUTHORIZATION;

use super::keys::Keys;
use super::{
    About, CannotSign, Consumed, Received, Refusal, Scheme, SecretOptions, Signed, Unsigned, plain,
    same, text,
};

pub(super) const ABOUT: About = About {
    guessable: false,
    sent: true,
    ..About::new(
        "bearer",
        "`Authorization: Bearer TOKEN`. The header is not stored.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Bearer {
    tokens: Keys<Secret>,
}

impl Bearer {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        Ok(Self {
            tokens: Keys::load(&options.secrets, &options.secret_files, plain)?,
        })
    }

    /// Whether this is one of the tokens.
    pub(super) fn fits(&self, token: &[u8]) -> Result<(), Refusal> {
        let known = self.tokens.current();
        if known
            .iter()
            .any(|known| same(known.expose().as_bytes(), token))
        {
            Ok(())
        } else {
            Err(Refusal::Wrong)
        }
    }
}

impl Scheme for Bearer {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let (scheme, token) = text(request.headers, "authorization")?
            .split_once(' ')
            .ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Malformed);
        }
        self.fits(token.trim().as_bytes())?;
        Ok(Consumed::Header(AUTHORIZATION))
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let token = self.tokens.current()[0].expose().to_owned();
        Ok(Signed::with([("authorization", format!("Bearer {token}"))]))
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
        Bearer::new(&SecretOptions {
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
        assert_eq!(
            check("Bearer old").unwrap(),
            Consumed::Header(AUTHORIZATION)
        );
        assert!(check("bearer new").is_ok());
        assert_eq!(check("Bearer "), Err(Refusal::Wrong));
        assert_eq!(check("Basic bmV3"), Err(Refusal::Malformed));
        assert_eq!(check("new"), Err(Refusal::Malformed));
    }
}
