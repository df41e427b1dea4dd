//! One WebSocket (RFC 6455) of a channel, over whatever [`crate::Dial`] opens.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::dial::{Dial, Place, Stream};

/// The handshake, after the connection is there; and any write.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest frame that is read at all: one that is larger ends the socket.
pub(crate) const LARGEST_FRAME: usize = 64 << 20;

/// An open socket.
pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
}

/// What was heard on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A text.
    Text(Utf8Bytes),
    /// So many bytes that are no text.
    Binary(usize),
    /// A sign of life of the protocol's own.
    Alive,
}

impl Socket {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) async fn open(dial: &dyn Dial, place: &Place, path: &str) -> Result<Self, String> {
        let to = place.authority();
        let stream = dial.dial(place).await.map_err(|error| error.to_string())?;
        let scheme = if place.tls { "wss" } else { "ws" };
        let request = format!("{scheme}://{to}{path}").into_client_request();
        let request = request.map_err(|_| format!("{to} cannot be asked for the channel"))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_FRAME))
            .max_frame_size(Some(LARGEST_FRAME));
        let shaking = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let shaken = tokio::time::timeout(LIMIT, shaking).await;
        let shaken = shaken.map_err(|_| format!("{to} did not answer the handshake"))?;
        let (stream, _) = shaken.map_err(|error| match error {
            Error::Http(answer) => {
                format!(
                    "{to} answered {} to the handshake",
                    answer.status().as_u16()
                )
            }
            other => format!("{to}: {}", in_words(&other)),
        })?;
        Ok(Self { stream })
    }

    /// The next thing that is heard. Dropping the call loses nothing.
    ///
    /// # Errors
    /// Why nothing more will be, in words.
    pub(crate) async fn next(&mut self) -> Result<Heard, String> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Text(text)),
            Some(Ok(Message::Binary(bytes))) => Ok(Heard::Binary(bytes.len())),
            Some(Ok(Message::Close(frame))) => Err(match frame {
                Some(frame) if !frame.reason.is_empty() => format!(
                    "Genesys Cloud closed the socket ({}): {}",
                    u16::from(frame.code),
                    crate::error::shown(&frame.reason)
                ),
                Some(frame) => format!(
                    "Genesys Cloud closed the socket ({})",
                    u16::from(frame.code)
                ),
                None => "Genesys Cloud closed the socket".to_owned(),
            }),
            Some(Ok(_)) => Ok(Heard::Alive),
            Some(Err(error)) => Err(in_words(&error)),
            None => Err("the connection ended".to_owned()),
        }
    }

    /// Asks whether the other side is there.
    ///
    /// # Errors
    /// The socket is broken, in words.
    pub(crate) async fn ping(&mut self) -> Result<(), String> {
        let sending = self.stream.send(Message::text(r#"{"message":"ping"}"#));
        let sent = tokio::time::timeout(LIMIT, sending).await;
        let late = || "nothing can be sent on the socket".to_owned();
        sent.map_err(|_| late())?.map_err(|error| in_words(&error))
    }

    /// Says goodbye, for a moment.
    pub(crate) async fn close(mut self) {
        // Whoever does not listen any more need not be told.
        let _ = tokio::time::timeout(LIMIT, self.stream.close(None)).await;
    }
}

/// What happened, without what was said.
fn in_words(error: &Error) -> String {
    match error {
        Error::Io(error) => format!("the connection broke: {error}"),
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            format!("a frame of {size} bytes came, and {max_size} are the most that is read")
        }
        Error::Capacity(_) => "a frame came that is larger than any that is read".to_owned(),
        Error::ConnectionClosed | Error::AlreadyClosed => "the connection ended".to_owned(),
        Error::Utf8(_) => "a text came that is not UTF-8".to_owned(),
        _ => "what came is not the WebSocket protocol".to_owned(),
    }
}
