//! `hmac`: a signature described by its options, for senders without a scheme of their own.

use std::path::PathBuf;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{HumanDuration, Secret};
use http::HeaderName;
use serde::Deserialize;

use super::genesys::Encoding;
use super::keys::{Keys, short};
use super::{Proven, Received, Refusal, Scheme, Signed, Unsigned, text};

/// How the sender signs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    /// The header with the signature.
    header: String,
    /// What stands before the signature in the header, as `"sha256="`. Default: nothing.
    #[serde(default)]
    prefix: String,
    /// `"sha256"` (default), `"sha512"` or `"sha1"`.
    #[serde(default)]
    algorithm: Algorithm,
    /// `"hex"` (default) or `"base64"`.
    #[serde(default = "default_encoding")]
    encoding: Encoding,
    /// What is signed: text with `{body}`, `{timestamp}`, `{method}` and `{path}`. Default `"{body}"`.
    #[serde(default = "default_template")]
    signed: String,
    /// The header with the time of signing, in seconds since 1970. Needed if `signed` has
    /// `{timestamp}`.
    timestamp_header: Option<String>,
    /// How far that time may be from ours. Default `"5m"`.
    #[serde(default = "default_tolerance")]
    tolerance: HumanDuration,
}

impl Options {
    /// Where its secrets are that have fewer bytes than `least`.
    pub(super) fn short_secrets(&self, least: usize) -> Vec<String> {
        short(&self.secrets, &self.secret_files, least)
    }
}

fn default_encoding() -> Encoding {
    Encoding::Hex
}

fn default_template() -> String {
    "{body}".into()
}

fn default_tolerance() -> HumanDuration {
    HumanDuration::from_secs(300)
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    Timestamp,
    Method,
    Path,
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Hmac {
    keys: Keys<hmac::Key>,
    header: HeaderName,
    prefix: String,
    encoding: Encoding,
    template: Vec<Piece>,
    timestamp_header: Option<HeaderName>,
    tolerance: HumanDuration,
}

impl Hmac {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let parse = match options.algorithm {
            Algorithm::Sha1 => |secret: &Secret| {
                Ok(hmac::Key::new(
                    hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                    secret.expose().as_bytes(),
                ))
            },
            Algorithm::Sha256 => |secret: &Secret| {
                Ok(hmac::Key::new(
                    hmac::HMAC_SHA256,
                    secret.expose().as_bytes(),
                ))
            },
            Algorithm::Sha512 => |secret: &Secret| {
                Ok(hmac::Key::new(
                    hmac::HMAC_SHA512,
                    secret.expose().as_bytes(),
                ))
            },
        };
        let name = |key: &str, text: &str| {
            text.parse()
                .map_err(|_| format!("{key} is not a header's name"))
        };
        let template = parse_template(&options.signed)?;
        if !template.contains(&Piece::Body) {
            return Err("signed must contain {body}: else anybody could send another body with a captured signature".into());
        }
        if template.contains(&Piece::Timestamp) != options.timestamp_header.is_some() {
            return Err("timestamp_header and {timestamp} in signed go together".into());
        }
        Ok(Self {
            keys: Keys::load(&options.secrets, &options.secret_files, parse)?,
            header: name("header", &options.header)?,
            prefix: options.prefix.clone(),
            encoding: options.encoding,
            template,
            timestamp_header: options
                .timestamp_header
                .as_deref()
                .map(|text| name("timestamp_header", text))
                .transpose()?,
            tolerance: options.tolerance,
        })
    }

    fn digest(
        &self,
        key: &hmac::Key,
        timestamp: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> hmac::Context {
        let mut context = hmac::Context::with_key(key);
        for piece in &self.template {
            context.update(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Body => body,
                Piece::Timestamp => timestamp.as_bytes(),
                Piece::Method => method.as_bytes(),
                Piece::Path => path.as_bytes(),
            });
        }
        context
    }
}

