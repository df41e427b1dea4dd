//! Just enough of PostgreSQL's protocol to see where a message from the server begins and ends.
//!
//! A message is one byte that says what it is, then four that give its length, themselves included
//! (PostgreSQL documentation, "Message Formats"). Contents are looked at for two kinds only.

use bytes::{Buf as _, Bytes, BytesMut};

/// `CommandComplete`, sent after each statement with a tag such as `COMMIT` or `INSERT 0 1`.
pub(super) const COMMAND_COMPLETE: u8 = b'C';
/// `ErrorResponse`.
pub(super) const ERROR: u8 = b'E';
/// `ReadyForQuery`, which says whether a transaction is open.
pub(super) const READY: u8 = b'Z';

const HEADER: usize = 5;

/// One message from the server, with its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message(pub(super) Bytes);

impl Message {
    pub(super) fn kind(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    pub(super) fn body(&self) -> &[u8] {
        self.0.get(HEADER..).unwrap_or_default()
    }
}

/// Puts messages together from the pieces that TCP makes of them.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: BytesMut,
}

impl Framer {
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message, if it has all arrived.
    pub(super) fn next(&mut self) -> Option<Message> {
        let mut length = self.buffer.get(1..HEADER)?;
        let length = usize::try_from(length.get_u32()).ok()?;
        let whole = length.checked_add(1)?.max(HEADER);
        (self.buffer.len() >= whole).then(|| Message(self.buffer.split_to(whole).freeze()))
    }
}

/// What the first eight bytes from a client ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Encryption (`SSLRequest`, `GSSENCRequest`): answered by one byte without a header.
    Encryption,
    /// A session, or the cancelling of one: messages from here on.
    Session,
}

/// `SSLRequest` and `GSSENCRequest` are a length of 8 and one of these codes.
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

pub(super) fn opening(mut first: [u8; 8]) -> Opening {
    let mut first = first.as_mut_slice() as &[u8];
    match (first.get_u32(), first.get_u32()) {
        (8, SSL_REQUEST | GSSENC_REQUEST) => Opening::Encryption,
        _ => Opening::Session,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(tag: &str) -> Vec<u8> {
        let mut bytes = vec![COMMAND_COMPLETE];
        bytes.extend(u32::try_from(tag.len() + 5).unwrap().to_be_bytes());
        bytes.extend(tag.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn messages_come_out_whole_however_they_were_split() {
        let stream = [complete("INSERT 0 1"), complete("COMMIT")].concat();
        for split in 0..stream.len() {
            let mut framer = Framer::default();
            let mut messages = Vec::new();
            for piece in [&stream[..split], &stream[split..]] {
                framer.feed(piece);
                messages.extend(std::iter::from_fn(|| framer.next()));
            }
            let tags: Vec<&[u8]> = messages.iter().map(Message::body).collect();
            assert_eq!(
                tags,
                [&b"INSERT 0 1\0"[..], b"COMMIT\0"],
                "split at {split}"
            );
            assert!(
                messages
                    .iter()
                    .all(|message| message.kind() == COMMAND_COMPLETE)
            );
        }
    }

    #[test]
    fn a_request_for_encryption_is_told_from_a_session() {
        assert_eq!(opening([0, 0, 0, 8, 4, 210, 22, 47]), Opening::Encryption);
        assert_eq!(opening([0, 0, 0, 8, 4, 210, 22, 48]), Opening::Encryption);
        assert_eq!(opening([0, 0, 0, 41, 0, 3, 0, 0]), Opening::Session);
    }
}
