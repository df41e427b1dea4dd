//! `meta`: Meta's webhooks, WhatsApp's among them (developers.facebook.com, "Webhooks", "Getting started"): GitHub's
//! header, and a GET with a token that we chose.

use std::path::PathBuf;

use aws_lc_rs::digest;
use domain::Secret;
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::about::{SECRET, SECRET_FILE};
use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Handshake, Identity, KeyDoc, Received, Refusal, Reply, Sample,
    Scheme, Secrets, Sender, Signed, Split, Unsigned, same,
};

const HEADER: &str = "x-hub-signature-256";
const PREFIX: &str = "sha256=";

pub(super) const ABOUT: About = About {
    dedup: "the messages and the statuses that it tells of, each with all that is said of it",
    handshake: "a GET with `hub.mode=subscribe` and the `verify_token`: `hub.challenge` comes back",
    sender: Sender {
        timeout: None,
        retries: "for 36 hours; WhatsApp for 7 days",
        window: Some(std::time::Duration::from_secs(36 * 3600)),
    },
    keys: &[
        SECRET,
        SECRET_FILE,
        KeyDoc::new(
            "verify_token",
            "secret string",
            "not empty",
            "What was entered as the verify token; without it the GET is refused.",
            "",
        ),
    ],
    least: "secrets = [\"0123456789abcdef\"], verify_token = \"a-token\"",
    ..About::new(
        "meta",
        "Meta: Facebook, Instagram, Messenger, WhatsApp. `X-Hub-Signature-256`, an HMAC-SHA256 over the body in hex, with the app secret. `split = \"scheme\"` makes each `entry` an event.",
    )
};

/// The app's secret and the token of its handshake.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    /// The token of the handshake.
    #[serde(default)]
    verify_token: Option<Secret>,
}

impl Options {
    /// Whether Meta's GET can be answered.
    pub(super) const fn has_token(&self) -> bool {
        self.verify_token.is_some()
    }
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
    }
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Meta {
    keys: HmacKeys,
    verify_token: Option<Secret>,
}

impl Meta {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        if options.verify_token.as_ref().is_some_and(Secret::is_empty) {
            return Err("verify_token is empty".into());
        }
        Ok(Self {
            keys: HmacKeys::load(options, Algorithm::Sha256)?,
            verify_token: options.verify_token.clone(),
        })
    }
}

/// The parts of a body that tell one from another.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    changes: Vec<Change<'a>>,
    #[serde(borrow, default)]
    messaging: Vec<&'a RawValue>,
    /// What another app of the page is told.
    standby: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(default)]
    field: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Messaging {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    mid: String,
}

/// What a change of WhatsApp's tells of. Other products' changes have no ids.
#[derive(Deserialize)]
struct Value {
    #[serde(default)]
    messages: Vec<Told>,
    #[serde(default)]
    statuses: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    id: String,
}

/// What an entry tells of, each as a hash of all that is told; `None` where it tells nothing or anything in it has no
/// id: a part would stand for the whole. The id alone is no key: a message that is taken back and what became of it in
/// a group are told of under the id that it came with.
fn told(entry: &Entry<'_>) -> Option<Vec<String>> {
    let hash = |text: &RawValue| {
        let hash = digest::digest(&digest::SHA256, text.get().as_bytes());
        hex::encode(hash)
    };
    let of = entry.id.map(|id| id.get().to_owned());
    let mut all = vec![of.unwrap_or_default()];
    for change in &entry.changes {
        let value: Value = serde_json::from_str(change.value?.get()).ok()?;
        let mut told = value.messages.iter().chain(&value.statuses).peekable();
        told.peek()?;
        if told.any(|told| told.id.is_empty()) {
            return None;
        }
        all.extend([change.field.clone(), hash(change.value?)]);
    }
    for messaging in &entry.messaging {
        let told: Messaging = serde_json::from_str(messaging.get()).ok()?;
        told.message.filter(|message| !message.mid.is_empty())?;
        all.push(hash(messaging));
    }
    (all.len() > 1 && entry.standby.is_none()).then_some(all)
}

