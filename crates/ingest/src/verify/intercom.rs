//! `intercom`: Intercom's webhooks (developers.intercom.com, "Webhook notifications"): WebSub's header with SHA-1,
//! which as an HMAC is still sound.

use crate::json::{speaks_of, texts};

use super::over_body::{Manner, OverBody};
use super::signature::{Algorithm, Encoding};
use super::{About, Handshake, Identity, Received, Reply, Sample, Sender};

pub(super) const ABOUT: About = About {
    dedup: "`id` in the body",
    handshake: "the `ping` that a new subscription is tried with",
    sender: Sender::new(5, "once more after a minute", 70),
    ..About::new(
        "intercom",
        "Intercom: `X-Hub-Signature`, an HMAC-SHA1 over the body in hex, with the app's client secret.",
    )
};

pub(super) type Intercom = OverBody<Notification>;

/// The manner.
#[derive(Debug)]
pub(super) struct Notification;

impl Manner for Notification {
    const ABOUT: About = ABOUT;
    const HEADER: &'static str = "x-hub-signature";
    const PREFIX: &'static str = "sha1=";
    const ENCODING: Encoding = Encoding::Hex;
    const ALGORITHM: Algorithm = Algorithm::Sha1;

    fn identify(request: &Received<'_>) -> Identity {
        let [id, topic] = texts(request.body, ["id", "topic"]);
        Identity::of(id.as_deref(), topic.as_deref())
    }

    fn answer(request: &Received<'_>) -> Option<Handshake> {
        if !speaks_of(request.body, "ping") {
            return None;
        }
        let [topic] = texts(request.body, ["topic"]);
        let is_ping = topic? == "ping";
        is_ping.then(|| Handshake::Answer(Reply::text("ok")))
    }

    fn sample(id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "type": "notification_event",
            "id": format!("notif_{id}"),
            "topic": "conversation.user.replied",
            "data": { "item": { "type": "conversation", "title": text } },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, reply, secret, signs_what_it_takes};
    use super::super::{Refusal, Scheme, Unsigned};
    use super::*;

    fn scheme(text: &str) -> Intercom {
        Intercom::new(&secret(text)).unwrap()
    }

    #[test]
    fn it_is_sha_1_and_nothing_else() {
        signs_what_it_takes(&scheme("one"), &scheme("two"), true);
        // RFC 2202, test case 2.
        let signature = "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        let body = "what do ya want for nothing?";
        let case = Case::new(&[("x-hub-signature", signature)], body, 0);
        case.check(&scheme("Jefe")).unwrap();
    }

    #[test]
    fn a_ping_is_answered_if_it_is_signed_and_is_no_event() {
        let known = scheme("one");
        let ping = r#"{"topic":"ping"}"#;
        let signed = known.sign(&Unsigned::of(ping.as_bytes())).unwrap();
        assert_eq!(
            reply(Case::signed(&signed, ping, 0).handshake(&known)),
            "ok"
        );
        let forged = Case::signed(&signed, r#"{"topic":"ping" }"#, 0).handshake(&known);
        assert_eq!(forged, Some(Handshake::Refused(Refusal::Wrong)));
        let event = r#"{"id":"n1","topic":"contact.created"}"#;
        let event = Case::new(&[], event, 0);
        assert_eq!(event.handshake(&known), None);
        let said = Identity::of(Some("n1"), Some("contact.created"));
        assert_eq!(event.identity(&known), said);
    }
}
