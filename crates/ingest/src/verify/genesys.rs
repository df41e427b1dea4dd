//! `genesys-open-messaging`: the outbound webhook of a Genesys Cloud Open Messaging integration.
//!
//! `X-Hub-Signature-256: sha256=` and the base64 of HMAC-SHA256 over the body. GitHub and Meta use the
//! same header with hex. No timestamp is signed, so a captured post stays valid for ever: repeats are
//! recognised instead. Receipts reuse the id of the message they speak of, so the id alone is not enough
//! (developer.genesys.cloud, Open Messaging, "Receive webhooks"; Genesys' sample repositories).

use std::borrow::Cow;
use std::path::PathBuf;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use serde::Deserialize;

use crate::json;

use super::keys::{Keys, short};
use super::{Proven, Received, Refusal, Scheme, Signed, Unsigned, text};

const HEADER: &str = "x-hub-signature-256";
const PREFIX: &str = "sha256=";
/// Bytes of HMAC-SHA256.
const SIGNATURE: usize = 32;

/// The integration's secrets and the spelling of its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Secrets, the newest first: the first one signs, all of them verify. It is the integration's
    /// `outboundNotificationWebhookSignatureSecretToken`.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    /// How signatures are spelt: `"base64"` (default) or `"hex"`.
    #[serde(default)]
    encoding: Encoding,
    /// Whether a signature over the body without the white space between its tokens is taken as well,
    /// which is what samples sign that parse and stringify it. Default `false`.
    #[serde(default)]
    accept_compact: bool,
}

impl Options {
    /// Where its secrets are that have fewer bytes than `least`.
    pub(super) fn short_secrets(&self, least: usize) -> Vec<String> {
        short(&self.secrets, &self.secret_files, least)
    }
}

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

/// The scheme.
#[derive(Debug)]
pub(super) struct Genesys {
    keys: Keys<hmac::Key>,
    encoding: Encoding,
    accept_compact: bool,
}

impl Genesys {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let parse = |secret: &Secret| {
            Ok(hmac::Key::new(
                hmac::HMAC_SHA256,
                secret.expose().as_bytes(),
            ))
        };
        let keys = Keys::load(&options.secrets, &options.secret_files, parse)?;
        Ok(Self {
            keys,
            encoding: options.encoding,
            accept_compact: options.accept_compact,
        })
    }

    /// Whether the signature is over the body, or over its compact form where that is taken.
    fn matches(&self, body: &[u8], signature: &[u8]) -> bool {
        let keys = self.keys.current();
        if signature.len() != SIGNATURE {
            return false;
        }
        if keys
            .iter()
            .any(|key| hmac::verify(key, body, signature).is_ok())
        {
            return true;
        }
        if !self.accept_compact {
            return false;
        }
        let mut contexts: Vec<_> = keys.iter().map(hmac::Context::with_key).collect();
        json::compact(body, |piece| {
            for context in &mut contexts {
                context.update(piece);
            }
        });
        let proven = contexts
            .into_iter()
            .any(|context| super::same(context.sign().as_ref(), signature));
        // Taken apart by white space, a token is another one: then this is not the body that was signed.
        proven && json::is_json(body)
    }
}

/// The parts of a message that tell one from another.
#[derive(Debug, Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    channel: Channel<'a>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
struct Channel<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
}

fn read(body: &[u8]) -> Proven {
    let Ok(Message {
        id: Some(id),
        channel,
        kind,
        status,
    }) = serde_json::from_slice(body)
    else {
        return Proven::default();
    };
    let part = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).unwrap_or_default();
    let event_type = kind.clone().map(Cow::into_owned);
    if id.is_empty() {
        return Proven {
            event_type,
            ..Proven::default()
        };
    }
    let dedup = vec![
        part(channel.id),
        part(kind),
        id.into_owned(),
        part(channel.time),
        part(status),
    ];
    Proven {
        dedup,
        event_type,
        consumed: None,
    }
}

