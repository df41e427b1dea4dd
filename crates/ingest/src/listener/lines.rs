//! The lines of HTTP/1 heads. hyper takes a lone LF for the end of one, as RFC 9112 (2.2) allows; a reader in front
//! of us that does not would see other headers than we do, and take one request for two or two for one. So a head
//! with one is refused, and so are such lines behind a chunked body.
//!
//! Follows where heads and bodies begin and end. How long a body is, is what hyper says of the request that it made of a
//! head: until then nothing behind the head is passed on, but what the head seems to have of a body. So no request is
//! made of what was not looked at, however much a client sends ahead.

use super::chunks::{Chunks, Found};

/// Where the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between requests, where empty lines are skipped.
    Before,
    Head,
    /// The head was complete, and so many bytes behind it were passed on.
    Behind(u64),
    /// A body that lacks so many bytes.
    Body(u64),
    Chunks(Chunks),
    /// hyper has another end of a head or body than we have, and nothing more of this connection.
    Lost,
}

/// The reader.
#[derive(Debug)]
pub(super) struct Lines {
    at: At,
    /// The last two bytes of the head.
    last: [u8; 2],
    announced: Announced,
}

/// What a head seems to say of the length of its body. Nobody relies on it: it saves that a body which came with its
/// head is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Nothing,
    Length(u64),
    /// It says it in another way, or more than once, or not every line was seen whole.
    Unclear,
}

/// A line ended with an LF alone, or more came of a connection on which nothing more can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BareLf;

impl Lines {
    pub(super) const fn new() -> Self {
        Self {
            at: At::Before,
            last: [0; 2],
            announced: Announced::Nothing,
        }
    }

    /// How many of the bytes may be passed on: those up to the end of a head or of a body. The others are to come again
    /// when hyper wants more.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, BareLf> {
        match self.at {
            At::Before => {
                let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
                let Some(begins) = bytes.iter().position(|byte| !blank(byte)) else {
                    return Ok(bytes.len());
                };
                self.at = At::Head;
                self.last = [0; 2];
                self.announced = Announced::Nothing;
                Ok(begins + self.head(&bytes[begins..], true)?)
            }
            At::Head => self.head(bytes, self.last[1] == b'\n'),
            At::Body(lacks) => {
                let more = usize::try_from(lacks).map_or(bytes.len(), |l| l.min(bytes.len()));
                self.at = body(lacks - more as u64);
                Ok(more)
            }
            At::Chunks(mut chunks) => {
                let found = chunks.read(bytes);
                self.at = At::Chunks(chunks);
                match found {
                    Found::More => return Ok(bytes.len()),
                    Found::End(at) => {
                        self.at = At::Before;
                        return Ok(at);
                    }
                    Found::Malformed => self.at = At::Lost,
                    Found::BareLf => return Err(BareLf),
                }
                // For hyper to refuse.
                Ok(bytes.len())
            }
            At::Behind(_) | At::Lost => Err(BareLf),
        }
    }

    /// Reads a head up to its end, and as much behind it as belongs to it for sure. `begins`: with a line.
    fn head(&mut self, bytes: &[u8], mut begins: bool) -> Result<usize, BareLf> {
        let mut line = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            let before = |back: usize| match at.checked_sub(back) {
                Some(at) => bytes[at],
                None => self.last[2 + at - back],
            };
            if before(1) != b'\r' {
                return Err(BareLf);
            }
            if before(2) == b'\n' {
                let behind = bytes.len() - at - 1;
                let announced = match self.announced {
                    Announced::Length(length) => usize::try_from(length).unwrap_or(behind),
                    Announced::Nothing | Announced::Unclear => 0,
                };
                let of_body = announced.min(behind);
                self.at = At::Behind(of_body as u64);
                return Ok(at + 1 + of_body);
            }
            self.announced = match begins {
                true => self.announced.and(&bytes[line..at]),
                false => Announced::Unclear,
            };
            (line, begins) = (at + 1, true);
        }
        self.last = match bytes {
            [.., one, two] => [*one, *two],
            [two] => [self.last[1], *two],
            [] => self.last,
        };
        Ok(bytes.len())
    }

    /// A request was made of the head; its body is so long, where that is known.
    pub(super) fn begun(&mut self, length: Option<u64>) {
        self.at = match (self.at, length) {
            (At::Behind(came), Some(length)) if came <= length => body(length - came),
            (At::Behind(0), None) => At::Chunks(Chunks::new()),
            _ => At::Lost,
        };
    }
}

impl Announced {
    /// With one more line of the head.
    fn and(self, line: &[u8]) -> Self {
        let named = |name: &[u8]| {
            let begins = line.split_at_checked(name.len());
            begins.is_some_and(|(begins, _)| begins.eq_ignore_ascii_case(name))
        };
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b't') if named(b"transfer-encoding") => Self::Unclear,
            Some(b'c') if named(b"content-length") => {
                let value = line.strip_suffix(b"\r").unwrap_or(line);
                let value = str::from_utf8(&value["content-length".len()..]).ok();
                let value = value.and_then(|value| value.strip_prefix(':'));
                match (self, value.and_then(|value| value.trim().parse().ok())) {
                    (Self::Nothing, Some(length)) => Self::Length(length),
                    _ => Self::Unclear,
                }
            }
            _ => self,
        }
    }
}

