//! `sendgrid`: SendGrid's event webhook (twilio.com/docs/sendgrid, "Event Webhook security features"): ECDSA on P-256
//! with SHA-256 over time and body, checked with the public key that SendGrid shows.
//!
//! The time is not held against ours: SendGrid says of none how old it may be, and tries again for a day.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;

use crate::json::{text_at, texts};

use super::keys::Keys;
use super::signature::{Encoding, given, is_time};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, SecretOptions,
    Secrets, Sender, Signed, Split, Unsigned, text,
};

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

pub(super) const ABOUT: About = About {
    dedup: "of an item, `sg_event_id`; with `split = \"scheme\"`",
    sender: Sender {
        timeout: None,
        retries: "for 24 hours, ever less often",
        window: Some(std::time::Duration::from_secs(86_400)),
    },
    least: "secrets = [\"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==\"]",
    guessable: false,
    ..About::new(
        "sendgrid",
        "SendGrid: `X-Twilio-Email-Event-Webhook-Signature`, ECDSA over time and body. A secret is the verification key that SendGrid shows, which is public. A body is an array of events: `split = \"scheme\"` takes it apart.",
    )
};

/// The object identifiers of a public key on P-256, and the point that follows them (RFC 5480).
const PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn point(secret: &Secret) -> Result<Vec<u8>, String> {
    let none = || "is not the verification key: base64, and an ECDSA key on P-256".to_owned();
    let key = STANDARD.decode(secret.expose()).map_err(|_| none())?;
    let point = key.strip_prefix(PREFIX).ok_or_else(none)?;
    if point.len() == 65 && point[0] == 4 {
        Ok(point.to_vec())
    } else {
        Err(none())
    }
}

/// The scheme.
#[derive(Debug)]
pub(super) struct SendGrid {
    keys: Keys<Vec<u8>>,
}

impl SendGrid {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        let (secrets, files) = options.secrets();
        let keys = Keys::load(secrets, files, point)?;
        Ok(Self { keys })
    }
}

impl Scheme for SendGrid {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, SIGNATURE, "", Encoding::Base64)?;
        let timestamp = text(request.headers, TIMESTAMP)?;
        // Nothing stands between the time and the body.
        if !is_time(timestamp) {
            return Err(Refusal::Malformed);
        }
        let mut signed = Vec::with_capacity(timestamp.len() + request.body.len());
        signed.extend_from_slice(timestamp.as_bytes());
        signed.extend_from_slice(request.body);
        let fits = |point: &Vec<u8>| {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
            key.verify(&signed, &signature).is_ok()
        };
        if self.keys.current().iter().any(fits) {
            Ok(Consumed::Nothing)
        } else {
            Err(Refusal::Wrong)
        }
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        Identity::of(None, text_at(request.body, "/0/event").as_deref())
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        let [id, event] = texts(item, ["sg_event_id", "event"]);
        Identity::of(id.as_deref(), event.as_deref())
    }

    fn split(&self) -> Option<Split> {
        Some(Split::Array(String::new()))
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Err(CannotSign)
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!([{
            "email": "alice@example.com",
            "event": "processed",
            "sg_event_id": id,
            "sg_message_id": text,
            "timestamp": 1_769_860_800,
        }]))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret};
    use super::*;

    const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    const GOOD: &str = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    /// The vector of SendGrid's own libraries; the line end at its end is signed.
    const BODY: &str = "[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n";

    fn check(signature: &str, timestamp: &str, body: &str) -> Result<Consumed, Refusal> {
        let headers = [(SIGNATURE, signature), (TIMESTAMP, timestamp)];
        let known = SendGrid::new(&secret(KEY)).unwrap();
        Case::new(&headers, body, 0).check(&known)
    }

    #[test]
    fn the_vector_of_the_library_holds_and_no_byte_of_it_may_change() {
        assert_eq!(check(GOOD, "1600112502", BODY), Ok(Consumed::Nothing));
        assert_eq!(check(GOOD, "1600112503", BODY), Err(Refusal::Wrong));
        assert_eq!(
            check(GOOD, "1600112502", BODY.trim_end()),
            Err(Refusal::Wrong)
        );
        assert_eq!(check("AAAA", "1600112502", BODY), Err(Refusal::Wrong));
        assert_eq!(check("?", "1600112502", BODY), Err(Refusal::Malformed));
        // Time and body are signed one behind the other: what is the one's is not the other's.
        let moved = [
            ("160011250", format!("2{BODY}")),
            ("1600112502[", BODY[1..].to_owned()),
        ];
        for (time, body) in moved {
            assert_eq!(check(GOOD, time, &body), Err(Refusal::Malformed), "{time}");
        }
        let without = Case::new(&[], BODY, 0).check(&SendGrid::new(&secret(KEY)).unwrap());
        assert_eq!(without, Err(Refusal::Missing));
    }

    #[test]
    fn what_is_no_key_is_named_without_being_quoted() {
        for bad in ["hunter2", "AAAA", &KEY[4..]] {
            let error = SendGrid::new(&secret(bad)).unwrap_err();
            assert!(
                error.contains("number 1") && !error.contains(bad),
                "{error}"
            );
        }
    }

    #[test]
    fn an_item_has_an_id_of_its_own() {
        let known = SendGrid::new(&secret(KEY)).unwrap();
        let item = known.identify_item(br#"{"sg_event_id":"s1","event":"open"}"#);
        assert_eq!(item, Identity::of(Some("s1"), Some("open")));
    }
}
