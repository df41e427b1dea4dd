//! What the schemes share that put an HMAC over the body into a header.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{HumanDuration, Secret, Timestamp};
use http::HeaderMap;
use serde::Deserialize;

use super::keys::Keys;
use super::{Refusal, Secrets, text};

/// How a signature is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// RFC 4648, with padding.
    #[default]
    Base64,
    /// Two lower- or upper-case digits a byte.
    Hex,
}

impl Encoding {
    pub(super) fn decode(self, text: &str) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Base64 => STANDARD.decode(text).map_err(|_| Refusal::Malformed),
            // The library passes over a 0x, which no sender writes.
            Self::Hex if text.starts_with("0x") => Err(Refusal::Malformed),
            Self::Hex => hex::decode(text).map_err(|_| Refusal::Malformed),
        }
    }

    pub(super) fn encode(self, bytes: impl AsRef<[u8]>) -> String {
        match self {
            Self::Base64 => STANDARD.encode(bytes),
            Self::Hex => hex::encode(bytes),
        }
    }
}

/// The hash under the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Algorithm {
    /// For senders that have nothing better; as an HMAC it is still sound.
    Sha1,
    /// The usual one.
    #[default]
    Sha256,
    /// The long one.
    Sha512,
}

/// The secrets of a scheme as keys of an HMAC.
#[derive(Debug)]
pub(super) struct HmacKeys(Keys<hmac::Key>);

impl HmacKeys {
    /// Of secrets whose bytes are the key.
    pub(super) fn load(options: &impl Secrets, algorithm: Algorithm) -> Result<Self, String> {
        let key = match algorithm {
            Algorithm::Sha1 => |secret: &Secret| {
                let algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
                Ok(hmac::Key::new(algorithm, secret.expose().as_bytes()))
            },
            Algorithm::Sha256 => |secret: &Secret| {
                let key = secret.expose().as_bytes();
                Ok(hmac::Key::new(hmac::HMAC_SHA256, key))
            },
            Algorithm::Sha512 => |secret: &Secret| {
                let key = secret.expose().as_bytes();
                Ok(hmac::Key::new(hmac::HMAC_SHA512, key))
            },
        };
        Self::of(options, key)
    }

    /// Of secrets that are spelt some other way.
    pub(super) fn of(
        options: &impl Secrets,
        parse: fn(&Secret) -> Result<hmac::Key, String>,
    ) -> Result<Self, String> {
        let (secrets, files) = options.secrets();
        Keys::load(secrets, files, parse).map(Self)
    }

    /// Whether one of the keys made this signature over these parts, one behind the other.
    ///
    /// # Errors
    /// [`Refusal::Wrong`].
    pub(super) fn check(&self, signature: &[u8], parts: &[&[u8]]) -> Result<(), Refusal> {
        self.check_any(&[signature], parts)
    }

    /// The same where one of several signatures has to fit.
    ///
    /// # Errors
    /// [`Refusal::Wrong`].
    pub(super) fn check_any(
        &self,
        signatures: &[impl AsRef<[u8]>],
        parts: &[&[u8]],
    ) -> Result<(), Refusal> {
        let keys = self.0.current();
        let length = keys[0].algorithm().digest_algorithm().output_len();
        // The length is no secret, and what cannot fit is worth no pass over the body.
        if !signatures
            .iter()
            .any(|given| given.as_ref().len() == length)
        {
            return Err(Refusal::Wrong);
        }
        let fits = |key: &hmac::Key| {
            let tag = tag(key, parts);
            signatures
                .iter()
                .any(|given| super::same(tag.as_ref(), given.as_ref()))
        };
        if keys.iter().any(fits) {
            Ok(())
        } else {
            Err(Refusal::Wrong)
        }
    }

    /// The signature of the first key.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        tag(&self.0.current()[0], parts)
    }

    /// The keys, the newest first. Never empty.
    pub(super) fn current(&self) -> std::sync::Arc<[hmac::Key]> {
        self.0.current()
    }

    pub(super) fn reload(&self) -> Result<(), String> {
        self.0.reload()
    }
}

fn tag(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// The signature that a header holds behind its prefix.
///
/// # Errors
/// [`Refusal::Missing`], [`Refusal::Malformed`].
pub(super) fn given(
    headers: &HeaderMap,
    name: &str,
    prefix: &str,
    encoding: Encoding,
) -> Result<Vec<u8>, Refusal> {
    let spelt = text(headers, name)?
        .strip_prefix(prefix)
        .ok_or(Refusal::Malformed)?;
    encoding.decode(spelt)
}

/// A number as senders spell it: digits, and no zeros before them. In another spelling of the same number there is
/// room for what stands beside it in the signed text.
///
/// # Errors
/// [`Refusal::Malformed`].
pub(super) fn number(text: &str) -> Result<i64, Refusal> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.starts_with('0') && text != "0") {
        return Err(Refusal::Malformed);
    }
    text.parse().map_err(|_| Refusal::Malformed)
}

/// Whether this is a time in seconds since 1970, of ten digits as all are until 2286. Where a time is signed with
/// nothing between it and what follows, its length is what keeps them apart.
pub(super) fn is_time(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the signed time, in seconds since 1970, is near enough to ours. To be asked before anything is
/// computed: the rest goes over the whole body, for whoever asks.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Stale`].
pub(super) fn recent(
    now: Timestamp,
    seconds: &str,
    tolerance: HumanDuration,
) -> Result<(), Refusal> {
    let second = number(seconds)?;
    let near = |second: i64| now.as_second().abs_diff(second) <= tolerance.0.as_secs();
    match near(second) {
        true => Ok(()),
        false if near(second / 1000) => Err(Refusal::Milliseconds),
        false => Err(Refusal::Stale),
    }
}
