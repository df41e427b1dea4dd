//! `genesys-open-messaging`: the outbound webhook of a Genesys Cloud Open Messaging integration.
//!
//! `X-Hub-Signature-256: sha256=` and the base64 of HMAC-SHA256 over the body. GitHub and Meta use the
//! same header with hex. No timestamp is signed, so a captured post stays valid for ever: repeats are
//! recognised instead. Receipts reuse the id of the message they speak of, so the id alone is not enough
//! (developer.genesys.cloud, Open Messaging, "Receive webhooks"; Genesys' sample repositories).

use std::borrow::Cow;
use std::path::PathBuf;

use aws_lc_rs::hmac;
use domain::Secret;
use serde::Deserialize;

use crate::json;

use super::about::{SECRET, SECRET_FILE};
use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Identity, KeyDoc, Received, Refusal, Sample, Scheme, Secrets,
    Sender, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    dedup: "`channel.id`, `type`, `id`, `channel.time` and `status`, all the same",
    sender: Sender::new(
        10,
        "5 more tries, 5 s apart, after 429, 5xx or no answer",
        85,
    ),
    keys: &[
        SECRET,
        SECRET_FILE,
        KeyDoc::new(
            "encoding",
            "string",
            "`base64`, `hex`",
            "How the signature is spelt.",
            "\"base64\"",
        ),
        KeyDoc::new(
            "accept_compact",
            "boolean",
            "",
            "Whether a signature over the body's compact JSON is taken as well, as some samples make it.",
            "false",
        ),
    ],
    ..About::new(
        "genesys-open-messaging",
        "Genesys Cloud Open Messaging, see [Genesys Cloud](genesys.md).",
    )
};

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

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
    }
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Genesys {
    keys: HmacKeys,
    encoding: Encoding,
    accept_compact: bool,
}

impl Genesys {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        Ok(Self {
            keys: HmacKeys::load(options, Algorithm::Sha256)?,
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

fn read(body: &[u8]) -> Identity {
    let Ok(Message {
        id: Some(id),
        channel,
        kind,
        status,
    }) = serde_json::from_slice(body)
    else {
        return Identity::default();
    };
    let part = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).unwrap_or_default();
    let event_type = kind.clone().map(Cow::into_owned);
    if id.is_empty() {
        return Identity {
            event_type,
            ..Identity::default()
        };
    }
    let dedup = vec![
        part(channel.id),
        part(kind),
        id.into_owned(),
        part(channel.time),
        part(status),
    ];
    Identity { dedup, event_type }
}

impl Scheme for Genesys {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, HEADER, PREFIX, self.encoding)?;
        if self.matches(request.body, &signature) {
            Ok(Consumed::Nothing)
        } else {
            Err(Refusal::Wrong)
        }
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        read(request.body)
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let spelt = self.encoding.encode(self.keys.sign(&[request.body]));
        Ok(Signed::with([(HEADER, format!("{PREFIX}{spelt}"))]))
    }

    /// An outbound text message.
    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "id": id,
            "channel": {
                "id": "5a1d2f7e-0000-4000-8000-000000000001",
                "platform": "Open",
                "type": "Private",
                "messageId": id,
                "to": { "id": "customer-1", "idType": "Opaque" },
                "from": { "nickname": "Agent", "id": "agent-1", "idType": "Opaque" },
                "time": "2026-01-31T12:00:00.000Z",
            },
            "type": "Text",
            "text": text,
            "direction": "Outbound",
            "conversationId": uuid::Uuid::new_v4(),
        }))
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
        let old = scheme(&["the old secret of the two"])
            .sign(&Unsigned::of(b"{}"))
            .unwrap();
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
        let compact = scheme(&["secret"])
            .sign(&Unsigned::of(b"{\"a\":1}"))
            .unwrap();
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
            let signed = lenient.sign(&Unsigned::of(signed.as_bytes())).unwrap();
            let headers: Vec<_> = signed
                .headers
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            Case::new(&headers, body, 0).check(&lenient)
        };
        let message = r#"{"id":"m1","channel":{"id":"c 1"},"text":"a \" b \\ ","n":[1,2]}"#;
        let spaced = "{\r\n\t\"id\" : \"m1\", \"channel\":{ \"id\":\"c 1\" },\n \"text\": \"a \\\" b \\\\ \" , \"n\":[ 1 , 2 ] } \n";
        check(message, spaced).unwrap();
        assert_eq!(read(spaced.as_bytes()).dedup[..3], ["c 1", "", "m1"]);
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
        assert_eq!(read(b"{}"), Identity::default());
        assert_eq!(read(b"not json"), Identity::default());
    }
}
