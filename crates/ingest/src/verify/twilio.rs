//! `twilio`: Twilio's webhooks (twilio.com/docs, "Webhooks security"): an HMAC-SHA1 over the URL and, of a form, its
//! fields sorted by name. Of any other body the URL holds a hash (`bodySHA256`), and is signed with it.
//!
//! Twilio's own libraries try the URL with and without the default port, because proxies differ; so does this.

use std::borrow::Cow;

use aws_lc_rs::digest;

use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, SecretOptions,
    Sender, Signed, Unsigned, field, same,
};

const HEADER: &str = "x-twilio-signature";
const BODY_HASH: &str = "bodySHA256";

pub(super) const ABOUT: About = About {
    dedup: "`I-Twilio-Idempotency-Token`; else, where a message, a recording or a sequence number is named, the signature of it all",
    sender: Sender::new(
        15,
        "once where it could not connect; by connection overrides (`#rc=`, `#rp=`) up to 5 times, all within 15 s",
        15,
    ),
    signs_url: true,
    ..About::new(
        "twilio",
        "Twilio: `X-Twilio-Signature`, an HMAC-SHA1 over the URL and the form's fields in base64, with the account's auth token. The source's `public_url` is what Twilio has.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Twilio {
    keys: HmacKeys,
}

impl Twilio {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        let keys = HmacKeys::load(options, Algorithm::Sha1)?;
        Ok(Self { keys })
    }
}

/// The fields of a form as they are signed: sorted, each value once, name and value one behind the other.
fn fields(body: &[u8]) -> String {
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(body).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
        .iter()
        .flat_map(|(name, value)| [&**name, &**value])
        .collect()
}

/// The URL with its scheme's port if it has none, and without if it has that.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = if scheme == "https" { ":443" } else { ":80" };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority = match authority.strip_suffix(port) {
        Some(host) => host.to_owned(),
        None if authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) =>
        {
            return None;
        }
        None => [authority, port].concat(),
    };
    Some([scheme, "://", &authority, tail].concat())
}

/// The hash of the body that the URL names, if it names one.
fn named_hash(url: &str) -> Option<Cow<'_, str>> {
    let (_, query) = url.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == BODY_HASH)
        .map(|(_, value)| value)
}

