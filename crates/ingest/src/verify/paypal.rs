//! `paypal`: PayPal's webhooks (developer.paypal.com, "Integrate webhooks", "Self verification"): RSA with SHA-256
//! over the transmission's id and time, the webhook's id and the body's CRC-32, with a key whose certificate PayPal
//! publishes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use domain::Secret;
use serde::Deserialize;

use crate::json::texts;

use super::certificate::{Certificates, Hash, place};
use super::{
    About, CannotSign, Consumed, Identity, KeyDoc, Received, Refusal, Sample, Scheme, Secrets,
    Sender, Signed, Unsigned, text,
};

pub(super) const ABOUT: About = About {
    dedup: "`id` in the body",
    sender: Sender {
        timeout: None,
        retries: "up to 25 more tries over 3 days",
        window: Some(std::time::Duration::from_secs(3 * 86_400)),
    },
    keys: &[KeyDoc::new(
        "webhook_ids",
        "list of strings",
        "at least one",
        "The ids that PayPal gave the webhook. They are part of what is signed.",
        "",
    )],
    least: "webhook_ids = [\"1JE4291016473214C\"]",
    guessable: false,
    ..About::new(
        "paypal",
        "PayPal: `PAYPAL-TRANSMISSION-SIG`, RSA with SHA-256 over transmission, webhook id and the body's CRC-32. Certificates are fetched from hosts of `paypal.com` alone.",
    )
};

/// The webhooks that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Their ids.
    webhook_ids: Vec<String>,
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[std::path::PathBuf]) {
        (&[], &[])
    }
}

/// Whether a certificate may be looked for there.
fn is_certificate(url: &str) -> bool {
    place(url).is_some_and(|(host, path)| {
        let ours = host == "paypal.com" || host.ends_with(".paypal.com");
        let name = path.strip_prefix("/v1/notifications/certs/");
        // One name a certificate, or it could be asked for under ever new ones.
        ours && name.is_some_and(|name| !name.is_empty() && !name.contains(['/', '.']))
    })
}

/// The scheme.
#[derive(Debug)]
pub(super) struct PayPal {
    webhook_ids: Vec<String>,
    certificates: Certificates,
}

impl PayPal {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        if options.webhook_ids.is_empty() || options.webhook_ids.iter().any(String::is_empty) {
            return Err("webhook_ids must name at least one: without it, what PayPal signed for others would be taken".into());
        }
        Ok(Self {
            webhook_ids: options.webhook_ids.clone(),
            certificates: Certificates::default(),
        })
    }
}

/// The certificate's place, as the request names it.
fn certificate<'a>(request: &Received<'a>) -> Result<&'a str, Refusal> {
    let url = text(request.headers, "paypal-cert-url")?;
    if is_certificate(url) {
        Ok(url)
    } else {
        Err(Refusal::Malformed)
    }
}

fn signed(id: &str, time: &str, webhook_id: &str, body: &[u8]) -> String {
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, body);
    format!("{id}|{time}|{webhook_id}|{crc}")
}

impl Scheme for PayPal {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn wants(&self, request: &Received<'_>) -> Result<Option<String>, Refusal> {
        let url = certificate(request)?;
        Ok((!self.certificates.has(url)).then(|| url.to_owned()))
    }

