//! `adyen`: Adyen's standard webhooks (docs.adyen.com, "Verify HMAC signatures"): each item in the body holds a
//! signature over eight of its fields, and the request may have Basic authentication besides.
//!
//! What the signature does not cover (`additionalData`, `reason`, `paymentMethod`…) is only as good as the way it came.

use std::path::PathBuf;

use aws_lc_rs::hmac;
use domain::Secret;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use super::about::{SECRET, SECRET_FILE};
use super::basic::Basic;
use super::signature::{Encoding, HmacKeys};
use super::{
    About, CannotSign, Consumed, Identity, KeyDoc, Received, Refusal, Sample, Scheme,
    SecretOptions, Secrets, Sender, Signed, Split, Unsigned,
};

pub(super) const ABOUT: About = About {
    dedup: "`eventCode`, `pspReference`, `success` and account of every item",
    sender: Sender::new(10, "for up to 30 days, ever less often", 30 * 86_400),
    keys: &[
        SECRET,
        SECRET_FILE,
        KeyDoc::new(
            "users",
            "list of secret strings",
            "each written `user:password`",
            "The Basic authentication that is asked for besides; empty: none. The header is not stored.",
            "[]",
        ),
    ],
    least: "secrets = [\"44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056\"]",
    // Adyen makes the keys, of 32 random bytes.
    guessable: false,
    ..About::new(
        "adyen",
        "Adyen's standard webhooks: `hmacSignature` of every item, an HMAC-SHA256 over its fields in base64. A secret is the HMAC key in hex. `split = \"scheme\"` makes each item an event.",
    )
};

/// The keys, and who may post.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    /// Credentials of the Basic authentication.
    #[serde(default)]
    users: Vec<Secret>,
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
    }
}

