//! `hmac`: a signature described by its options, for senders without a scheme of their own.

use std::path::PathBuf;

use domain::{HumanDuration, Secret};
use http::HeaderName;
use serde::Deserialize;

use super::about::{SECRET, SECRET_FILE, TOLERANCE};
use super::signature::{Algorithm, Encoding, HmacKeys, given, recent};
use super::{
    About, CannotSign, Consumed, KeyDoc, Received, Refusal, Scheme, Secrets, Signed, Unsigned, text,
};

pub(super) const ABOUT: About = About {
    keys: &[
        SECRET,
        SECRET_FILE,
        KeyDoc::new(
            "header",
            "string",
            "a header's name",
            "The header with the signature.",
            "",
        ),
        KeyDoc::new(
            "prefix",
            "string",
            "",
            "What stands before the signature in that header, as `sha256=`.",
            "\"\"",
        ),
        KeyDoc::new(
            "algorithm",
            "string",
            "`sha256`, `sha512`, `sha1`",
            "The hash under the HMAC.",
            "\"sha256\"",
        ),
        KeyDoc::new(
            "encoding",
            "string",
            "`hex`, `base64`",
            "How the signature is spelt.",
            "\"hex\"",
        ),
        KeyDoc::new(
            "signed",
            "string",
            "must have `{body}`",
            "What is signed: text with `{body}`, `{timestamp}`, `{method}`, `{path}` (with the query) and `{url}` (needs the source's `public_url`).",
            "\"{body}\"",
        ),
        KeyDoc::new(
            "timestamp_header",
            "string",
            "with `{timestamp}` in `signed`",
            "The header with the time of signing, in seconds since 1970.",
            "",
        ),
        TOLERANCE,
    ],
    least: "secrets = [\"0123456789abcdef\"], header = \"x-signature\"",
    ..About::new(
        "hmac",
        "A signature that you describe, for senders without a scheme of their own.",
    )
};

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
    /// What is signed: text with `{body}`, `{timestamp}`, `{method}`, `{path}` and `{url}`. Default `"{body}"`.
    #[serde(default = "default_template")]
    signed: String,
    /// The header with the time of signing, in seconds since 1970. Needed if `signed` has
    /// `{timestamp}`.
    timestamp_header: Option<String>,
    /// How far that time may be from ours. Default `"5m"`.
    #[serde(
        default = "default_tolerance",
        deserialize_with = "super::keys::at_least_a_second"
    )]
    tolerance: HumanDuration,
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    Timestamp,
    Method,
    Path,
    Url,
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Hmac {
    keys: HmacKeys,
    header: HeaderName,
    prefix: String,
    encoding: Encoding,
    template: Vec<Piece>,
    timestamp_header: Option<HeaderName>,
    tolerance: HumanDuration,
}

impl Hmac {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
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
            keys: HmacKeys::load(options, options.algorithm)?,
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

    /// What is signed, in order.
    fn parts<'p>(&'p self, timestamp: &'p str, message: Message<'p>) -> Vec<&'p [u8]> {
        let part = |piece: &'p Piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Body => message.body,
            Piece::Timestamp => timestamp.as_bytes(),
            Piece::Method => message.method.as_bytes(),
            Piece::Path => message.path.as_bytes(),
            Piece::Url => message.url.as_bytes(),
        };
        self.template.iter().map(part).collect()
    }
}

/// The parts of a request that may be signed.
#[derive(Clone, Copy)]
struct Message<'m> {
    method: &'m str,
    path: &'m str,
    url: &'m str,
    body: &'m [u8],
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
            "url" => Piece::Url,
            _ => {
                return Err(
                    "signed may contain {body}, {timestamp}, {method}, {path} and {url} only"
                        .into(),
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
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn signs_url(&self) -> bool {
        self.template.contains(&Piece::Url)
    }

    fn hmac_of(&self, text: &[u8]) -> Option<Vec<u8>> {
        // Where more than the body is signed, the text could be the whole of what is signed of an event.
        let body_alone = self.template == [Piece::Body];
        body_alone.then(|| self.keys.sign(&[text]).as_ref().to_vec())
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let header = self.header.as_str();
        let signature = given(request.headers, header, &self.prefix, self.encoding)?;
        let timestamp = match &self.timestamp_header {
            Some(name) => text(request.headers, name.as_str())?,
            None => "",
        };
        if self.timestamp_header.is_some() {
            recent(request.now, timestamp, self.tolerance)?;
        }
        let message = Message {
            method: request.method,
            path: request.path,
            url: request.url.unwrap_or_default(),
            body: request.body,
        };
        self.keys
            .check(&signature, &self.parts(timestamp, message))?;
        Ok(Consumed::Nothing)
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let timestamp = request.now.as_second().to_string();
        let message = Message {
            method: "POST",
            path: request.path,
            url: request.url.unwrap_or_default(),
            body: request.body,
        };
        let tag = self.keys.sign(&self.parts(&timestamp, message));
        let spelt = format!("{}{}", self.prefix, self.encoding.encode(tag));
        let mut signed = Signed::with([(self.header.as_str(), spelt)]);
        let name = self.timestamp_header.iter();
        signed
            .headers
            .extend(name.map(|name| (name.as_str().to_owned(), timestamp.clone())));
        Ok(signed)
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
