//! The lines of HTTP/1 heads. hyper takes a lone LF for the end of one, as RFC 9112 (2.2) allows; a reader in front
//! of us that does not would see other headers than we do, and take one request for two or two for one. So a head
//! with one is refused.
//!
//! Only follows where heads begin and end, and looks at nothing else. What a client sends ahead, before the request
//! in front of it was taken notice of, is not looked at: a reader in front does not do that.

/// Where the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between requests, where empty lines are skipped.
    Before,
    Head,
    /// The head was complete, and so many bytes came behind it.
    Behind(u64),
    /// A body that lacks so many bytes.
    Body(u64),
    /// In or behind a body of unknown length.
    Somewhere,
}

/// The reader.
#[derive(Debug)]
pub(super) struct Lines {
    at: At,
    /// The last two bytes of the head.
    last: [u8; 2],
}

/// A line ended with an LF alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BareLf;

impl Lines {
    pub(super) const fn new() -> Self {
        Self {
            at: At::Before,
            last: [0; 2],
        }
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), BareLf> {
        while !bytes.is_empty() {
            match self.at {
                At::Before => {
                    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
                    let Some(begins) = bytes.iter().position(|byte| !blank(byte)) else {
                        return Ok(());
                    };
                    bytes = &bytes[begins..];
                    self.at = At::Head;
                    self.last = [0; 2];
                }
                At::Head => bytes = self.head(bytes)?,
                At::Behind(came) => {
                    self.at = At::Behind(came + bytes.len() as u64);
                    return Ok(());
                }
                At::Body(lacks) => {
                    let more = usize::try_from(lacks).map_or(bytes.len(), |l| l.min(bytes.len()));
                    bytes = &bytes[more..];
                    self.at = body(lacks - more as u64);
                }
                At::Somewhere => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads a head up to its end, and returns what is behind it.
    fn head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], BareLf> {
        for at in memchr::memchr_iter(b'\n', bytes) {
            let before = |back: usize| match at.checked_sub(back) {
                Some(at) => bytes[at],
                None => self.last[2 + at - back],
            };
            if before(1) != b'\r' {
                return Err(BareLf);
            }
            if before(2) == b'\n' {
                self.at = At::Behind(0);
                return Ok(&bytes[at + 1..]);
            }
        }
        self.last = match bytes {
            [.., one, two] => [*one, *two],
            [two] => [self.last[1], *two],
            [] => self.last,
        };
        Ok(&[])
    }

    /// A request was made of the head; its body is so long, where that is known.
    pub(super) fn begun(&mut self, length: Option<u64>) {
        self.at = match (self.at, length) {
            (At::Behind(came), Some(length)) if came <= length => body(length - came),
            _ => At::Somewhere,
        };
    }

    /// Everything was read and answered.
    pub(super) fn all_read(&mut self) {
        if self.at == At::Somewhere {
            self.at = At::Before;
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

    /// Reads in pieces of every size; `begun` with this length at the end of each head.
    fn read(bytes: &str, length: Option<u64>) -> Vec<Result<(), BareLf>> {
        let one = |size: usize| {
            let mut lines = Lines::new();
            for piece in bytes.as_bytes().chunks(size) {
                lines.read(piece)?;
                if matches!(lines.at, At::Behind(_)) {
                    lines.begun(length);
                }
            }
            Ok(())
        };
        (1..=bytes.len()).map(one).collect()
    }

    #[test]
    fn a_lone_lf_is_found_in_a_head_wherever_it_is_cut() {
        for head in [
            "POST / HTTP/1.1\nhost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\nx: y\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\n\n",
            "\r\n\nPOST / HTTP/1.1\r\nhost: x\n",
        ] {
            let found = read(head, Some(0));
            assert!(found.iter().all(Result::is_err), "{head:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_head_may_have_any() {
        for (bytes, length) in [
            ("POST / HTTP/1.1\r\nhost: x\r\n\r\n{\n\n}", Some(4)),
            ("POST / HTTP/1.1\r\nhost: x\r\n\r\n1\r\n\n\r\n", None),
            ("\n\r\n\nPOST / HTTP/1.1\r\nhost: x\r\n\r\n", Some(0)),
        ] {
            let found = read(bytes, length);
            assert!(found.iter().all(Result::is_ok), "{bytes:?}: {found:?}");
        }
    }

    #[test]
    fn the_next_head_is_looked_at_behind_a_body_of_known_length_and_of_one_that_was_read() {
        for length in [Some(3), None] {
            let mut lines = Lines::new();
            lines.read(b"POST / HTTP/1.1\r\n\r\n\n").unwrap();
            lines.begun(length);
            lines.read(b"\n\n").unwrap();
            lines.all_read();
            lines.read(b"GET / HTTP/1.1\r\n").unwrap();
            assert_eq!(lines.read(b"x: y\nz: a"), Err(BareLf), "{length:?}");
        }
    }

    #[test]
    fn what_was_sent_ahead_makes_no_body_look_like_a_head() {
        let mut lines = Lines::new();
        lines
            .read(b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n\r\n{")
            .unwrap();
        lines.begun(Some(0));
        lines.begun(Some(3));
        assert_eq!(lines.read(b"\n}"), Ok(()));
        lines.all_read();
        assert_eq!(lines.read(b"GET / HTTP/1.1\n"), Err(BareLf));
    }
}
