//! `standard-webhooks`: the Standard Webhooks specification (standardwebhooks.com), symmetric (`v1`,
//! HMAC-SHA256) and asymmetric (`v1a`, ed25519).
//!
//! Signed is `id.timestamp.body`; a secret is base64 behind `whsec_`, a public key base64 behind
//! `whpk_`. The header may hold several signatures; one that fits is enough. The timestamp may be five
//! minutes off, on receipt only. An HMAC is computed once a key, however many signatures come.

use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{HumanDuration, Secret};

use crate::json;

use super::about::TIMED;
use super::keys::{Keys, TimedOptions};
use super::signature::recent;
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Scheme, Secrets, Sender, Signed,
    Unsigned, field, text,
};

pub(super) const ABOUT: About = About {
    dedup: "`webhook-id`",
    sender: Sender {
        // "15–30 s"; what is sure.
        timeout: Some(std::time::Duration::from_secs(15)),
        ..Sender::UNKNOWN
    },
    keys: TIMED,
    least: "secrets = [\"whsec_c2VjcmV0\"]",
    // The specification asks for 24 bytes at least, and what is behind `whsec_` is random.
    guessable: false,
    ..About::new(
        "standard-webhooks",
        "The Standard Webhooks specification. A secret is `whsec_…`, or `whpk_…` for an ed25519 public key.",
    )
};

/// More signatures than this in one header are refused: a sender needs one for each of its keys.
const SIGNATURES: usize = 16;

/// As [`SIGNATURES`], of ed25519. An HMAC is computed once a key; each of these is a pass of its own.
const PUBLIC_SIGNATURES: usize = 4;

#[derive(Debug)]
enum Key {
    Symmetric(Box<hmac::Key>),
    Public(Vec<u8>),
}

fn parse(secret: &Secret) -> Result<Key, String> {
    let text = secret.expose();
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| "is not base64 behind its whsec_ or whpk_".to_owned())
    };
    match text.strip_prefix("whpk_") {
        Some(key) => {
            let key = decode(key)?;
            if key.len() != 32 {
                return Err("is not an ed25519 public key of 32 bytes".into());
            }
            if is_small(&key) {
                return Err("is a public key that anybody can sign for".into());
            }
            Ok(Key::Public(key))
        }
        None => {
            let key = decode(text.strip_prefix("whsec_").unwrap_or(text))?;
            if key.is_empty() {
                return Err("is empty behind its prefix".into());
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            Ok(Key::Symmetric(Box::new(key)))
        }
    }
}

/// The points of ed25519 of an order below 9, less the sign of x: the first byte, all but the last of the others, the last.
const SMALL: [(u8, u8, u8); 5] = [
    (0x00, 0x00, 0x00),
    (0x01, 0x00, 0x00),
    (0xec, 0xff, 0x7f),
    (0xed, 0xff, 0x7f),
    (0xee, 0xff, 0x7f),
];

