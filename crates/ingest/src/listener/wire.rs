//! What of a connection's bytes no request has been made of yet: the half head of HTTP/1, the half
//! frame or header block of HTTP/2. hyper keeps them in its buffers; here they are only counted, and what only
//! keeps us busy is noticed.

use super::lines::{BareLf, Lines};

/// What an HTTP/2 client says first (RFC 9113, 3.4). Whoever says anything else speaks HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many frames of HTTP/2 that bring nothing may come between two requests: pings, settings, windows, empty
/// pieces. A client that asks for something needs few.
const NOTHING: u32 = 1_000;

/// Of HTTP/2: the types of the frames that bring something, the flag that ends a header block, and that of padding.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// What a connection of HTTP/2 counts for before it says anything: its tables, buffers and streams that
/// were answered take several times as much as a connection of HTTP/1, measured as up to 125 KiB.
pub(super) const HTTP2: u64 = 24 << 10;

/// The count.
#[derive(Debug)]
pub(super) enum Wire {
    /// So many bytes of the preface came.
    Unknown(usize),
    Http1(Heads),
    Http2(Frames),
}

/// A connection does what no honest client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// In HTTP/1, a line of a head that a reader in front of us could take for none.
    BareLf,
    /// In HTTP/2, frame after frame that brings nothing.
    Busy,
}

/// Of HTTP/1.
#[derive(Debug)]
pub(super) struct Heads {
    /// Since the last request began.
    bytes: u64,
    lines: Lines,
}

impl Wire {
    pub(super) const fn new() -> Self {
        Self::Unknown(0)
    }

