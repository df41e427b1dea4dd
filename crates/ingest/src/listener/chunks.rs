//! Where a chunked body of HTTP/1 ends (RFC 9112, 7.1). hyper reads it; this only follows, so that the head behind it is
//! found. What hyper refuses ends the connection, so there is no need to refuse it here as well.

/// Where in the body the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a chunk's size, which is so much up to here.
    Size(u64),
    /// Behind it, up to the end of the line.
    Extension(u64),
    /// In a chunk that lacks so many bytes, the end of its line included.
    Data(u64),
    /// In the lines behind the last chunk, with the last byte.
    Trailers(u8),
    /// In one of them.
    Trailer(u8),
}

/// The end of a chunk's line.
const CRLF: u64 = 2;

/// The reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunks(At);

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// There is more of it to come.
    More,
    /// It ends behind so many of the bytes.
    End(usize),
    /// It is none; hyper says so.
    Malformed,
    /// A line behind the last chunk ends with an LF alone.
    BareLf,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self(At::Size(0))
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> Found {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let byte = *byte;
            at += 1;
            self.0 = match self.0 {
                At::Size(size) => match (char::from(byte).to_digit(16), byte) {
                    (Some(digit), _) => match size.checked_mul(16) {
                        Some(size) => At::Size(size | u64::from(digit)),
                        None => return Found::Malformed,
                    },
                    (None, b';' | b' ' | b'\t' | b'\r') => At::Extension(size),
                    (None, _) => return Found::Malformed,
                },
                At::Extension(size) => match (byte, size) {
                    (b'\n', 0) => At::Trailers(byte),
                    (b'\n', _) => At::Data(size.saturating_add(CRLF)),
                    _ => At::Extension(size),
                },
                At::Data(lacks) => {
                    let here = bytes.len() - at + 1;
                    let more = usize::try_from(lacks).map_or(here, |lacks| lacks.min(here));
                    at += more - 1;
                    match lacks - more as u64 {
                        0 => At::Size(0),
                        lacks => At::Data(lacks),
                    }
                }
                At::Trailers(b'\r') if byte == b'\n' => {
                    self.0 = At::Size(0);
                    return Found::End(at);
                }
                At::Trailers(before) | At::Trailer(before) => match (byte, before) {
                    (b'\n', b'\r') => At::Trailers(byte),
                    (b'\n', _) => return Found::BareLf,
                    (b'\r', b'\n') => At::Trailers(byte),
                    _ => At::Trailer(byte),
                },
            };
        }
        Found::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads in pieces of every size; of all sizes the same must come out, with the place of an end among all bytes.
    fn read(bytes: &[u8]) -> Found {
        let in_pieces = |size: usize| {
            let mut chunks = Chunks::new();
            for (number, piece) in bytes.chunks(size).enumerate() {
                match chunks.read(piece) {
                    Found::More => {}
                    Found::End(at) => return Found::End(number * size + at),
                    other => return other,
                }
            }
            Found::More
        };
        let whole = in_pieces(bytes.len().max(1));
        for size in 1..bytes.len() {
            assert_eq!(in_pieces(size), whole, "{size}: {}", bytes.escape_ascii());
        }
        whole
    }

    #[test]
    fn it_ends_behind_the_empty_line_after_its_last_chunk() {
        for whole in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "9;x=\"y\"\r\n0\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
            "1 \t\r\n\n\r\n000\r\nx: y\r\nz: \r\n\r\n",
        ] {
            let behind = format!("{whole}POST / HTTP/1.1\r\n");
            assert_eq!(
                read(behind.as_bytes()),
                Found::End(whole.len()),
                "{whole:?}"
            );
            assert_eq!(read(&whole.as_bytes()[..whole.len() - 1]), Found::More);
        }
    }

    #[test]
    fn what_is_no_chunk_is_left_to_hyper_and_a_lone_lf_behind_the_last_is_found() {
        for (bytes, found) in [
            ("x\r\n", Found::Malformed),
            ("+1\r\n", Found::Malformed),
            ("1\n", Found::Malformed),
            ("10000000000000000\r\n", Found::Malformed),
            ("0\r\n\n", Found::BareLf),
            ("0\r\nx: y\n\r\n", Found::BareLf),
            ("0\r\nx: y\r\n\n", Found::BareLf),
            ("0\r\nx: y\n\nPOST / HTTP/1.1\r\n", Found::BareLf),
        ] {
            assert_eq!(read(bytes.as_bytes()), found, "{bytes:?}");
        }
    }
}
