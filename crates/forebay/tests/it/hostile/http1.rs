//! HTTP/1.1 that never ends: heads, bodies, chunks, trailers.

use std::time::Duration;

use testbed::Result;
use testbed::hostile::{Attack, End, pester};

use super::{MIB, Siege};

const POST: &str = "POST /in/other HTTP/1.1\r\nhost: x\r\n";
const CHUNKED: &str = "POST /in/other HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";

/// As fast as it goes.
const AT_ONCE: Duration = Duration::ZERO;

/// What is said first, and then again and again.
type Says = (String, String);

/// One after the other, so many beside each other and again and again while the honest are acknowledged. Each is
/// told one of the statuses, or cut off before it could hear it.
async fn attack(
    limits: &str,
    beside: usize,
    says: impl IntoIterator<Item = Says>,
    every: Duration,
    statuses: &[u16],
) -> Result<()> {
    let siege = Siege::begin(limits).await?;
    let to = siege.ingest();
    for (first, more) in says {
        let claim = format!("{first:.80} {more:.80}");
        let attack = Attack::begin(beside, move || {
            pester(to, first.clone().into(), more.clone().into(), every)
        });
        siege.the_honest_go_on(200).await?;
        let ends = attack.end().await;
        println!("{ends:?}");
        let told = |end: &End| statuses.iter().any(|status| *end == End::Told(*status));
        assert!(ends.keys().any(told), "{claim}: {ends:?}");
        assert!(
            ends.keys().all(|end| told(end) || *end == End::Cut),
            "{claim}: {ends:?}"
        );
    }
    // All that may be in flight, and as much again for how it grows.
    siege.end(128 * MIB).await
}

/// Slow enough to be taken for a client.
const TRICKLE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_trickle_are_told_408() -> Result<()> {
    let says = (format!("{POST}x: "), "x".to_owned());
    attack("header_timeout = \"1s\"", 500, [says], TRICKLE, &[408]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_trickle_are_told_408() -> Result<()> {
    let says = [
        (
            format!("{POST}content-length: 60000\r\n\r\n"),
            "x".to_owned(),
        ),
        // A chunk's size that never ends.
        (CHUNKED.to_owned(), "0".to_owned()),
    ];
    attack("body_timeout = \"1s\"", 500, says, TRICKLE, &[408]).await
}

/// However long a body may take: below the least rate it is ended.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_trickle_for_ever_are_told_408_for_their_rate() -> Result<()> {
    let first = format!("{POST}content-length: 60000\r\n\r\n");
    let says = (first, "x".to_owned());
    attack("body_timeout = \"1h\"", 200, [says], TRICKLE, &[408]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_without_end_are_told_413_or_that_too_much_is_under_way() -> Result<()> {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let says = (CHUNKED.to_owned(), chunk);
    attack("", 8, [says], AT_ONCE, &[413, 503]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_and_trailers_that_are_all_frame_and_no_content_are_refused() -> Result<()> {
    let says = [
        // Extensions that never end.
        (CHUNKED.to_owned(), "1;a=b".to_owned() + &"x".repeat(4_000)),
        // Extensions of chunks of one byte.
        (
            CHUNKED.to_owned(),
            format!("1;{}\r\nx\r\n", "x".repeat(1_000)),
        ),
        (format!("{CHUNKED}0\r\n"), "x-trailer: x\r\n".repeat(100)),
    ];
    attack("", 8, says, AT_ONCE, &[400]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_told_431() -> Result<()> {
    let says = [
        (POST.to_owned(), "x-header: x\r\n".repeat(100)),
        (format!("{POST}x: "), "x".repeat(8_000)),
        ("POST /in/other?".to_owned(), "x".repeat(8_000)),
    ];
    attack("", 20, says, AT_ONCE, &[431]).await
}

/// A megabyte of them, and then the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_headers_is_told_431() -> Result<()> {
    let says = [
        format!("x: {}\r\n", "x".repeat(1 << 20)),
        "x-header: x\r\n".repeat((1 << 20) / 13),
        format!("x: {}\r\n", "x".repeat(1 << 10)).repeat(1 << 10),
    ]
    .map(|headers| {
        let whole = format!("{POST}{headers}content-length: 2\r\n\r\n{{}}");
        (whole, String::new())
    });
    attack("", 20, says, Duration::from_secs(1), &[431]).await
}
