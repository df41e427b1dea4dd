//! What a test can do to an open socket.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::outbox::Item;
use super::topic;

/// How large the frame says it is of which [`Command::HalfFrame`] sends a part.
const HALF: u16 = 400;

/// Something that happens to a socket, after the frames that it was given before, unless the doc says otherwise.
#[derive(Debug, Clone)]
pub enum Command {
    /// `v2.system.socket_closing`; the server closes the socket 60 s later.
    Closing,
    /// `{"result":"404"}`, and the channel is gone: a `HEAD` of it and a new socket are 404. The socket stays open and
    /// says nothing more, not even heartbeats.
    Lose,
    /// The connection breaks at once, without a close frame. What was not written yet is never written.
    Reset,
    /// A close frame with this code and reason, and the end.
    Close(u16, String),
    /// Nothing is written or read any more, from now on, not even heartbeats; nothing closes. Events that are emitted
    /// are accepted until the buffer runs over.
    Hang,
    /// No heartbeats any more; the rest goes on.
    StopHeartbeats,
    /// Heartbeats again.
    ResumeHeartbeats,
    /// `v2.system.no_longer_subscribed.{channel id}` with this reason (`another_channel_subscribed` or
    /// `user_tokens_revoked`); the channel has no subscriptions any more.
    NoLongerSubscribed(String),
    /// Half of a frame, and the connection breaks.
    HalfFrame,
    /// This as a text frame, which need not be JSON.
    Text(String),
    /// This as a binary frame.
    Binary(Vec<u8>),
    /// These bytes on the connection as they are: for frames that no WebSocket may have.
    Raw(Vec<u8>),
    /// A well-formed event, of a topic that nobody subscribed to.
    UnknownTopic,
    /// A well-formed event in a text frame of exactly so many bytes, at least 100. It is not in the book.
    Sized(usize),
}

impl Command {
    /// What of it goes through the buffer. The rest is the channel's to do.
    pub(super) fn items(&self, channel: &str) -> Vec<Item> {
        let text = |text: String| vec![Item::Message(Message::text(text))];
        match self {
            Self::Closing => {
                let body = json!({ "message": "Socket closing in 60s..." });
                let frame = topic::system_frame("v2.system.socket_closing", &body);
                vec![Item::Message(Message::Text(frame)), Item::CloseInAMinute]
            }
            Self::Lose => vec![
                Item::Message(Message::text(r#"{"result":"404"}"#)),
                Item::Hang,
            ],
            Self::Reset => Vec::new(),
            Self::Close(code, reason) => vec![Item::End(*code, reason.clone())],
            Self::Hang => vec![Item::Hang],
            Self::StopHeartbeats => vec![Item::Heartbeats(false)],
            Self::ResumeHeartbeats => vec![Item::Heartbeats(true)],
            Self::NoLongerSubscribed(reason) => {
                let topic = format!("v2.system.no_longer_subscribed.{channel}");
                let frame = topic::system_frame(&topic, &json!({ "reason": reason }));
                vec![Item::Message(Message::Text(frame))]
            }
            Self::HalfFrame => {
                let mut bytes = vec![0x81, 126];
                bytes.extend(HALF.to_be_bytes());
                bytes
                    .extend(br#"{"topicName":"v2.users.1.presence","version":"2","eventBody":{"a"#);
                vec![Item::Raw(bytes), Item::Break]
            }
            Self::Text(it) => text(it.clone()),
            Self::Binary(bytes) => vec![Item::Message(Message::binary(bytes.clone()))],
            Self::Raw(bytes) => vec![Item::Raw(bytes.clone())],
            Self::UnknownTopic => text(sized("v2.nobody.asked.for.this", 0)),
            Self::Sized(bytes) => text(sized("v2.users.sized.presence", *bytes)),
        }
    }
}

fn sized(topic: &str, bytes: usize) -> String {
    let with = |padding: &str| {
        json!({ "topicName": topic, "version": "2", "eventBody": { "padding": padding } })
            .to_string()
    };
    let bare = with("").len();
    with(&"x".repeat(bytes.saturating_sub(bare)))
}
