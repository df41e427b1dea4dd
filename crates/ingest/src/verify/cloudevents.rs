//! `cloudevents`: CloudEvents over HTTP webhooks (github.com/cloudevents/spec, "HTTP 1.1 Web Hooks for Event
//! Delivery" 1.0): a token in `Authorization: Bearer` or in the query, and an OPTIONS that asks whether the sender may
//! deliver at all.
//!
//! Whether we may be delivered to is said at once, and a callback address is not called: the specification leaves
//! that to the receiver. Neither the query's token nor the header is stored.

use std::path::PathBuf;

use domain::Secret;
use http::header::{ALLOW, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::json::texts;

use super::about::{SECRET, SECRET_FILE};
use super::bearer::Bearer;
use super::{
    About, CannotSign, Consumed, Handshake, Identity, KeyDoc, Received, Refusal, Reply, Sample,
    Scheme, SecretOptions, Secrets, Sender, Signed, Split, Unsigned, field,
};

const ORIGIN: &str = "webhook-request-origin";
const RATE: &str = "webhook-request-rate";
const TOKEN: &str = "access_token";

pub(super) const ABOUT: About = About {
    dedup: "`source` and `id`, in headers or in the body",
    handshake: "an OPTIONS with `WebHook-Request-Origin`",
    sender: Sender {
        retries: "as the sender likes; after 429 not before `Retry-After`",
        ..Sender::UNKNOWN
    },
    keys: &[
        SECRET,
        SECRET_FILE,
        KeyDoc::new(
            "origins",
            "list of strings",
            "names of hosts, or `*`",
            "Which origins may deliver, as the OPTIONS asks. Who delivers still needs the token.",
            "[\"*\"]",
        ),
    ],
    guessable: false,
    sent: true,
    ..About::new(
        "cloudevents",
        "CloudEvents webhooks: `Authorization: Bearer TOKEN`, or `access_token` in the query; neither is stored. Binary, structured and batched; with `split = \"scheme\"` each event of a batch (`application/cloudevents-batch+json`) is one of its own, and any other request is one event.",
    )
};

/// The tokens that are taken, and who may ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    /// Origins that may deliver.
    #[serde(default = "everybody")]
    origins: Vec<String>,
}

fn everybody() -> Vec<String> {
    vec!["*".into()]
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
    }
}

/// The scheme.
#[derive(Debug)]
pub(super) struct CloudEvents {
    bearer: Bearer,
    origins: Vec<String>,
}

impl CloudEvents {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let bearer = Bearer::new(&SecretOptions {
            secrets: options.secrets.clone(),
            secret_files: options.secret_files.clone(),
        })?;
        Ok(Self {
            bearer,
            origins: options.origins.clone(),
        })
    }
}

/// Of an event in a body of JSON.
fn structured(body: &[u8]) -> Identity {
    let names = ["specversion", "source", "id", "type"];
    let [Some(_), source, id, event_type] = texts(body, names) else {
        return Identity::default();
    };
    match (source, id) {
        (Some(source), Some(id)) => Identity {
            dedup: vec![source, id],
            event_type,
        },
        _ => Identity::of(None, event_type.as_deref()),
    }
}

