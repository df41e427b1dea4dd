//! An event's headers, packed the way they are stored: one allocation for all of them, whether they come
//! from a request or from the journal.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, decode_varint, encode_key, encode_varint, encoded_len_varint};

/// The field of the stored event, and those of a header in it.
const HEADERS: u32 = 5;
const NAME: u32 = 1;
const VALUE: u32 = 2;

/// One header as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'h> {
    /// The field name, lower case, ASCII.
    pub name: &'h str,
    /// The field value, byte for byte (it need not be UTF-8).
    pub value: &'h [u8],
}

/// Headers in the order they came. Cloning is cheap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Fields of the stored event, one a header, as `encode` copies them out.
    fields: Bytes,
}

/// Collects headers.
#[derive(Debug, Default)]
pub struct HeadersBuilder {
    fields: BytesMut,
}

impl HeadersBuilder {
    /// With room for headers of `bytes` in all, names and values.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            fields: BytesMut::with_capacity(bytes),
        }
    }

    /// Adds one behind the others. The name is in lower case.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let out = &mut self.fields;
        encode_key(HEADERS, WireType::LengthDelimited, out);
        let len = field_len(name.len()) + field_len(value.len());
        encode_varint(len as u64, out);
        put(NAME, name.as_bytes(), out);
        put(VALUE, value, out);
    }

    /// The headers.
    #[must_use]
    pub fn build(self) -> Headers {
        Headers {
            fields: self.fields.freeze(),
        }
    }
}

/// With a tag of one byte; left out when it is empty, as proto3 has it.
fn field_len(len: usize) -> usize {
    if len == 0 {
        0
    } else {
        1 + encoded_len_varint(len as u64) + len
    }
}

fn put(tag: u32, bytes: &[u8], out: &mut BytesMut) {
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

impl Headers {
    /// The headers in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> + Clone {
        let mut rest = &self.fields[..];
        std::iter::from_fn(move || {
            let (_, message) = take_field(&mut rest)?;
            parse(message)
        })
    }

    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|header| header.name == name)
            .map(|header| header.value)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The bytes they take, in memory and stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.fields.len()
    }

    /// The fields of the stored event that hold them.
    pub(super) fn as_fields(&self) -> &[u8] {
        &self.fields
    }

    /// From the messages of the stored event's fields; `None` if one of them is no header.
    pub(super) fn from_messages(messages: &[Bytes]) -> Option<Self> {
        let bytes = messages.iter().map(|message| message.len() + 6).sum();
        let mut headers = HeadersBuilder::with_capacity(bytes);
        for message in messages {
            let Header { name, value } = parse(message)?;
            headers.push(name, value);
        }
        Some(headers.build())
    }
}

/// Takes a length-delimited field off the front: its tag and its content.
fn take_field<'f>(rest: &mut &'f [u8]) -> Option<(u32, &'f [u8])> {
    let (tag, wire_type) = prost::encoding::decode_key(rest).ok()?;
    if wire_type != WireType::LengthDelimited {
        return None;
    }
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (content, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some((tag, content))
}

/// A header's message. Fields that a later version may add are left out.
fn parse(mut message: &[u8]) -> Option<Header<'_>> {
    let mut header = Header {
        name: "",
        value: &[],
    };
    while !message.is_empty() {
        match take_field(&mut message)? {
            (NAME, name) => header.name = std::str::from_utf8(name).ok()?,
            (VALUE, value) => header.value = value,
            _ => {}
        }
    }
    Some(header)
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut builder = HeadersBuilder::default();
        for (name, value) in headers {
            builder.push(name.as_ref(), value.as_ref());
        }
        builder.build()
    }
}

impl fmt::Debug for Headers {
    /// Names only: values are payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|header| header.name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_in_order_with_every_byte() {
        let given: [(&str, &[u8]); 5] = [
            ("host", b"a"),
            ("x-odd", b"caf\xe9\xff\0"),
            ("empty", b""),
            ("host", b"b"),
            ("", b"nameless"),
        ];
        let headers: Headers = given.iter().copied().collect();
        let back: Vec<_> = headers
            .iter()
            .map(|header| (header.name, header.value))
            .collect();
        assert_eq!(back, given);
        assert_eq!(headers.get("host"), Some(&b"a"[..]));
        assert_eq!(headers.get("none"), None);
        assert!(Headers::default().is_empty());
    }
}