impl Scheme for Twilio {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, HEADER, "", Encoding::Base64)?;
        let url = request.url.unwrap_or_default();
        let signed = match named_hash(url) {
            Some(hash) => {
                let hash = Encoding::Hex.decode(&hash)?;
                let actual = digest::digest(&digest::SHA256, request.body);
                if !same(actual.as_ref(), &hash) {
                    return Err(Refusal::Wrong);
                }
                String::new()
            }
            None => fields(request.body),
        };
        let fits = |url: &str| {
            self.keys
                .check(&signature, &[url.as_bytes(), signed.as_bytes()])
        };
        fits(url).or_else(|refusal| match other_port(url) {
            Some(other) => fits(&other),
            None => Err(refusal),
        })?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let (mut status, mut told_once) = (None, false);
        let fields = form_urlencoded::parse(request.body);
        for (name, value) in fields.filter(|(_, value)| !value.is_empty()) {
            match &*name {
                "MessageStatus" | "CallStatus" => status = status.or(Some(value)),
                "MessageSid" | "RecordingSid" | "SequenceNumber" => told_once = true,
                _ => {}
            }
        }
        let of = |name| field(request.headers, name).filter(|text| !text.is_empty());
        // Many requests tell of one message or call, so its SID is no key; the signature is one of all fields. A call
        // alone has none: the same key may be pressed twice in it.
        let whole = of(HEADER).filter(|_| told_once);
        let repeat = of("i-twilio-idempotency-token").or(whole);
        Identity::of(repeat, status.as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        // As of a form; of any other body the hash is put into the URL.
        let url = request.url.unwrap_or_default();
        let is_form = !matches!(request.body.first(), Some(b'{' | b'['));
        if is_form {
            let fields = fields(request.body);
            let tag = self.keys.sign(&[url.as_bytes(), fields.as_bytes()]);
            return Ok(Signed::with([(HEADER, Encoding::Base64.encode(tag))]));
        }
        let hash = hex::encode(digest::digest(&digest::SHA256, request.body));
        let with = |url: &str| {
            let mark = if url.contains('?') { '&' } else { '?' };
            format!("{url}{mark}{BODY_HASH}={hash}")
        };
        let tag = self.keys.sign(&[with(url).as_bytes()]);
        Ok(Signed {
            path: Some(with(request.path)),
            ..Signed::with([(HEADER, Encoding::Base64.encode(tag))])
        })
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("MessageSid", &format!("SM{id}"))
            .append_pair("AccountSid", "AC00000000000000000000000000000000")
            .append_pair("From", "+14158675309")
            .append_pair("To", "+18005551212")
            .append_pair("Body", text);
        Sample {
            content_type: "application/x-www-form-urlencoded",
            body: form.finish().into_bytes(),
            headers: Vec::new(),
        }
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Twilio {
        Twilio::new(&secret(text)).unwrap()
    }

    /// twilio.com/docs, "Validating requests".
    #[test]
    fn the_published_vector_holds_with_the_default_port_and_without() {
        let form = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
        let known = scheme("12345");
        let at = |url: &str, form: &str| {
            let mut case = Case::new(&[(HEADER, "RSOYDt4T1cUTdK1PDd93/VVr8B8=")], form, 0);
            case.url = url.into();
            case.check(&known)
        };
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(at(url, form), Ok(Consumed::Nothing));
        let ported = url.replace(".com/", ".com:443/");
        assert_eq!(at(&ported, form), Ok(Consumed::Nothing));
        assert_eq!(
            at(&url.replace(".com/", ".com:8443/"), form),
            Err(Refusal::Wrong)
        );
        assert_eq!(
            at(url, &form.replace("1234&", "1235&")),
            Err(Refusal::Wrong)
        );
        assert_eq!(
            at(&url.replace("bar=2", "bar=3"), form),
            Err(Refusal::Wrong)
        );
        // The order of the fields is not the sender's to keep.
        let turned: Vec<_> = form.split('&').rev().collect();
        assert_eq!(at(url, &turned.join("&")), Ok(Consumed::Nothing));
    }

    #[test]
    fn of_a_body_that_is_no_form_the_hash_is_signed() {
        let known = scheme("12345");
        signs_what_it_takes(&known, &scheme("other"), true);
    }

    #[test]
    fn what_is_told_of_one_message_or_call_is_no_repeat_unless_it_is_the_same_to_the_last_field() {
        let known = scheme("s");
        let of = |form: &str| {
            let signed = known.sign(&Unsigned::of(form.as_bytes())).unwrap();
            Case::signed(&signed, form, 0).identity(&known)
        };
        for (one, next) in [
            (
                "MessageSid=SM1&MessageStatus=sent",
                "MessageSid=SM1&MessageStatus=read",
            ),
            // Conversations tell of a message again and again.
            (
                "MessageSid=IM1&EventType=onMessageAdded",
                "MessageSid=IM1&EventType=onMessageUpdated",
            ),
            (
                "CallSid=CA1&SequenceNumber=0",
                "CallSid=CA1&SequenceNumber=1",
            ),
            (
                "CallSid=CA1&RecordingSid=RE1",
                "CallSid=CA1&RecordingSid=RE2",
            ),
        ] {
            let key = of(one).dedup;
            assert!(!key.is_empty() && key == of(one).dedup, "{one}");
            assert_ne!(of(next).dedup, key, "{next}");
        }
        // The same key may be pressed twice in one call.
        assert!(
            of("CallSid=CA1&CallStatus=in-progress&Digits=1")
                .dedup
                .is_empty()
        );
        assert!(of("MessageSid=&x=1").dedup.is_empty() && of("x=1").dedup.is_empty());
        let sent = of("MessageSid=SM1&MessageStatus=sent");
        assert_eq!(sent.event_type.as_deref(), Some("sent"));
        let ringing = of("CallSid=CA1&CallStatus=ringing");
        assert_eq!(ringing.event_type.as_deref(), Some("ringing"));
        let token = Case::new(
            &[("i-twilio-idempotency-token", "t")],
            "MessageSid=SM1&MessageStatus=sent",
            0,
        );
        let said = token.identity(&known);
        assert_eq!(
            (&*said.dedup, said.event_type.as_deref()),
            (&["t".to_owned()][..], Some("sent"))
        );
    }

    #[test]
    fn the_port_is_put_on_or_taken_off_and_an_address_is_left_whole() {
        for (url, other) in [
            ("https://h/a", Some("https://h:443/a")),
            ("http://h:80?a", Some("http://h?a")),
            ("https://h:80/a", None),
            ("https://[::1]/a", Some("https://[::1]:443/a")),
            ("nonsense", None),
        ] {
            assert_eq!(other_port(url).as_deref(), other, "{url}");
        }
    }
}
