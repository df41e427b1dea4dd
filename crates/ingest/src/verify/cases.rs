//! What the schemes' case tables share.

use bytes::Bytes;
use domain::{HumanDuration, Secret, Timestamp};
use http::HeaderMap;

use super::keys::{SecretOptions, TimedOptions};
use super::{
    ClientCertificate, Consumed, Handshake, Identity, Received, Refusal, Scheme, Signed, Unsigned,
};

/// The URL that all cases say they were posted to.
pub(super) const URL: &str = "https://hooks.example.com/in/x";

/// When the requests of [`signs_what_it_takes`] are signed.
const NOW: i64 = 1_790_000_000;

/// Options with this one secret.
pub(super) trait OfSecret {
    fn of_secrets(secrets: Vec<Secret>) -> Self;
}

impl OfSecret for SecretOptions {
    fn of_secrets(secrets: Vec<Secret>) -> Self {
        Self {
            secrets,
            secret_files: vec![],
        }
    }
}

impl<const SECONDS: u64> OfSecret for TimedOptions<SECONDS> {
    fn of_secrets(secrets: Vec<Secret>) -> Self {
        Self {
            secrets,
            secret_files: vec![],
            tolerance: HumanDuration::from_secs(SECONDS),
        }
    }
}

/// Options with this one secret and nothing else.
pub(super) fn secret<O: OfSecret>(text: &str) -> O {
    secrets(&[text])
}

/// Options with these secrets and nothing else.
pub(super) fn secrets<O: OfSecret>(texts: &[&str]) -> O {
    let secrets = texts.iter().map(|text| Secret::new((*text).into()));
    O::of_secrets(secrets.collect())
}

impl<'a> Unsigned<'a> {
    /// Where only the body counts.
    pub(super) const fn of(body: &'a [u8]) -> Self {
        Self {
            path: "/in/x",
            url: Some(URL),
            body,
            id: "",
            now: Timestamp::UNIX_EPOCH,
        }
    }
}

/// A request with these headers and this body, now.
pub(super) struct Case {
    pub method: &'static str,
    pub path: String,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub now: Timestamp,
    pub client: Option<ClientCertificate>,
}

impl Case {
    pub(super) fn new(headers: &[(&str, &str)], body: &str, second: i64) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<http::HeaderName>().unwrap(),
                    value.parse().unwrap(),
                )
            })
            .collect();
        Self {
            method: "POST",
            path: "/in/x".into(),
            url: URL.into(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            now: Timestamp::from_second(second).unwrap(),
            client: None,
        }
    }

    /// The same on a connection where this certificate was shown.
    pub(super) fn shown(mut self, client: ClientCertificate) -> Self {
        self.client = Some(client);
        self
    }

    /// What was signed, as it would arrive.
    pub(super) fn signed(signed: &Signed, body: &str, second: i64) -> Self {
        let headers: Vec<_> = signed
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let body = match &signed.body {
            Some(body) => std::str::from_utf8(body).unwrap(),
            None => body,
        };
        let case = Self::new(&headers, body, second);
        match &signed.path {
            Some(path) => case.at(path),
            None => case,
        }
    }

    /// The same to this path and query.
    pub(super) fn at(mut self, path: &str) -> Self {
        self.path = path.into();
        self.url = format!("https://hooks.example.com{path}");
        self
    }

    /// The same with another method.
    pub(super) fn by(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn received(&self) -> Received<'_> {
        Received {
            method: self.method,
            path: &self.path,
            url: Some(&self.url),
            headers: &self.headers,
            body: &self.body,
            now: self.now,
            client: self.client.as_ref(),
        }
    }

    pub(super) fn check(&self, scheme: &dyn Scheme) -> Result<Consumed, Refusal> {
        scheme.verify(&self.received())
    }

    pub(super) fn identity(&self, scheme: &dyn Scheme) -> Identity {
        scheme.identify(&self.received())
    }

    pub(super) fn shape(
        &self,
        shape: super::HandshakeShape,
        scheme: &dyn Scheme,
    ) -> Option<Handshake> {
        shape.answer(&self.received(), scheme)
    }

    pub(super) fn handshake(&self, scheme: &dyn Scheme) -> Option<Handshake> {
        scheme.handshake(&self.received())
    }
}

/// The text of the answer to a challenge.
pub(super) fn reply(handshake: Option<Handshake>) -> String {
    match handshake {
        Some(Handshake::Answer(reply)) => String::from_utf8(reply.body.to_vec()).unwrap(),
        other => panic!("no answer: {other:?}"),
    }
}

/// What the scheme signs, it takes; and a changed body, a changed header of the signature, a stranger's secret or
/// no signature it refuses.
pub(super) fn signs_what_it_takes(scheme: &dyn Scheme, stranger: &dyn Scheme, covers_body: bool) {
    let body = "{\"id\":\"1\"}";
    let post = Unsigned {
        path: "/in/x",
        url: Some(URL),
        body: body.as_bytes(),
        id: "msg_1",
        now: Timestamp::from_second(NOW).unwrap(),
    };
    let signed = scheme.sign(&post).unwrap();
    Case::signed(&signed, body, NOW).check(scheme).unwrap();
    if covers_body {
        assert_eq!(
            Case::signed(&signed, "{\"id\":\"2\"}", NOW).check(scheme),
            Err(Refusal::Wrong)
        );
    }
    let strange = stranger.sign(&post).unwrap();
    assert_eq!(
        Case::signed(&strange, body, NOW).check(scheme),
        Err(Refusal::Wrong)
    );
    assert_eq!(
        Case::signed(&Signed::default(), body, NOW).check(scheme),
        Err(Refusal::Missing)
    );
}