const fn body(lacks: u64) -> At {
    if lacks == 0 {
        At::Before
    } else {
        At::Body(lacks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads in pieces of every size as hyper does: a request begins, with a body of the next of these lengths, as soon as
    /// the head's end was passed on. How many began, or that one is refused.
    fn read(bytes: &str, lengths: &[Option<u64>]) -> Result<usize, BareLf> {
        let in_pieces = |size: usize| {
            let mut lines = Lines::new();
            let mut lengths = lengths.iter();
            let mut begun = 0;
            for piece in bytes.as_bytes().chunks(size) {
                let mut left = piece;
                while !left.is_empty() {
                    let passed = lines.read(left)?;
                    assert!(passed > 0, "nothing would be the end of the stream");
                    left = &left[passed..];
                    if matches!(lines.at, At::Behind(_)) {
                        lines.begun(*lengths.next().unwrap());
                        begun += 1;
                    }
                }
            }
            Ok(begun)
        };
        let whole = in_pieces(bytes.len());
        for size in 1..bytes.len() {
            assert_eq!(in_pieces(size), whole, "{size}: {bytes:?}");
        }
        whole
    }

    #[test]
    fn a_lone_lf_is_found_in_a_head_wherever_it_is_cut() {
        for head in [
            "POST / HTTP/1.1\nhost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\nx: y\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\n\n",
            "\r\n\nPOST / HTTP/1.1\r\nhost: x\n",
        ] {
            assert_eq!(read(head, &[Some(0)]), Err(BareLf), "{head:?}");
        }
    }

    #[test]
    fn what_is_no_head_may_have_any() {
        for (bytes, length) in [
            (
                "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n{\n\n}",
                Some(4),
            ),
            (
                "POST / HTTP/1.1\r\nhost: x\r\n\r\n3\r\n\n\n\n\r\n0\r\n\r\n",
                None,
            ),
            ("\n\r\n\nPOST / HTTP/1.1\r\nhost: x\r\n\r\n", Some(0)),
        ] {
            assert_eq!(read(bytes, &[length]), Ok(1), "{bytes:?}");
        }
    }

    #[test]
    fn a_head_is_looked_at_behind_whatever_was_sent_ahead_of_it() {
        let good = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let bad = "GET / HTTP/1.1\r\nhost: x\nx: y\r\n\r\n";
        for (first, length) in [
            (good, Some(0)),
            (
                "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n\n\n\n",
                Some(3),
            ),
            (
                "POST / HTTP/1.1\r\nx: y\r\nContent-Length:3 \r\n\r\n\n\n\n",
                Some(3),
            ),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nx: y\r\n\r\n",
                None,
            ),
            // Where both are said, hyper takes chunks.
            (
                "POST / HTTP/1.1\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                None,
            ),
        ] {
            let lengths = [length, Some(0), length, Some(0), Some(0)];
            let all = [first, good, first, good].concat();
            assert_eq!(read(&all, &lengths), Ok(4), "{first:?}");
            assert_eq!(
                read(&[&all, bad].concat(), &lengths),
                Err(BareLf),
                "{first:?}"
            );
        }
    }

    #[test]
    fn a_body_that_came_with_its_head_is_passed_on_with_it_where_its_length_is_clear() {
        let passed = |headers: &str| {
            let head = format!("POST / HTTP/1.1\r\n{headers}\r\n");
            let all = format!("{head}{{}}GET");
            Lines::new().read(all.as_bytes()).unwrap() - head.len()
        };
        assert_eq!(passed("host: x\r\ncontent-length: 2\r\nx: y\r\n"), 2);
        assert_eq!(passed("content-length: 99\r\n"), 5);
        for unclear in [
            "host: x\r\n",
            "content-length: 2\r\ncontent-length: 2\r\n",
            "content-length: 2, 2\r\n",
            "content-length : 2\r\n",
            "content-length: 2\r\nTransfer-Encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        ] {
            assert_eq!(passed(unclear), 0, "{unclear:?}");
        }
    }

    #[test]
    fn nothing_more_is_passed_on_once_hyper_sees_another_end() {
        for length in [Some(1), None] {
            let mut lines = Lines::new();
            let head = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
            assert_eq!(lines.read(head), Ok(head.len()));
            lines.begun(length);
            assert_eq!(lines.read(b"GET / HTTP/1.1\r\n"), Err(BareLf), "{length:?}");
        }
        // Or no end at all.
        let mut lines = Lines::new();
        lines.read(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(lines.read(b"GET / HTTP/1.1\r\n"), Err(BareLf));
    }
}
