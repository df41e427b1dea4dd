//! Connections that are opened and left alone, and bodies that are announced and held back.

use testbed::hostile::{End, as_many_files_as_may_be, status, stranger};
use testbed::{Result, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{MIB, Siege, many};

/// What an idle connection may cost.
const IDLE: u64 = 8 << 10;

async fn open(siege: &Siege, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(stranger(siege.ingest()).await.unwrap());
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_disturb_nobody() -> Result<()> {
    as_many_files_as_may_be()?;
    let count = many(2_000, 10_000);
    // They may all stay.
    let limits =
        "max_connections = 20000\nmax_connections_per_address = 20000\nheader_timeout = \"1h\"";
    let siege = Siege::begin(limits).await?;
    let held = open(&siege, count).await;
    siege.the_honest_go_on(400).await?;
    // None was turned away.
    for code in ["too-many-connections", "too-many-from-address"] {
        assert_eq!(siege.counted(code).await?, 0.0, "{code}");
    }
    siege.end(20 * MIB + count as u64 * IDLE).await?;
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_connections() -> Result<()> {
    as_many_files_as_may_be()?;
    let siege = Siege::begin("max_connections = 1100\nheader_timeout = \"1h\"").await?;
    let mut held = open(&siege, 1_500).await;
    siege.the_honest_go_on(200).await?;
    until(
        "one is turned away each",
        testbed::DEADLINE,
        async || match siege.counted("too-many-from-address").await {
            Ok(500.0) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await?;
    let last = held.last_mut().unwrap();
    assert_eq!(status(last).await, End::Told(503));
    // What the others gave up is there for anybody.
    drop(held);
    siege.the_honest_go_on(100).await?;
    siege.end(40 * MIB).await
}

/// All but the last byte of the largest bodies: more than there is memory for.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_held_back_leave_memory_for_another_source() -> Result<()> {
    let siege = Siege::begin("body_timeout = \"1h\"\nmin_body_rate = \"0\"").await?;
    let length = 9 << 20;
    let head = format!("POST /in/other HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    let all_but_one = [head.as_bytes(), &vec![b'x'; length - 1]].concat();
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..12 {
        let mut client = stranger(siege.ingest()).await.unwrap();
        // Who is refused may be cut off in the middle.
        if client.write_all(&all_but_one).await.is_err() {
            refused += 1;
        }
        held.push(client);
    }
    siege.the_honest_go_on(400).await?;
    let metrics = siege.forebay.metrics().await?;
    let labels = [("source", "other"), ("code", "busy")];
    let busy = metrics.get("forebay_events_refused_total", &labels);
    println!("{refused} cut off, {busy:?} refused");
    assert!(busy.is_some_and(|busy| busy >= 9.0), "{busy:?}");
    siege.end(100 * MIB).await?;
    drop(held);
    Ok(())
}
