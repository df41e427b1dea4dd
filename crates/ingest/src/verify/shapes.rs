//! Challenges of senders that have no scheme of their own here: a source names the shape with `handshake`.
//!
//! Each says back what it was told, or an HMAC of it; none proves anything, and none is stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::json::{is_json, text_at};

use super::{Handshake, Received, Reply, Scheme, field};

/// A challenge that is answered for a source whose scheme knows of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandshakeShape {
    /// Asana: a POST with `X-Hook-Secret` and nothing in its body, which comes back in the same header.
    Asana,
    /// monday.com: a POST of `{"challenge": …}`, which comes back.
    Monday,
    /// RingCentral: a POST with `Validation-Token` and nothing in its body, which comes back in the same header. Its
    /// events may have that header, too.
    RingCentral,
    /// Trello: a HEAD.
    Trello,
    /// X: a GET with `crc_token`, of which an HMAC comes back. The scheme must be `hmac`, and signs the body alone.
    /// Anybody may ask, and hears the signature of a body that is the token: so only a token is answered that is no
    /// JSON, and only a body is taken that is.
    X,
}

impl HandshakeShape {
    /// Methods besides POST that it greets with.
    pub(crate) fn greets(self) -> &'static [Method] {
        match self {
            Self::Trello => &[Method::HEAD],
            Self::X => &[Method::GET],
            Self::Asana | Self::Monday | Self::RingCentral => &[],
        }
    }

    /// The answer, if the request is such a challenge.
    pub(crate) fn answer(self, request: &Received<'_>, scheme: &dyn Scheme) -> Option<Handshake> {
        let is = |method: &str| request.method == method;
        let reply = match self {
            Self::Asana if is("POST") => echo(request, "x-hook-secret")?,
            Self::RingCentral if is("POST") => echo(request, "validation-token")?,
            Self::Monday if is("POST") => {
                let challenge = text_at(request.body, "/challenge")?;
                // With anything else in it, it is an event that speaks of challenges.
                let fields: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice(request.body).ok()?;
                if fields.len() != 1 {
                    return None;
                }
                Reply::json(&serde_json::json!({ "challenge": challenge }))
            }
            Self::Trello if is("HEAD") => Reply::text(""),
            Self::X if is("GET") => {
                let token = request.parameter("crc_token")?;
                if is_json(token.as_bytes()) {
                    return None;
                }
                let signed = STANDARD.encode(scheme.hmac_of(token.as_bytes())?);
                let answer = serde_json::json!({ "response_token": format!("sha256={signed}") });
                Reply::json(&answer)
            }
            _ => return None,
        };
        Some(Handshake::Answer(reply))
    }
}

/// 200 with a header as it came, if nothing else was said: a request with a body is an event.
fn echo(request: &Received<'_>, name: &'static str) -> Option<Reply> {
    let said = request
        .body
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace());
    if !said.take(3).copied().all(|byte| b"{}".contains(&byte)) {
        return None;
    }
    let value = HeaderValue::from_str(field(request.headers, name)?).ok()?;
    let mut reply = Reply::text("");
    reply.headers.insert(name, value);
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::super::VerifyOptions;
    use super::super::cases::{Case, reply};
    use super::*;

    fn scheme(options: serde_json::Value) -> Box<dyn Scheme> {
        let options: VerifyOptions = serde_json::from_value(options).unwrap();
        options.build().unwrap()
    }

    fn none() -> Box<dyn Scheme> {
        scheme(serde_json::json!({ "scheme": "none" }))
    }

    #[test]
    fn a_header_comes_back_in_the_header_it_came_in() {
        for (shape, name) in [
            (HandshakeShape::Asana, "x-hook-secret"),
            (HandshakeShape::RingCentral, "validation-token"),
        ] {
            let asked = Case::new(&[(name, "b537207f")], "", 0);
            let Some(Handshake::Answer(said)) = asked.shape(shape, &*none()) else {
                panic!("no answer");
            };
            assert_eq!(said.headers[name], "b537207f");
            let event = Case::new(&[], "{}", 0);
            assert_eq!(event.shape(shape, &*none()), None);
        }
    }

    #[test]
    fn mondays_challenge_comes_back_and_an_event_that_has_one_is_an_event() {
        let ask = |body| Case::new(&[], body, 0).shape(HandshakeShape::Monday, &*none());
        assert_eq!(
            reply(ask(r#"{"challenge":"3eZb"}"#)),
            r#"{"challenge":"3eZb"}"#
        );
        assert_eq!(ask(r#"{"challenge":"3eZb","event":{}}"#), None);
        assert_eq!(ask("{}"), None);
    }

    #[test]
    fn xs_token_is_answered_with_its_hmac_by_who_has_the_secret() {
        let hmac = scheme(serde_json::json!({
            "scheme": "hmac", "secrets": ["hush"], "header": "x-twitter-webhooks-signature",
            "prefix": "sha256=", "encoding": "base64",
        }));
        let asked = Case::new(&[], "", 0).by("GET").at("/in/x?crc_token=abc");
        // printf abc | openssl dgst -sha256 -hmac hush -binary | base64
        let expected =
            r#"{"response_token":"sha256=UmUQbJ7v4QC0SmGNHP805/sdzbvRIn57nvinWo2JchU="}"#;
        assert_eq!(reply(asked.shape(HandshakeShape::X, &*hmac)), expected);
        assert_eq!(asked.shape(HandshakeShape::X, &*none()), None);
    }

    #[test]
    fn nobody_is_told_the_signature_of_an_event() {
        let options = |signed: &str| {
            scheme(serde_json::json!({
                "scheme": "hmac", "secrets": ["hush"], "header": "x-signature", "signed": signed,
            }))
        };
        let asked = |token: &str, scheme: &dyn Scheme| {
            let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
            let path = format!("/in/x?crc_token={token}");
            let asked = Case::new(&[], "", 0).by("GET").at(&path);
            asked.shape(HandshakeShape::X, scheme)
        };
        for event in [
            r#"{"tweet_create_events":[]}"#,
            "[1]",
            " 12 ",
            "\"a\"",
            "true",
        ] {
            assert_eq!(asked(event, &*options("{body}")), None, "{event}");
        }
        assert!(asked("9b4507b3-9040", &*options("{body}")).is_some());
        // Of what is signed with something around it, the body is not all that an answer could be put to.
        assert_eq!(asked("POST{}", &*options("{method}{body}")), None);
    }

    #[test]
    fn what_has_a_body_is_an_event_whatever_its_headers_are() {
        for (shape, name) in [
            (HandshakeShape::Asana, "x-hook-secret"),
            (HandshakeShape::RingCentral, "validation-token"),
        ] {
            let event = Case::new(&[(name, "b537207f")], r#"{"uuid":"1"}"#, 0);
            assert_eq!(event.shape(shape, &*none()), None);
            for nothing in [" ", "{}", "{ }\n"] {
                let asked = Case::new(&[(name, "b537207f")], nothing, 0);
                assert!(asked.shape(shape, &*none()).is_some(), "{nothing:?}");
            }
        }
    }

    #[test]
    fn trello_is_told_that_somebody_is_there() {
        let head = Case::new(&[], "", 0).by("HEAD");
        assert_eq!(reply(head.shape(HandshakeShape::Trello, &*none())), "");
        let get = Case::new(&[], "", 0).by("GET");
        assert_eq!(get.shape(HandshakeShape::Trello, &*none()), None);
    }
}