fn parse_template(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after
            .split_once('}')
            .ok_or("signed has a '{' without '}'")?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        pieces.push(match name {
            "body" => Piece::Body,
            "timestamp" => Piece::Timestamp,
            "method" => Piece::Method,
            "path" => Piece::Path,
            _ => {
                return Err(
                    "signed may contain {body}, {timestamp}, {method} and {path} only".into(),
                );
            }
        });
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

impl Scheme for Hmac {
    fn name(&self) -> &'static str {
        "hmac"
    }

    fn verify(&self, request: &Received<'_>) -> Result<Proven, Refusal> {
        let given = text(request.headers, self.header.as_str())?
            .strip_prefix(&*self.prefix)
            .ok_or(Refusal::Malformed)?;
        let signature = match self.encoding {
            Encoding::Hex => hex::decode(given).map_err(|_| Refusal::Malformed)?,
            Encoding::Base64 => STANDARD.decode(given).map_err(|_| Refusal::Malformed)?,
        };
        let timestamp = match &self.timestamp_header {
            Some(name) => text(request.headers, name.as_str())?,
            None => "",
        };
        // What costs nothing first: the rest goes over the whole body, for whoever asks.
        if self.timestamp_header.is_some() {
            let second: i64 = timestamp.parse().map_err(|_| Refusal::Malformed)?;
            if request.now.as_second().abs_diff(second) > self.tolerance.0.as_secs() {
                return Err(Refusal::Stale);
            }
        }
        let keys = self.keys.current();
        if signature.len() != keys[0].algorithm().digest_algorithm().output_len() {
            return Err(Refusal::Wrong);
        }
        let fits = |key: &hmac::Key| {
            let tag = self
                .digest(key, timestamp, request.method, request.path, request.body)
                .sign();
            super::same(tag.as_ref(), &signature)
        };
        if !keys.iter().any(fits) {
            return Err(Refusal::Wrong);
        }
        Ok(Proven::default())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Signed {
        let timestamp = request.now.as_second().to_string();
        let (key, body) = (&self.keys.current()[0], request.body);
        let tag = self
            .digest(key, &timestamp, "POST", request.path, body)
            .sign();
        let spelt = match self.encoding {
            Encoding::Hex => hex::encode(tag),
            Encoding::Base64 => STANDARD.encode(tag),
        };
        let mut headers = vec![(
            self.header.as_str().to_owned(),
            format!("{}{spelt}", self.prefix),
        )];
        headers.extend(
            self.timestamp_header
                .iter()
                .map(|name| (name.as_str().to_owned(), timestamp.clone())),
        );
        Signed { headers }
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, signs_what_it_takes};
    use super::*;

    fn options(secret: &str) -> Options {
        Options {
            secrets: vec![Secret::new(secret.into())],
            secret_files: vec![],
            header: "x-signature".into(),
            prefix: String::new(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            signed: "{body}".into(),
            timestamp_header: None,
            tolerance: default_tolerance(),
        }
    }

    #[test]
    fn method_and_path_are_signed_where_the_template_says_so() {
        let scheme = |secret| {
            Hmac::new(&Options {
                signed: "{method} {path}\n{body}".into(),
                ..options(secret)
            })
            .unwrap()
        };
        signs_what_it_takes(&scheme("one"), &scheme("two"), true);
    }

    #[test]
    fn every_algorithm_and_spelling_signs_what_it_takes() {
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            for encoding in [Encoding::Hex, Encoding::Base64] {
                let scheme = |secret| {
                    Hmac::new(&Options {
                        algorithm,
                        encoding,
                        ..options(secret)
                    })
                    .unwrap()
                };
                signs_what_it_takes(&scheme("one"), &scheme("two"), true);
            }
        }
    }

    #[test]
    fn slacks_published_vector_holds() {
        let slack = Options {
            header: "x-slack-signature".into(),
            prefix: "v0=".into(),
            signed: "v0:{timestamp}:{body}".into(),
            timestamp_header: Some("x-slack-request-timestamp".into()),
            ..options("8f742231b10e8888abcd99yyyzzz85a5")
        };
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let headers = [
            ("x-slack-signature", signature),
            ("x-slack-request-timestamp", "1531420618"),
        ];
        let scheme = Hmac::new(&slack).unwrap();
        assert!(
            Case::new(&headers, body, 1_531_420_618)
                .check(&scheme)
                .is_ok()
        );
        assert!(
            Case::new(&headers, body, 1_531_420_918)
                .check(&scheme)
                .is_ok()
        );
        assert_eq!(
            Case::new(&headers, body, 1_531_420_919).check(&scheme),
            Err(Refusal::Stale)
        );
        assert_eq!(
            Case::new(&headers, "other", 1_531_420_618).check(&scheme),
            Err(Refusal::Wrong)
        );
        // The time is looked at before anything is computed.
        assert_eq!(
            Case::new(&headers, "other", 1_531_420_919).check(&scheme),
            Err(Refusal::Stale)
        );
    }

    #[test]
    fn descriptions_that_would_verify_nothing_are_refused() {
        let error = |options: Options| Hmac::new(&options).unwrap_err();
        assert!(
            error(Options {
                signed: "{timestamp}".into(),
                ..options("s")
            })
            .contains("{body}")
        );
        assert!(
            error(Options {
                signed: "{timestamp}{body}".into(),
                ..options("s")
            })
            .contains("timestamp_header")
        );
        assert!(
            error(Options {
                signed: "{body}{nonsense}".into(),
                ..options("s")
            })
            .contains("only")
        );
        assert!(
            error(Options {
                signed: "{body".into(),
                ..options("s")
            })
            .contains("without")
        );
        assert!(
            error(Options {
                header: "no good".into(),
                ..options("s")
            })
            .contains("header")
        );
    }
}