    fn learn(&self, place: &str, certificate: &[u8]) -> Result<(), String> {
        self.certificates.learn(place, certificate)
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let of = |name| text(request.headers, name);
        let (id, time) = (
            of("paypal-transmission-id")?,
            of("paypal-transmission-time")?,
        );
        let given = STANDARD.decode(of("paypal-transmission-sig")?);
        let given = given.map_err(|_| Refusal::Malformed)?;
        if !of("paypal-auth-algo")?.eq_ignore_ascii_case("SHA256withRSA") {
            return Err(Refusal::Malformed);
        }
        let place = certificate(request)?;
        let fits = |webhook_id: &String| {
            let signed = signed(id, time, webhook_id, request.body);
            let signed = signed.as_bytes();
            self.certificates
                .check(place, Hash::Sha256, signed, &given)
                .is_ok()
        };
        if self.webhook_ids.iter().any(fits) {
            Ok(Consumed::Nothing)
        } else {
            Err(Refusal::Wrong)
        }
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let [id, event_type] = texts(request.body, ["id", "event_type"]);
        Identity::of(id.as_deref(), event_type.as_deref())
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Err(CannotSign)
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "id": format!("WH-{id}"),
            "event_type": "PAYMENT.CAPTURE.COMPLETED",
            "summary": text,
        }))
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Case;
    use super::super::certificate::tests::Sender;
    use super::*;

    const CERTIFICATE: &str =
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270";

    fn scheme(ids: &[&str]) -> Result<PayPal, String> {
        let options = serde_json::json!({ "webhook_ids": ids });
        PayPal::new(&serde_json::from_value(options).unwrap())
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(signed("i", "t", "w", b"123456789"), "i|t|w|3421780262");
    }

    #[test]
    fn what_was_signed_for_one_of_our_webhooks_is_taken() {
        let sender = Sender::new();
        let known = scheme(&["WH-NEW", "WH-OLD"]).unwrap();
        known.learn(CERTIFICATE, sender.pem.as_bytes()).unwrap();
        let (id, time, body) = (
            "69cd13f0",
            "2016-02-18T20:01:35Z",
            r#"{"id":"WH-1","event_type":"A.B"}"#,
        );
        let signature = |webhook: &str| {
            STANDARD.encode(sender.sign(signed(id, time, webhook, body.as_bytes()).as_bytes()))
        };
        let case = |signature: &str, id: &str, body: &str| {
            let headers = [
                ("paypal-transmission-id", id),
                ("paypal-transmission-time", time),
                ("paypal-transmission-sig", signature),
                ("paypal-cert-url", CERTIFICATE),
                ("paypal-auth-algo", "SHA256withRSA"),
            ];
            Case::new(&headers, body, 0)
        };
        let good = case(&signature("WH-OLD"), id, body);
        assert_eq!(good.check(&known), Ok(Consumed::Nothing));
        assert_eq!(
            good.identity(&known),
            Identity::of(Some("WH-1"), Some("A.B"))
        );
        let foreign = case(&signature("WH-OTHER"), id, body);
        assert_eq!(foreign.check(&known), Err(Refusal::Wrong));
        let changed = case(&signature("WH-OLD"), id, "{}");
        assert_eq!(changed.check(&known), Err(Refusal::Wrong));
        let renamed = case(&signature("WH-OLD"), "69cd13f1", body);
        assert_eq!(renamed.check(&known), Err(Refusal::Wrong));
        let mut weak = case(&signature("WH-OLD"), id, body);
        weak.headers.insert(
            "paypal-auth-algo",
            http::HeaderValue::from_static("SHA1withRSA"),
        );
        assert_eq!(weak.check(&known), Err(Refusal::Malformed));
        assert_eq!(Case::new(&[], body, 0).check(&known), Err(Refusal::Missing));
        assert!(scheme(&[]).is_err() && scheme(&[""]).is_err());
    }

    #[test]
    fn a_certificate_is_looked_for_at_paypal_alone() {
        assert!(is_certificate(CERTIFICATE));
        for bad in [
            "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
            "https://evilpaypal.com/v1/notifications/certs/CERT-1",
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com/v1/other/CERT-1",
            "https://api.paypal.com/v1/notifications/certs/../../x",
            // The same certificate under ever new names.
            "https://api.paypal.com/v1/notifications/certs//CERT-1",
            "https://api.paypal.com/v1/notifications/certs/./CERT-1",
            "https://api.paypal.com/v1/notifications/certs/",
        ] {
            assert!(!is_certificate(bad), "{bad}");
        }
    }
}
