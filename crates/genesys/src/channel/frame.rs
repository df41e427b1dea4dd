//! What a frame of a notification socket is.

use std::borrow::Cow;

use aws_lc_rs::digest;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame<'t> {
    /// The server is there: its heartbeat.
    Alive,
    /// Its answer to a ping: everything that it sent before the ping came has been heard.
    Pong,
    /// Another socket is to take over; this one goes within a minute.
    Closing,
    /// The token that the channel was made with counts no more.
    TokenRevoked,
    /// Topics are not heard any more, for this reason.
    NoLongerSubscribed(Option<Cow<'t, str>>),
    /// The channel is not known any more.
    Gone,
    /// An answer to something that was sent on the socket, which Forebay does not do but for pings.
    Answer,
    /// An event.
    Event(Event<'t>),
}

/// An event of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event<'t> {
    /// Its topic.
    pub(crate) topic: Cow<'t, str>,
    /// Its `eventBody`, byte for byte.
    pub(crate) body: &'t str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parsed<'t> {
    #[serde(borrow)]
    topic_name: Option<Cow<'t, str>>,
    #[serde(borrow)]
    event_body: Option<&'t RawValue>,
    #[serde(borrow)]
    result: Option<&'t RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'t> {
    #[serde(borrow)]
    message: Option<Cow<'t, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'t, str>>,
}

impl<'t> Frame<'t> {
    /// Reads a frame.
    ///
    /// # Errors
    /// Why it is none; nothing of what it says.
    pub(crate) fn parse(text: &'t str) -> Result<Self, &'static str> {
        let parsed: Parsed<'t> =
            serde_json::from_str(text).map_err(|_| "it is no JSON object of the kind there is")?;
        let Some(topic) = parsed.topic_name else {
            let result = parsed
                .result
                .ok_or("it has neither a topicName nor a result")?;
            return Ok(match result.get().trim_matches('"') {
                "404" => Self::Gone,
                _ => Self::Answer,
            });
        };
        let body = parsed.event_body.map_or("null", RawValue::get);
        let said = || serde_json::from_str::<Message<'t>>(body).unwrap_or_default();
        Ok(match &*topic {
            "channel.metadata" if said().message.as_deref() == Some("pong") => Self::Pong,
            "channel.metadata" => Self::Alive,
            "v2.system.socket_closing" => Self::Closing,
            _ if is_of(&topic, "v2.system.token_revoked") => Self::TokenRevoked,
            _ if is_of(&topic, "v2.system.no_longer_subscribed") => {
                Self::NoLongerSubscribed(said().reason)
            }
            _ => Self::Event(Event { topic, body }),
        })
    }
}

/// `v2.system.token_revoked` itself, or with an id behind it.
fn is_of(topic: &str, name: &str) -> bool {
    topic
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What an event is told from others by: its topic and its body.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&context.finish().as_ref()[..16]);
    hash
}

/// What a conversation is known by, if the body is the record of one as the analytics have it: its id and its bytes. The
/// same record is the same event whether it was heard or asked for.
pub(crate) fn conversation(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Record<'t> {
        #[serde(borrow)]
        conversation_id: Cow<'t, str>,
        #[serde(rename = "conversationStart", borrow)]
        _start: &'t RawValue,
    }
    let record: Record<'_> = serde_json::from_str(body).ok()?;
    let hash = hash(&[b"conversation", body.as_bytes()]);
    Some(format!("{}:{}", record.conversation_id, hex(&hash)))
}

/// In hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        for (text, expected) in [
            (
                r#"{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}"#,
                Frame::Alive,
            ),
            (
                r#"{"topicName":"channel.metadata","eventBody":{"message":"pong"}}"#,
                Frame::Pong,
            ),
            (
                r#"{"topicName":"v2.system.socket_closing","eventBody":{"message":"x"}}"#,
                Frame::Closing,
            ),
            (
                r#"{"topicName":"v2.system.token_revoked.1","eventBody":{}}"#,
                Frame::TokenRevoked,
            ),
            (
                r#"{"topicName":"v2.system.no_longer_subscribed.1","eventBody":{"reason":"another_channel_subscribed"}}"#,
                Frame::NoLongerSubscribed(Some("another_channel_subscribed".into())),
            ),
            (r#"{"result":"404"}"#, Frame::Gone),
            (r#"{"result":404}"#, Frame::Gone),
            (r#"{"result":"200","status":"subscribed"}"#, Frame::Answer),
            (
                r#"{"topicName":"v2.users.1.presence","version":"2","eventBody":{"a": 1}}"#,
                Frame::Event(Event {
                    topic: "v2.users.1.presence".into(),
                    body: r#"{"a": 1}"#,
                }),
            ),
            (
                r#"{"topicName":"v2.system.token_revokedx"}"#,
                Frame::Event(Event {
                    topic: "v2.system.token_revokedx".into(),
                    body: "null",
                }),
            ),
        ] {
            assert_eq!(Frame::parse(text), Ok(expected), "{text}");
        }
        for wrong in ["", "{", "[]", "1", "{}", r#"{"topicName":7}"#, "\u{0}"] {
            Frame::parse(wrong).unwrap_err();
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*", topic in ".*") {
            let _ = Frame::parse(&text);
            let framed = serde_json::json!({"topicName": topic, "eventBody": text}).to_string();
            let _ = Frame::parse(&framed);
            let _ = conversation(&text);
        }
    }

    #[test]
    fn a_conversation_is_known_by_its_record_and_nothing_else_is() {
        let record = r#"{"conversationId":"c1","conversationStart":"2026-01-01T00:00:00Z"}"#;
        let known = conversation(record).unwrap();
        assert!(known.starts_with("c1:"));
        assert_ne!(conversation(&record.replace("00Z", "01Z")).unwrap(), known);
        assert_eq!(conversation(r#"{"conversationId":"c1"}"#), None);
        assert_eq!(conversation("null"), None);
    }
}