impl Scheme for CloudEvents {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn greets(&self) -> &'static [Method] {
        &[Method::OPTIONS]
    }

    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        if request.method != "OPTIONS" {
            return None;
        }
        let asked = request.headers.get(ORIGIN)?;
        let mut headers = HeaderMap::new();
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
        let all = self.origins.iter().any(|origin| origin == "*");
        let named = |origin: &String| origin.as_bytes().eq_ignore_ascii_case(asked.as_bytes());
        if all || self.origins.iter().any(named) {
            headers.insert("webhook-allowed-origin", asked.clone());
            if request.headers.contains_key(RATE) {
                // Whoever is too fast is told 429.
                headers.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
            }
        }
        Some(Handshake::Answer(Reply {
            status: StatusCode::OK,
            headers,
            body: bytes::Bytes::new(),
        }))
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let token = request.parameter(TOKEN);
        if request.headers.contains_key(AUTHORIZATION) {
            let consumed = self.bearer.verify(request)?;
            // The specification allows one of the two, and the other would be stored.
            return token.map_or(Ok(consumed), |_| Err(Refusal::Malformed));
        }
        let token = token.ok_or(Refusal::Missing)?;
        self.bearer.fits(token.as_bytes())?;
        Ok(Consumed::Parameter(TOKEN))
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let of = |name| field(request.headers, name);
        match (of("ce-source"), of("ce-id")) {
            (Some(source), Some(id)) if !id.is_empty() => Identity {
                dedup: vec![source.to_owned(), id.to_owned()],
                event_type: of("ce-type").map(str::to_owned),
            },
            _ => structured(request.body),
        }
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        structured(item)
    }

    fn split(&self) -> Option<Split> {
        Some(Split::Batch("application/cloudevents-batch+json"))
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        self.bearer.sign(request)
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        let mut sample = Sample::json(&serde_json::json!({
            "specversion": "1.0",
            "id": id,
            "source": "/forebay/send",
            "type": "com.example.said",
            "datacontenttype": "application/json",
            "data": { "text": text },
        }));
        sample.content_type = "application/cloudevents+json";
        sample
    }

    fn reload(&self) -> Result<(), String> {
        self.bearer.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, signs_what_it_takes};
    use super::*;

    fn scheme(secret: &str, origins: &[&str]) -> CloudEvents {
        let options = serde_json::json!({ "secrets": [secret], "origins": origins });
        CloudEvents::new(&serde_json::from_value(options).unwrap()).unwrap()
    }

    fn asked(scheme: &CloudEvents, headers: &[(&str, &str)]) -> Option<HeaderMap> {
        match Case::new(headers, "", 0).by("OPTIONS").handshake(scheme)? {
            Handshake::Answer(reply) => Some(reply.headers),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_origin_hears_that_it_may_deliver_if_it_may() {
        let anybody = scheme("t", &["*"]);
        let origin = (ORIGIN, "eventemitter.example.com");
        let said = asked(&anybody, &[origin, (RATE, "120")]).unwrap();
        assert_eq!(said["webhook-allowed-origin"], "eventemitter.example.com");
        assert_eq!(said["webhook-allowed-rate"], "*");
        assert_eq!(said[ALLOW], "POST");
        let unasked = asked(&anybody, &[origin]).unwrap();
        assert!(!unasked.contains_key("webhook-allowed-rate"));
        let named = scheme("t", &["EventEmitter.example.com"]);
        assert!(
            asked(&named, &[origin])
                .unwrap()
                .contains_key("webhook-allowed-origin")
        );
        let others = asked(&scheme("t", &["other.example.com"]), &[origin]).unwrap();
        assert!(!others.contains_key("webhook-allowed-origin"));
        assert_eq!(asked(&anybody, &[]), None);
    }

    #[test]
    fn the_token_is_taken_in_the_header_or_in_the_query_and_off() {
        let known = scheme("one", &["*"]);
        signs_what_it_takes(&known, &scheme("two", &["*"]), false);
        let at = |path: &str| Case::new(&[], "{}", 0).at(path).check(&known);
        assert_eq!(at("/in/x?access_token=one"), Ok(Consumed::Parameter(TOKEN)));
        assert_eq!(at("/in/x?access_token=two"), Err(Refusal::Wrong));
        assert_eq!(at("/in/x"), Err(Refusal::Missing));
        // A wrong header is not made good by the query.
        let both = Case::new(&[("authorization", "Bearer two")], "{}", 0);
        let both = both.at("/in/x?access_token=one").check(&known);
        assert_eq!(both, Err(Refusal::Wrong));
        // Only one of them would be taken off.
        let twice = Case::new(&[("authorization", "Bearer one")], "{}", 0);
        let twice = twice.at("/in/x?access_token=one").check(&known);
        assert_eq!(twice, Err(Refusal::Malformed));
    }

    #[test]
    fn source_and_id_are_in_headers_or_in_the_body() {
        let known = scheme("t", &["*"]);
        let binary = [("ce-source", "/s"), ("ce-id", "1"), ("ce-type", "a.b")];
        let said = Case::new(&binary, "{}", 0).identity(&known);
        assert_eq!(said.dedup, ["/s", "1"]);
        assert_eq!(said.event_type.as_deref(), Some("a.b"));
        let body = r#"{"specversion":"1.0","source":"/s","id":"1","type":"a.b"}"#;
        assert_eq!(Case::new(&[], body, 0).identity(&known), said);
        assert_eq!(known.identify_item(body.as_bytes()), said);
        assert!(
            Case::new(&[], r#"{"specversion":"1.0","id":"1"}"#, 0)
                .identity(&known)
                .dedup
                .is_empty()
        );
        // The ids of what is no CloudEvent are something else's.
        let other = Case::new(&[], r#"{"source":"crm","id":"42","type":"a.b"}"#, 0);
        assert_eq!(other.identity(&known), Identity::default());
    }
}