fn identity(entries: &[Entry<'_>]) -> Identity {
    let told: Option<Vec<_>> = entries.iter().map(told).collect();
    let first = entries.first();
    let event_type = first.and_then(|entry| match entry.changes.first() {
        Some(change) => Some(change.field.clone()),
        None if entry.messaging.is_empty() => None,
        None => Some("messaging".into()),
    });
    Identity {
        dedup: told.unwrap_or_default().concat(),
        event_type: event_type.filter(|text| !text.is_empty()),
    }
}

impl Scheme for Meta {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn greets(&self) -> &'static [Method] {
        &[Method::GET]
    }

    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        if request.method != "GET" || request.parameter("hub.mode")? != "subscribe" {
            return None;
        }
        let challenge = request.parameter("hub.challenge")?;
        let token = request.parameter("hub.verify_token").unwrap_or_default();
        let known = self.verify_token.as_ref();
        let fits = known.is_some_and(|known| same(known.expose().as_bytes(), token.as_bytes()));
        Some(if fits {
            Handshake::Answer(Reply::text(challenge.into_owned()))
        } else {
            Handshake::Refused(Refusal::Token)
        })
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, HEADER, PREFIX, Encoding::Hex)?;
        self.keys.check(&signature, &[request.body])?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            entry: Vec<Entry<'a>>,
        }
        let body: Result<Body<'_>, _> = serde_json::from_slice(request.body);
        body.map(|body| identity(&body.entry)).unwrap_or_default()
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        let entry: Result<Entry<'_>, _> = serde_json::from_slice(item);
        entry.map(|entry| identity(&[entry])).unwrap_or_default()
    }

    fn split(&self) -> Option<Split> {
        Some(Split::Array("/entry".into()))
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let spelt = hex::encode(self.keys.sign(&[request.body]));
        Ok(Signed::with([(HEADER, format!("{PREFIX}{spelt}"))]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "object": "whatsapp_business_account",
            "entry": [{
                "id": "102290129340398",
                "changes": [{
                    "field": "messages",
                    "value": {
                        "messaging_product": "whatsapp",
                        "messages": [{
                            "from": "16505551234",
                            "id": format!("wamid.{id}"),
                            "type": "text",
                            "text": { "body": text },
                        }],
                    },
                }],
            }],
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, reply, signs_what_it_takes};
    use super::*;

    fn scheme(secret: &str) -> Meta {
        let options = serde_json::json!({ "secrets": [secret], "verify_token": "meatyhamhock" });
        Meta::new(&serde_json::from_value(options).unwrap()).unwrap()
    }

    #[test]
    fn the_challenge_comes_back_to_who_knows_the_token() {
        let known = scheme("one");
        signs_what_it_takes(&known, &scheme("two"), true);
        let get = |query: &str| {
            let path = format!("/in/x?{query}");
            Case::new(&[], "", 0).by("GET").at(&path).handshake(&known)
        };
        let asked = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock";
        assert_eq!(reply(get(asked)), "1158201444");
        for wrong in ["meatyham", "", "MEATYHAMHOCK"] {
            let refused = get(&asked.replace("meatyhamhock", wrong));
            assert_eq!(refused, Some(Handshake::Refused(Refusal::Token)), "{wrong}");
        }
        assert_eq!(get("hub.mode=unsubscribe&hub.challenge=1"), None);
        assert_eq!(get(""), None);
    }

    #[test]
    fn without_a_token_nobody_is_answered() {
        let options = serde_json::json!({ "secrets": ["one"] });
        let known = Meta::new(&serde_json::from_value(options).unwrap()).unwrap();
        let get = Case::new(&[], "", 0)
            .by("GET")
            .at("/in/x?hub.mode=subscribe&hub.challenge=1&hub.verify_token=");
        let refused = Some(Handshake::Refused(Refusal::Token));
        assert_eq!(get.handshake(&known), refused);
    }

    #[test]
    fn a_body_is_known_by_all_that_it_tells_of_or_not_at_all() {
        let known = scheme("s");
        let of = |body: &str| Case::new(&[], body, 0).identity(&known);
        let body = r#"{"object":"o","entry":[{"id":"1","changes":[{"field":"messages","value":{"statuses":[{"id":"w1","status":"read"}],"messages":[{"id":"w2"}]}}]}]}"#;
        assert_eq!(of(body).dedup.len(), 3);
        assert_eq!(of(body).event_type.as_deref(), Some("messages"));
        let messenger = r#"{"entry":[{"id":"1","messaging":[{"message":{"mid":"m1"}}]}]}"#;
        let key = of(messenger).dedup;
        assert!(
            !key.is_empty() && of(&messenger.replace("\"1\"", "\"1\",\"time\":2")).dedup == key
        );
        assert_eq!(of(messenger).event_type.as_deref(), Some("messaging"));
        for nameless in [
            r#"{"entry":[{"changes":[{"field":"feed","value":{"item":"like"}}]}]}"#,
            r#"{"entry":[{"messaging":[{"message":{"mid":"m1"}},{"read":{"watermark":1}}]}]}"#,
            r#"{"entry":[{"messaging":[{"message":{"mid":"m1"}}]},{"standby":[{"message":{"mid":"m2"}}]}]}"#,
            r#"{"entry":[{"messaging":[{"message":{"mid":"m1"}}],"standby":[{"message":{"mid":"m2"}}]}]}"#,
            r#"{"entry":[{"messaging":[{"message":{"mid":""}}]}]}"#,
            r#"{"entry":[{"changes":[{"value":{"messages":[{"id":""}]}}]}]}"#,
            r#"{"entry":[]}"#,
            "{}",
            "not json",
        ] {
            assert!(of(nameless).dedup.is_empty(), "{nameless}");
        }
        let item = known.identify_item(br#"{"id":"1","messaging":[{"message":{"mid":"m1"}}]}"#);
        assert_eq!(item.dedup, key);
    }

    #[test]
    fn what_is_told_of_a_message_later_is_no_repeat_of_it() {
        let known = scheme("s");
        let of = |entry: &str| {
            let body = format!(r#"{{"entry":[{entry}]}}"#);
            Case::new(&[], &body, 0).identity(&known).dedup
        };
        for (one, next) in [
            // Instagram tells of a message that was taken back under its own id.
            (
                r#"{"messaging":[{"message":{"mid":"m1","text":"hi"}}]}"#,
                r#"{"messaging":[{"message":{"mid":"m1","is_deleted":true}}]}"#,
            ),
            // WhatsApp tells of a group's message once for each who got it.
            (
                r#"{"changes":[{"value":{"statuses":[{"id":"w1","status":"read","recipient_participant_id":"a"}]}}]}"#,
                r#"{"changes":[{"value":{"statuses":[{"id":"w1","status":"read","recipient_participant_id":"b"}]}}]}"#,
            ),
            // One page's message is the other's, too.
            (
                r#"{"id":"1","messaging":[{"message":{"mid":"m1"}}]}"#,
                r#"{"id":"2","messaging":[{"message":{"mid":"m1"}}]}"#,
            ),
        ] {
            assert!(!of(one).is_empty(), "{one}");
            assert_ne!(of(one), of(next), "{next}");
        }
    }
}
