//! HTTP/2, frame by frame: streams that are reset as fast as they are opened, header blocks that never end, and
//! frames that only keep a server busy.

use std::time::Duration;

use testbed::Result;
use testbed::hostile::http2::{
    END_HEADERS, HEADERS, NONE, PREFACE, RST_STREAM, SETTINGS, continuations, empty_continuations,
    empty_data, flood, frame, pings_and_settings, post, rapid_reset, stream,
};
use testbed::hostile::{Attack, End, stranger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{MIB, Siege};

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
    println!("{ends:?}");
    assert!(ends.keys().all(|end| *end == End::Cut), "{ends:?}");
    assert!(ends.values().sum::<u64>() >= 10, "{ends:?}");
    siege.end(100 * MIB).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_is_cut_off() -> Result<()> {
    attack(rapid_reset).await
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

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_is_cut_off() -> Result<()> {
    attack(continuations).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_continuations_is_cut_off() -> Result<()> {
    attack(empty_continuations).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_data_is_cut_off() -> Result<()> {
    attack(empty_data).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_and_settings_is_cut_off() -> Result<()> {
    attack(pings_and_settings).await
}