fn key(secret: &Secret) -> Result<hmac::Key, String> {
    match hex::decode(secret.expose()) {
        Ok(key) if !key.is_empty() => Ok(hmac::Key::new(hmac::HMAC_SHA256, &key)),
        _ => Err("is not an HMAC key in hex".into()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    notification_items: Vec<Wrapped>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wrapped {
    notification_request_item: Item,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(default)]
    psp_reference: String,
    #[serde(default)]
    original_reference: String,
    #[serde(default)]
    merchant_account_code: String,
    #[serde(default)]
    merchant_reference: String,
    #[serde(default)]
    amount: Amount,
    #[serde(default)]
    event_code: String,
    #[serde(default)]
    success: String,
    #[serde(default)]
    additional_data: Additional,
}

#[derive(Default, Deserialize)]
struct Amount {
    value: i64,
    currency: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Additional {
    hmac_signature: Option<String>,
}

impl Item {
    fn signed(&self) -> String {
        let amount = self.amount.value.to_string();
        [
            &*self.psp_reference,
            &self.original_reference,
            &self.merchant_account_code,
            &self.merchant_reference,
            &amount,
            &self.amount.currency,
            &self.event_code,
            &self.success,
        ]
        .join(":")
    }

    /// A report has the name of its file in place of a reference, which another account's may have as well.
    fn dedup(&self) -> Option<[String; 4]> {
        let named = !self.psp_reference.is_empty();
        let account = &self.merchant_account_code;
        let parts = [
            &self.event_code,
            &self.psp_reference,
            &self.success,
            account,
        ];
        named.then(|| parts.map(Clone::clone))
    }
}

/// Known only if each of them is: a part would stand for the whole.
fn identity(items: &[Wrapped]) -> Identity {
    let parts = items
        .iter()
        .map(|item| item.notification_request_item.dedup());
    let parts: Option<Vec<_>> = parts.collect();
    let first = items.first().map(|item| &item.notification_request_item);
    Identity {
        dedup: parts.unwrap_or_default().concat(),
        event_type: first
            .map(|item| item.event_code.clone())
            .filter(|code| !code.is_empty()),
    }
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Adyen {
    keys: HmacKeys,
    users: Option<Basic>,
}

impl Adyen {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let users = SecretOptions {
            secrets: options.users.clone(),
            secret_files: Vec::new(),
        };
        let users = (!users.secrets.is_empty()).then(|| Basic::new(&users));
        Ok(Self {
            keys: HmacKeys::of(options, key)?,
            users: users
                .transpose()
                .map_err(|reason| format!("users: {reason}"))?,
        })
    }
}

impl Scheme for Adyen {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        if let Some(users) = &self.users {
            users.verify(request)?;
        }
        let body: Body = serde_json::from_slice(request.body).map_err(|_| Refusal::Missing)?;
        if body.notification_items.is_empty() {
            return Err(Refusal::Missing);
        }
        for item in &body.notification_items {
            let item = &item.notification_request_item;
            let given = item.additional_data.hmac_signature.as_deref();
            let given = Encoding::Base64.decode(given.ok_or(Refusal::Missing)?)?;
            self.keys.check(&given, &[item.signed().as_bytes()])?;
        }
        Ok(match self.users {
            Some(_) => Consumed::Header(AUTHORIZATION),
            None => Consumed::Nothing,
        })
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let body: Result<Body, _> = serde_json::from_slice(request.body);
        body.map(|body| identity(&body.notification_items))
            .unwrap_or_default()
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        let item: Result<Wrapped, _> = serde_json::from_slice(item);
        item.map(|item| identity(&[item])).unwrap_or_default()
    }

    fn split(&self) -> Option<Split> {
        Some(Split::Array("/notificationItems".into()))
    }

    /// Puts a signature into every item of the body.
    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let headers = match &self.users {
            Some(users) => users.sign(request)?.headers,
            None => Vec::new(),
        };
        let read: Result<Body, _> = serde_json::from_slice(request.body);
        let read = read.map(|body| body.notification_items).unwrap_or_default();
        let mut body: serde_json::Value = serde_json::from_slice(request.body).unwrap_or_default();
        for (at, item) in read.iter().enumerate() {
            let signed = item.notification_request_item.signed();
            let signature = Encoding::Base64.encode(self.keys.sign(&[signed.as_bytes()]));
            let item = &mut body["notificationItems"][at]["NotificationRequestItem"];
            item["additionalData"]["hmacSignature"] = signature.into();
        }
        Ok(Signed {
            headers,
            body: Some(body.to_string().into_bytes()),
            path: None,
        })
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "live": "false",
            "notificationItems": [{
                "NotificationRequestItem": {
                    "additionalData": {},
                    "amount": { "currency": "EUR", "value": 1130 },
                    "pspReference": id,
                    "eventCode": "AUTHORISATION",
                    "merchantAccountCode": "TestMerchant",
                    "merchantReference": text,
                    "success": "true",
                },
            }],
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Case;
    use super::*;

    const KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

    fn scheme(users: &[&str]) -> Adyen {
        let options = serde_json::json!({ "secrets": [KEY], "users": users });
        Adyen::new(&serde_json::from_value(options).unwrap()).unwrap()
    }

    /// The vector of Adyen's own libraries (their tests of the HMAC validator).
    const BODY: &str = r#"{"live":"false","notificationItems":[{"NotificationRequestItem":{"additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},"amount":{"value":1130,"currency":"EUR"},"pspReference":"7914073381342284","eventCode":"AUTHORISATION","merchantAccountCode":"TestMerchant","merchantReference":"TestPayment-1407325143704","paymentMethod":"visa","success":"true"}}]}"#;

    #[test]
    fn the_vector_of_the_library_holds_and_no_signed_field_may_change() {
        let known = scheme(&[]);
        let check = |body: &str| Case::new(&[], body, 0).check(&known);
        assert_eq!(check(BODY), Ok(Consumed::Nothing));
        for (field, other) in [
            ("1130", "1131"),
            ("EUR", "USD"),
            ("7914073381342284", "7914073381342285"),
            ("AUTHORISATION", "REFUND"),
            ("\"true\"", "\"false\""),
        ] {
            let changed = BODY.replace(field, other);
            assert_eq!(check(&changed), Err(Refusal::Wrong), "{field}");
        }
        for none in [
            "",
            "{}",
            r#"{"notificationItems":[]}"#,
            &BODY.replace("hmacSignature", "other"),
        ] {
            assert_eq!(check(none), Err(Refusal::Missing), "{none}");
        }
    }

    #[test]
    fn one_unsigned_item_among_signed_ones_refuses_them_all() {
        let known = scheme(&[]);
        let item = &BODY[BODY.find("{\"Notif").unwrap()..BODY.len() - 2];
        let with = |second: &str| {
            Case::new(
                &[],
                &format!(r#"{{"notificationItems":[{item},{second}]}}"#),
                0,
            )
            .check(&known)
        };
        assert_eq!(with(item), Ok(Consumed::Nothing));
        assert_eq!(with(&item.replace("1130", "9999")), Err(Refusal::Wrong));
    }

    #[test]
    fn a_report_is_known_with_the_account_that_it_is_of() {
        // It has the name of its file in place of a reference, and that is the same for each account.
        let of = |account: &str| {
            let report = BODY
                .replace("7914073381342284", "settlement_detail_report_batch_1.csv")
                .replace("AUTHORISATION", "REPORT_AVAILABLE")
                .replace("TestMerchant", account);
            Case::new(&[], &report, 0).identity(&scheme(&[])).dedup
        };
        assert_ne!(of("One"), of("Two"));
        assert_eq!(of("One"), of("One"));
    }

    #[test]
    fn what_it_signs_it_takes_with_users_too() {
        let known = scheme(&["adyen:password"]);
        let sample = known.sample("p1", "ref");
        let body = String::from_utf8(sample.body).unwrap();
        let signed = known.sign(&Unsigned::of(body.as_bytes())).unwrap();
        let case = Case::signed(&signed, &body, 0);
        assert_eq!(case.check(&known), Ok(Consumed::Header(AUTHORIZATION)));
        assert_eq!(
            case.identity(&known).dedup,
            ["AUTHORISATION", "p1", "true", "TestMerchant"]
        );
        let unnamed = Signed {
            headers: vec![],
            ..signed
        };
        assert_eq!(
            Case::signed(&unnamed, &body, 0).check(&known),
            Err(Refusal::Missing)
        );
    }
}
