//! HTTP/2, frame by frame: streams that are reset as fast as they are opened, header blocks that never end, and
//! frames that only keep a server busy.

use std::net::SocketAddr;
use std::time::Duration;

use testbed::{DEADLINE, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Attack, End, MIB, Siege, stranger};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames, and flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const NONE: u8 = 0;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// POST, http, and the path, in HPACK without a table.
fn post() -> Vec<u8> {
    let path = b"/in/other";
    [&[0x83, 0x86, 0x04, 9][..], path].concat()
}

/// Opens a connection and goes on saying what `frames` makes of 0, 1, 2 …, until it is cut off.
async fn flood(to: SocketAddr, frames: impl Fn(u32) -> Vec<u8>) -> std::io::Result<End> {
    let (mut from, mut into) = stranger(to).await?.into_split();
    into.write_all(&[PREFACE, &frame(SETTINGS, NONE, 0, &[])].concat())
        .await?;
    let talking = async move {
        for number in 0.. {
            into.write_all(&frames(number)).await?;
            // Others have their turn: there are two processors for both sides.
            tokio::task::yield_now().await;
        }
        Ok::<_, std::io::Error>(())
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
    over.expect("a flood is cut off");
    Ok(End::Cut)
}

/// So many beside each other, again and again while the honest are acknowledged. Each is cut off.
async fn attack(frames: impl Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static) -> Result<()> {
    let siege = Siege::begin("").await?;
    let to = siege.ingest();
    let attack = Attack::begin(10, move || {
        let frames = frames.clone();
        async move { flood(to, frames).await }
    });
    siege.the_honest_go_on(200).await?;
    let ends = attack.end().await;
    assert!(ends.values().sum::<u64>() >= 10, "{ends:?}");
    siege.end(100 * MIB).await
}

/// The stream of the `number`th request.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Reset in the same write, before the server can take notice of it.
#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_is_cut_off() -> Result<()> {
    attack(|number| {
        let opened_and_reset = (0..100).map(|each| {
            let stream = stream(100 * number + each);
            let opened = frame(HEADERS, END_HEADERS | END_STREAM, stream, &post());
            let reset = frame(RST_STREAM, NONE, stream, &8_u32.to_be_bytes());
            [opened, reset].concat()
        });
        opened_and_reset.collect::<Vec<_>>().concat()
    })
    .await
}

/// Reset after the server has taken notice of it and waits for the body.
#[tokio::test(flavor = "multi_thread")]
async fn slower_reset_is_cut_off() -> Result<()> {
    let siege = Siege::begin("").await?;
    let to = siege.ingest();
    let attack = Attack::begin(10, move || async move {
        let (mut from, mut into) = stranger(to).await?.into_split();
        into.write_all(&[PREFACE, &frame(SETTINGS, NONE, 0, &[])].concat())
            .await?;
        let reading = tokio::spawn(async move {
            let mut scratch = [0; 4 << 10];
            while from.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
        });
        for number in 0.. {
            let opened = frame(HEADERS, END_HEADERS, stream(number), &post());
            let reset = frame(RST_STREAM, NONE, stream(number), &8_u32.to_be_bytes());
            let opened = into.write_all(&opened).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            if opened.and(into.write_all(&reset).await).is_err() {
                break;
            }
        }
        reading.await.unwrap();
        Ok(End::Cut)
    });
    siege.the_honest_go_on(200).await?;
    attack.end().await;
    assert!(siege.counted("too-many-resets").await? >= 1.0);
    siege.end(60 * MIB).await
}

/// A header block that no frame ends (CVE-2024-27316 and its kin).
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_is_cut_off() -> Result<()> {
    let header = |number: u32| {
        // A literal of 1,000 bytes, never the same name twice.
        let name = format!("x-{number:08}");
        let value = "x".repeat(1_000);
        let length = [0x7f, 0xe9, 0x06];
        let name = [&[0x00, 10][..], name.as_bytes()].concat();
        [&name, &length[..], value.as_bytes()].concat()
    };
    attack(move |number| {
        if number == 0 {
            frame(HEADERS, END_STREAM, 1, &post())
        } else {
            frame(CONTINUATION, NONE, 1, &header(number))
        }
    })
    .await
}

/// Continuations with nothing in them cost nothing and never end.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_continuations_is_cut_off() -> Result<()> {
    attack(|number| {
        if number == 0 {
            frame(HEADERS, END_STREAM, 1, &post())
        } else {
            frame(CONTINUATION, NONE, 1, &[]).repeat(100)
        }
    })
    .await
}

/// A body of empty pieces: there is always something to read, and nothing comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_data_is_cut_off() -> Result<()> {
    attack(|number| {
        if number == 0 {
            frame(HEADERS, END_HEADERS, 1, &post())
        } else {
            frame(DATA, NONE, 1, &[]).repeat(100)
        }
    })
    .await
}

/// Frames that want an answer each, on a connection that never asks for anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_and_settings_is_cut_off() -> Result<()> {
    attack(|_| {
        let both = [frame(PING, NONE, 0, &[0; 8]), frame(SETTINGS, NONE, 0, &[])];
        both.concat().repeat(50)
    })
    .await
}
