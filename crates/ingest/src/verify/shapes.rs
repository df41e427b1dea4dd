//! Challenges of senders that have no scheme of their own here: a source names the shape with `handshake`.
//!
//! Each says back what it was told, or an HMAC of it; none proves anything, and none is stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::json::text_at;

use super::{Handshake, Received, Reply, Scheme, field};

/// A challenge that is answered for a source whose scheme knows of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandshakeShape {
    /// Asana: a POST with `X-Hook-Secret`, which comes back in the same header.
    Asana,
    /// monday.com: a POST of `{"challenge": …}`, which comes back.
    Monday,
    /// RingCentral: a POST with `Validation-Token`, which comes back in the same header.
    RingCentral,
    /// Trello: a HEAD.
    Trello,
    /// X: a GET with `crc_token`, of which an HMAC comes back. The scheme must be `hmac`.
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
                let signed = STANDARD.encode(scheme.hmac_of(token.as_bytes())?);
                let answer = serde_json::json!({ "response_token": format!("sha256={signed}") });
                Reply::json(&answer)
            }
            _ => return None,
        };
        Some(Handshake::Answer(reply))
    }
}

/// 200 with a header as it came.
fn echo(request: &Received<'_>, name: &'static str) -> Option<Reply> {
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
    fn trello_is_told_that_somebody_is_there() {
        let head = Case::new(&[], "", 0).by("HEAD");
        assert_eq!(reply(head.shape(HandshakeShape::Trello, &*none())), "");
        let get = Case::new(&[], "", 0).by("GET");
        assert_eq!(get.shape(HandshakeShape::Trello, &*none()), None);
    }
}
