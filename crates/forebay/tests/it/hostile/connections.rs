//! Connections that are opened and left alone, and bodies that are announced and held back.

use testbed::hostile::{End, as_many_files_as_may_be, status, stranger};
use testbed::tls::Client;
use testbed::{Result, certificate, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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

/// What one may cost within TLS, once its handshake is done.
const IDLE_WITHIN_TLS: u64 = 16 << 10;

/// How many do their handshakes beside each other.
const BESIDE: usize = 16;

/// Of each only the socket is kept when the handshake is done: that is all that the server knows of an idle client.
async fn open_within(tls: &Client, siege: &Siege, count: usize) -> Result<Vec<TcpStream>> {
    let to = siege.ingest();
    let mut opening = JoinSet::new();
    for one in 0..BESIDE {
        let tls = tls.clone();
        opening.spawn(async move {
            let mut held = Vec::new();
            for _ in (one..count).step_by(BESIDE) {
                let stream = tls.over(stranger(to).await.unwrap()).await?;
                held.push(stream.into_inner().0);
            }
            Ok::<_, testbed::Error>(held)
        });
    }
    let mut held = Vec::new();
    while let Some(some) = opening.join_next().await {
        held.extend(some.unwrap()?);
    }
    Ok(held)
}

/// Whether the server ended it. What it says meanwhile are tickets for another session.
fn is_closed(client: &TcpStream) -> bool {
    let mut scratch = [0; 4 << 10];
    loop {
        match client.try_read(&mut scratch) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_within_tls_disturb_nobody() -> Result<()> {
    // What else needs a file needs fewer than a thousand.
    let files = as_many_files_as_may_be()?.saturating_sub(1_000);
    let count = usize::try_from(files).map_or(10_000, |files| files.min(10_000));
    let directory = tempfile::tempdir().unwrap();
    let files = certificate::write(directory.path())?;
    // They may all stay.
    let limits =
        "max_connections = 20000\nmax_connections_per_address = 20000\nheader_timeout = \"1h\"";
    let siege = Siege::begin_within_tls(limits, &files).await?;
    let held = open_within(&Client::trusting(&files.ca)?, &siege, count).await?;
    assert_eq!(held.len(), count);
    siege.the_honest_go_on(400).await?;
    // None was turned away, or cut.
    for code in [
        "too-many-connections",
        "too-many-from-address",
        "busy",
        "tls-failed",
    ] {
        assert_eq!(siege.counted(code).await?, 0.0, "{code}");
    }
    let gone = held.iter().filter(|client| is_closed(client)).count();
    assert_eq!(gone, 0);
    siege.end(20 * MIB + count as u64 * IDLE_WITHIN_TLS).await?;
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