    pub(super) const fn is_http1(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Bytes that were read. `waiting`: no request is under way, so that in HTTP/1 they belong to a head. How many of
    /// them may be passed on; the others are to come again when hyper wants more.
    pub(super) fn read(&mut self, bytes: &[u8], waiting: bool) -> Result<usize, Odd> {
        match self {
            Self::Unknown(came) => {
                let expected = &PREFACE[*came..];
                let common = expected.len().min(bytes.len());
                if expected[..common] != bytes[..common] {
                    let mut heads = Heads {
                        bytes: 0,
                        lines: Lines::new(),
                    };
                    let read = heads.read(&PREFACE[..*came], true);
                    let read = read.and_then(|_| heads.read(bytes, true));
                    *self = Self::Http1(heads);
                    return read;
                } else if common < expected.len() {
                    *came += common;
                } else {
                    let mut frames = Frames::default();
                    frames.read(&bytes[common..]);
                    *self = Self::Http2(frames);
                }
                Ok(bytes.len())
            }
            Self::Http1(heads) => heads.read(bytes, waiting),
            Self::Http2(frames) => {
                frames.read(bytes);
                if frames.nothing > NOTHING {
                    return Err(Odd::Busy);
                }
                Ok(bytes.len())
            }
        }
    }

    /// A request has begun, with a body of this length where that is known: in HTTP/1 its head is no longer ours.
    pub(super) fn begun(&mut self, length: Option<u64>) {
        match self {
            Self::Unknown(_) => {}
            Self::Http1(heads) => {
                heads.bytes = 0;
                heads.lines.begun(length);
            }
            Self::Http2(frames) => frames.nothing = 0,
        }
    }

    /// Bytes that no request has been made of.
    pub(super) const fn held(&self) -> u64 {
        match self {
            Self::Unknown(came) => *came as u64,
            Self::Http1(heads) => heads.bytes,
            Self::Http2(frames) => HTTP2 + frames.block + frames.frame,
        }
    }
}

impl Heads {
    fn read(&mut self, bytes: &[u8], waiting: bool) -> Result<usize, Odd> {
        let passed = self.lines.read(bytes).map_err(|BareLf| Odd::BareLf)?;
        if waiting {
            self.bytes += passed as u64;
        }
        Ok(passed)
    }
}

/// Where in HTTP/2's frames the connection is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head of the present frame, as far as it came.
    head: [u8; 9],
    head_came: usize,
    /// Bytes that the present frame still lacks, once its head is there.
    lacks: usize,
    /// Bytes of the present frame.
    frame: u64,
    /// Those of them that are padding, with the byte that says how much.
    padding: u64,
    /// Bytes of a header block that has not ended, of whole frames.
    block: u64,
    /// Frames since the last request began that brought neither content nor a whole header block.
    nothing: u32,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.head_came < self.head.len() {
                let more = bytes.len().min(self.head.len() - self.head_came);
                self.head[self.head_came..self.head_came + more].copy_from_slice(&bytes[..more]);
                self.head_came += more;
                self.frame += more as u64;
                bytes = &bytes[more..];
                if self.head_came < self.head.len() {
                    return;
                }
                let [one, two, three, ..] = self.head;
                self.lacks = usize::from(one) << 16 | usize::from(two) << 8 | usize::from(three);
            }
            let more = bytes.len().min(self.lacks);
            let [.., kind, flags, _, _, _, _] = self.head;
            let begins = more > 0 && self.frame == self.head.len() as u64;
            if begins && kind == DATA && flags & PADDED != 0 {
                self.padding = 1 + u64::from(bytes[0]);
            }
            self.lacks -= more;
            self.frame += more as u64;
            bytes = &bytes[more..];
            if self.lacks == 0 {
                self.end_of_frame();
            }
        }
    }

    fn end_of_frame(&mut self) {
        let [_, _, _, kind, flags, ..] = self.head;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.block = if flags & END_HEADERS == 0 {
                self.block + self.frame
            } else {
                0
            };
        }
        let brings = match kind {
            DATA => self.frame > self.head.len() as u64 + self.padding,
            HEADERS | CONTINUATION => flags & END_HEADERS != 0,
            _ => false,
        };
        self.nothing += u32::from(!brings);
        self.frame = 0;
        self.padding = 0;
        self.head_came = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(9 + usize::from(length), b'x');
        frame
    }

    /// The counts after each piece of a connection, cut into pieces of every size.
    fn http2(frames: &[Vec<u8>], held: u64) {
        let all = [PREFACE, &frames.concat()].concat();
        for size in 1..=all.len() {
            let mut wire = Wire::new();
            for piece in all.chunks(size) {
                wire.read(piece, true).unwrap();
            }
            assert!(matches!(wire, Wire::Http2(_)), "{size}");
            assert_eq!(wire.held(), HTTP2 + held, "{size}");
        }
    }

    #[test]
    fn of_http2_what_is_no_whole_frame_or_header_block_is_held() {
        http2(&[], 0);
        http2(&[frame(4, 0, 0), frame(HEADERS, END_HEADERS, 30)], 0);
        http2(&[frame(HEADERS, 0, 30)], 39);
        http2(&[frame(HEADERS, 0, 30), frame(CONTINUATION, 0, 7)], 55);
        http2(
            &[frame(HEADERS, 0, 30), frame(CONTINUATION, END_HEADERS, 7)],
            0,
        );
        http2(&[frame(0, 1, 200), vec![0, 1, 0, 0, 0]], 5);
        http2(
            &[frame(0, 1, 200), vec![0, 1, 0, 0, 0, 0, 0, 0, 1, 9, 9]],
            11,
        );
    }

    #[test]
    fn of_http1_what_came_since_the_last_request_is_held() {
        let mut wire = Wire::new();
        wire.read(b"P", true).unwrap();
        assert!(!wire.is_http1());
        wire.read(b"OST", true).unwrap();
        assert!(wire.is_http1());
        assert_eq!(wire.held(), 4);
        wire.read(b" / HTTP/1.1\r\n\r\n", true).unwrap();
        wire.begun(Some(6));
        wire.read(b"a body", false).unwrap();
        assert_eq!(wire.held(), 0);
        // No other head is passed on before it is known what became of this one.
        let passed = wire.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true);
        assert!(wire.is_http1());
        assert_eq!((passed, wire.held()), (Ok(18), 18));
    }

    #[test]
    fn of_http2_so_many_frames_that_bring_nothing_are_too_many() {
        let flood = |one: &[u8], many: usize| {
            let mut wire = Wire::new();
            wire.read(PREFACE, true).unwrap();
            let all = one.repeat(many);
            all.chunks(8 << 10)
                .try_for_each(|piece| wire.read(piece, true).map(drop))
        };
        let ping = frame(6, 0, 8);
        assert_eq!(flood(&ping, 1_000), Ok(()));
        for nothing in [ping, frame(0, 0, 0), frame(CONTINUATION, 0, 1)] {
            assert_eq!(flood(&nothing, 1_001), Err(Odd::Busy), "{nothing:?}");
        }
        // Nothing but padding: one byte that says there is none, and as much as there may be.
        let padding = |length: u8| {
            let mut padded = frame(DATA, PADDED, length + 1);
            padded[9] = length;
            padded
        };
        for length in [0, 254] {
            assert_eq!(flood(&padding(length), 1_001), Err(Odd::Busy), "{length}");
        }
        let mut content = padding(7);
        content[9] = 6;
        assert_eq!(flood(&content, 5_000), Ok(()));
        let content = [frame(0, 0, 1), frame(HEADERS, END_HEADERS, 9)].concat();
        assert_eq!(flood(&content, 5_000), Ok(()));
    }

    #[test]
    fn requests_make_up_for_frames_that_bring_nothing() {
        let mut wire = Wire::new();
        wire.read(PREFACE, true).unwrap();
        for _ in 0..100 {
            wire.read(&frame(8, 0, 4).repeat(500), true).unwrap();
            wire.begun(None);
        }
    }

    #[test]
    fn of_http1_a_lone_lf_is_odd_also_where_the_preface_might_have_been() {
        let mut wire = Wire::new();
        wire.read(b"PRI * HTTP/2.0\r\n", true).unwrap();
        assert_eq!(wire.read(b"x: y\nz", true), Err(Odd::BareLf));
        let mut wire = Wire::new();
        assert_eq!(wire.read(b"POST / HTTP/1.1\n", true), Err(Odd::BareLf));
    }
}