impl Scheme for Genesys {
    fn name(&self) -> &'static str {
        "genesys-open-messaging"
    }

    fn verify(&self, request: &Received<'_>) -> Result<Proven, Refusal> {
        let given = text(request.headers, HEADER)?
            .strip_prefix(PREFIX)
            .ok_or(Refusal::Malformed)?;
        let signature = match self.encoding {
            Encoding::Base64 => STANDARD.decode(given).map_err(|_| Refusal::Malformed)?,
            Encoding::Hex => hex::decode(given).map_err(|_| Refusal::Malformed)?,
        };
        if self.matches(request.body, &signature) {
            Ok(read(request.body))
        } else {
            Err(Refusal::Wrong)
        }
    }

    fn sign(&self, request: &Unsigned<'_>) -> Signed {
        let signature = hmac::sign(&self.keys.current()[0], request.body);
        let spelt = match self.encoding {
            Encoding::Base64 => STANDARD.encode(signature),
            Encoding::Hex => hex::encode(signature),
        };
        Signed {
            headers: vec![(HEADER.into(), format!("{PREFIX}{spelt}"))],
        }
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, signs_what_it_takes};
    use super::*;

    fn options(secrets: &[&str]) -> Options {
        Options {
            secrets: secrets
                .iter()
                .map(|secret| Secret::new((*secret).into()))
                .collect(),
            secret_files: vec![],
            encoding: Encoding::Base64,
            accept_compact: false,
        }
    }

    fn scheme(secrets: &[&str]) -> Genesys {
        Genesys::new(&options(secrets)).unwrap()
    }

    #[test]
    fn both_secrets_of_a_rotation_are_taken() {
        let rotating = scheme(&["the new secret of the two", "the old secret of the two"]);
        signs_what_it_takes(&rotating, &scheme(&["a stranger's secret"]), true);
        let old = scheme(&["the old secret of the two"]).sign(&Unsigned::of(b"{}"));
        let headers: Vec<_> = old
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert!(Case::new(&headers, "{}", 0).check(&rotating).is_ok());
    }

    #[test]
    fn the_vector_github_publishes_holds_in_hex_and_not_in_base64() {
        // The header and algorithm are GitHub's; only the spelling differs.
        let value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let case = Case::new(&[(HEADER, value)], "Hello, World!", 0);
        let secret = "It's a Secret to Everybody";
        let hex = Genesys::new(&Options {
            encoding: Encoding::Hex,
            ..options(&[secret])
        })
        .unwrap();
        assert!(case.check(&hex).is_ok());
        assert!(case.check(&scheme(&[secret])).is_err());
    }

    #[test]
    fn garbled_signatures_are_refused() {
        let scheme = scheme(&["secret"]);
        let check = |value: &str| Case::new(&[(HEADER, value)], "{}", 0).check(&scheme);
        assert_eq!(check("sha1=AAAA"), Err(Refusal::Malformed));
        assert_eq!(check("sha256=***"), Err(Refusal::Malformed));
        assert_eq!(check("sha256="), Err(Refusal::Wrong));
        assert_eq!(check("sha256=AAAA"), Err(Refusal::Wrong));
    }

    #[test]
    fn the_compact_form_is_taken_only_on_request() {
        let compact = scheme(&["secret"]).sign(&Unsigned::of(b"{\"a\":1}"));
        let headers: Vec<_> = compact
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let case = Case::new(&headers, "{ \"a\": 1 }", 0);
        assert_eq!(case.check(&scheme(&["secret"])), Err(Refusal::Wrong));
        let lenient = Genesys::new(&Options {
            accept_compact: true,
            ..options(&["secret"])
        })
        .unwrap();
        assert!(case.check(&lenient).is_ok());
    }

    #[test]
    fn the_compact_form_keeps_the_order_of_keys_and_everything_within_strings() {
        let lenient = Genesys::new(&Options {
            accept_compact: true,
            ..options(&["secret"])
        })
        .unwrap();
        let check = |signed: &str, body: &str| {
            let signed = lenient.sign(&Unsigned::of(signed.as_bytes()));
            let headers: Vec<_> = signed
                .headers
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            Case::new(&headers, body, 0).check(&lenient)
        };
        let message = r#"{"id":"m1","channel":{"id":"c 1"},"text":"a \" b \\ ","n":[1,2]}"#;
        let spaced = "{\r\n\t\"id\" : \"m1\", \"channel\":{ \"id\":\"c 1\" },\n \"text\": \"a \\\" b \\\\ \" , \"n\":[ 1 , 2 ] } \n";
        let proven = check(message, spaced).unwrap();
        assert_eq!(proven.dedup[..3], ["c 1", "", "m1"]);
        assert_eq!(
            check(message, &spaced.replace("c 1", "c  1")),
            Err(Refusal::Wrong)
        );
        // White space that takes a token apart is not insignificant.
        assert_eq!(check("[12]", "[1 2]"), Err(Refusal::Wrong));
        assert_eq!(check("[true]", "[tr ue]"), Err(Refusal::Wrong));
        let long = format!("[{}0]", "0, ".repeat(100_000));
        assert!(check(&long.replace(' ', ""), &long).is_ok());
    }

    #[test]
    fn a_receipt_is_not_taken_for_a_repeat_of_its_message() {
        let message = r#"{"id":"m1","channel":{"id":"c","time":"t1"},"type":"Text","text":"hi"}"#;
        let receipt =
            r#"{"id":"m1","channel":{"id":"c","time":"t1"},"type":"Receipt","status":"Delivered"}"#;
        let read_receipt =
            r#"{"id":"m1","channel":{"id":"c","time":"t1"},"type":"Receipt","status":"Read"}"#;
        let keys: Vec<_> = [message, receipt, read_receipt]
            .iter()
            .map(|body| read(body.as_bytes()).dedup)
            .collect();
        assert!(keys[0] != keys[1] && keys[1] != keys[2]);
        assert_eq!(read(message.as_bytes()).event_type.as_deref(), Some("Text"));
        let nameless = read(br#"{"id":"","channel":{"id":"c","time":"t1"},"type":"Text"}"#);
        assert_eq!(nameless.event_type.as_deref(), Some("Text"));
        assert!(nameless.dedup.is_empty());
        assert_eq!(read(b"{}"), Proven::default());
        assert_eq!(read(b"not json"), Proven::default());
    }
}