/// The two of order 8, whose bytes have no pattern.
const OF_ORDER_EIGHT: [&str; 2] = [
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

/// Whether a key of 32 bytes is of small order. One signature would fit one message in eight or more, and the library
/// takes it. A key of zeros, as one fills in for lack of the real one, is among them.
fn is_small(key: &[u8]) -> bool {
    let [first, middle @ .., last] = key else {
        return false;
    };
    let last = last & 0x7f;
    let even = |(one, between, end): &(u8, u8, u8)| {
        first == one && middle.iter().all(|byte| byte == between) && last == *end
    };
    let mut plain = key.to_vec();
    plain[key.len() - 1] = last;
    SMALL.iter().any(even) || OF_ORDER_EIGHT.contains(&hex::encode(plain).as_str())
}

/// The names of the three headers.
#[derive(Debug)]
struct Names {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

const STANDARD_NAMES: Names = Names {
    id: "webhook-id",
    timestamp: "webhook-timestamp",
    signature: "webhook-signature",
};

/// As Svix called them before there was a standard; it sends both.
const SVIX_NAMES: Names = Names {
    id: "svix-id",
    timestamp: "svix-timestamp",
    signature: "svix-signature",
};

/// The scheme.
#[derive(Debug)]
pub(super) struct StandardWebhooks {
    about: &'static About,
    keys: Keys<Key>,
    tolerance: HumanDuration,
    /// The names that are looked for; a request is signed with the first.
    names: &'static [Names],
}

impl StandardWebhooks {
    pub(super) fn new(options: &TimedOptions) -> Result<Self, String> {
        let (secrets, files) = options.secrets();
        Ok(Self {
            about: &ABOUT,
            keys: Keys::load(secrets, files, parse)?,
            tolerance: options.tolerance,
            names: &[STANDARD_NAMES],
        })
    }

    /// The same under the names that Svix uses.
    pub(super) fn of_svix(about: &'static About, options: &TimedOptions) -> Result<Self, String> {
        Ok(Self {
            about,
            names: &[SVIX_NAMES, STANDARD_NAMES],
            ..Self::new(options)?
        })
    }

    /// The names that this request uses.
    fn names(&self, request: &Received<'_>) -> &'static Names {
        let used = |names: &&Names| request.headers.contains_key(names.signature);
        self.names.iter().find(used).unwrap_or(&self.names[0])
    }
}

fn tag(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    context.sign()
}

fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(id.len() + timestamp.len() + body.len() + 2);
    content.extend_from_slice(id.as_bytes());
    content.push(b'.');
    content.extend_from_slice(timestamp.as_bytes());
    content.push(b'.');
    content.extend_from_slice(body);
    content
}

/// The header's signatures of the two kinds that are known.
#[derive(Debug, Default)]
struct Given {
    symmetric: Vec<Vec<u8>>,
    public: Vec<Vec<u8>>,
}

impl Given {
    /// Reads the header. Kinds that are unknown and what is no base64 fit no key, and are left out.
    fn read(header: &str) -> Result<Self, Refusal> {
        let mut given = Self::default();
        for (at, signature) in header.split(' ').enumerate() {
            if at == SIGNATURES {
                return Err(Refusal::Malformed);
            }
            let of_kind = match signature.split_once(',') {
                Some(("v1", encoded)) => Some((&mut given.symmetric, encoded)),
                Some(("v1a", encoded)) => Some((&mut given.public, encoded)),
                _ => None,
            };
            if let Some((of_kind, encoded)) = of_kind
                && let Ok(signature) = STANDARD.decode(encoded)
            {
                of_kind.push(signature);
            }
        }
        if given.public.len() > PUBLIC_SIGNATURES {
            return Err(Refusal::Malformed);
        }
        Ok(given)
    }

    fn fit(&self, key: &Key, id: &str, timestamp: &str, body: &[u8]) -> bool {
        match key {
            Key::Symmetric(_) if self.symmetric.is_empty() => false,
            Key::Symmetric(key) => {
                let tag = tag(key, id, timestamp, body);
                self.symmetric
                    .iter()
                    .any(|given| super::same(tag.as_ref(), given))
            }
            Key::Public(_) if self.public.is_empty() => false,
            Key::Public(key) => {
                let content = content(id, timestamp, body);
                let key = signature::UnparsedPublicKey::new(&signature::ED25519, key);
                self.public
                    .iter()
                    .any(|given| key.verify(&content, given).is_ok())
            }
        }
    }
}

impl Scheme for StandardWebhooks {
    fn about(&self) -> &'static About {
        self.about
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let names = self.names(request);
        let id = text(request.headers, names.id)?;
        let timestamp = text(request.headers, names.timestamp)?;
        let signatures = text(request.headers, names.signature)?;
        recent(request.now, timestamp, self.tolerance)?;
        let given = Given::read(signatures)?;
        let fits = |key: &Key| given.fit(key, id, timestamp, request.body);
        if !self.keys.current().iter().any(fits) {
            return Err(Refusal::Wrong);
        }
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let id = field(request.headers, self.names(request).id);
        // The specification says where the type stands, not that there is one.
        let event_type = {
            let [event_type] = json::texts(request.body, ["type"]);
            event_type
        };
        Identity::of(id, event_type.as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let Unsigned { id, now, body, .. } = *request;
        let timestamp = now.as_second().to_string();
        let keys = self.keys.current();
        let signatures: Vec<_> = keys
            .iter()
            .filter_map(|key| match key {
                Key::Symmetric(key) => {
                    let tag = tag(key, id, &timestamp, body);
                    Some(format!("v1,{}", STANDARD.encode(tag)))
                }
                // Only the sender has the private half.
                Key::Public(_) => None,
            })
            .collect();
        let names = &self.names[0];
        if signatures.is_empty() {
            return Err(CannotSign);
        }
        Ok(Signed::with([
            (names.id, id.to_owned()),
            (names.timestamp, timestamp),
            (names.signature, signatures.join(" ")),
        ]))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, signs_what_it_takes};
    use super::*;
    use aws_lc_rs::signature::KeyPair;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &str = "{\"test\": 2432232314}";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const SECOND: i64 = 1_614_265_330;

    fn scheme(secret: &str) -> Result<StandardWebhooks, String> {
        let secrets = vec![Secret::new(secret.into())];
        StandardWebhooks::new(&TimedOptions {
            secrets,
            secret_files: vec![],
            tolerance: HumanDuration::from_secs(300),
        })
    }

    fn case(signature: &str, now: i64) -> Case {
        let second = SECOND.to_string();
        Case::new(
            &[
                ("webhook-id", ID),
                ("webhook-timestamp", &second),
                ("webhook-signature", signature),
            ],
            BODY,
            now,
        )
    }

    #[test]
    fn the_vector_of_the_specification_holds() {
        let scheme = scheme(SECRET).unwrap();
        assert_eq!(case(SIGNATURE, SECOND).identity(&scheme).dedup, [ID]);
        let among_others = format!("v1,AAAA v2,zzz garbage {SIGNATURE}");
        assert!(case(&among_others, SECOND).check(&scheme).is_ok());
        assert_eq!(case("v1,AAAA", SECOND).check(&scheme), Err(Refusal::Wrong));
        assert_eq!(
            case(&SIGNATURE.replace("v1,", "v1a,"), SECOND).check(&scheme),
            Err(Refusal::Wrong)
        );
        signs_what_it_takes(&scheme, &self::scheme("whsec_AAAA").unwrap(), true);
    }

    #[test]
    fn the_time_may_be_five_minutes_off_and_not_a_second_more() {
        let scheme = scheme(SECRET).unwrap();
        for (offset, taken) in [(300, true), (-300, true), (301, false), (-301, false)] {
            assert_eq!(
                case(SIGNATURE, SECOND + offset).check(&scheme).is_ok(),
                taken,
                "{offset}"
            );
        }
        assert_eq!(
            case(SIGNATURE, SECOND + 301).check(&scheme),
            Err(Refusal::Stale)
        );
    }

    #[test]
    fn the_time_is_checked_before_anything_is_computed() {
        let scheme = scheme(SECRET).unwrap();
        assert_eq!(
            case("v1,AAAA", SECOND + 301).check(&scheme),
            Err(Refusal::Stale)
        );
    }

    #[test]
    fn a_header_full_of_signatures_is_refused_unseen() {
        let scheme = scheme(SECRET).unwrap();
        let after = |others: usize, other: &str| {
            case(
                &format!("{}{SIGNATURE}", format!("{other} ").repeat(others)),
                SECOND,
            )
            .check(&scheme)
        };
        assert!(after(15, "v1,AAAA").is_ok());
        assert_eq!(after(16, "v1,AAAA"), Err(Refusal::Malformed));
        // Each of these costs a pass over the body for each key.
        assert!(after(4, "v1a,AAAA").is_ok());
        assert_eq!(after(5, "v1a,AAAA"), Err(Refusal::Malformed));
    }

    #[test]
    fn an_ed25519_signature_is_checked_with_the_public_key() {
        let pair = signature::Ed25519KeyPair::generate().unwrap();
        let public = format!("whpk_{}", STANDARD.encode(pair.public_key()));
        let signed = pair.sign(&content(ID, &SECOND.to_string(), BODY.as_bytes()));
        let value = format!("v1a,{}", STANDARD.encode(signed));
        assert!(
            case(&value, SECOND)
                .check(&scheme(&public).unwrap())
                .is_ok()
        );
        let other = signature::Ed25519KeyPair::generate().unwrap();
        let other = format!("whpk_{}", STANDARD.encode(other.public_key()));
        assert_eq!(
            case(&value, SECOND).check(&scheme(&other).unwrap()),
            Err(Refusal::Wrong)
        );
    }

    #[test]
    fn a_public_key_that_anybody_can_sign_for_is_none() {
        // The neutral element: this signature would fit every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let key = signature::UnparsedPublicKey::new(&signature::ED25519, neutral);
        let mut forged = [0; 64];
        forged[0] = 1;
        assert!(key.verify(b"whatever", &forged).is_ok());
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        let of_eight = OF_ORDER_EIGHT.map(|key| hex::decode_to_array(key).unwrap());
        for key in [neutral, [0; 32], minus_one].into_iter().chain(of_eight) {
            let public = signature::UnparsedPublicKey::new(&signature::ED25519, key);
            let fits = |message: u8| public.verify(&[message], &forged).is_ok();
            assert!((0..=255).any(fits), "{key:?} is a key like any other");

            for sign in [0, 0x80] {
                let mut key = key;
                key[31] |= sign;
                let error = scheme(&format!("whpk_{}", STANDARD.encode(key))).unwrap_err();
                assert!(error.contains("anybody"), "{error}");
            }
        }
    }

    #[test]
    fn a_key_that_is_none_is_named_without_being_quoted() {
        for bad in ["whsec_not base64!", "whpk_AAAA", "whsec_", "whpk_"] {
            let error = scheme(bad).unwrap_err();
            assert!(
                error.contains("number 1") && !error.contains(bad),
                "{error}"
            );
        }
    }
}
