//! System calls of the real binary that fail or take long: no 2xx is ever a lie.
//!
//! `strace` injects the fault. What it does after a failed sync or write is the same each time: refuse,
//! say why, end, and leave the rest to the next start, which reads what is really on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::{Exit, Launch, Strace};
use testbed::{DEADLINE, Result};

use crate::rig;

/// The first segment of a new journal: what is appended goes there until it is full.
const SEGMENT: &str = "journal/00000000000000000001.journal";

const FAILED: Exit = Exit {
    code: Some(1),
    signal: None,
};

/// Faults in the calls on one file of the data directory.
fn with_fault(launch: Launch, fault: &str, file: &str) -> Launch {
    let data: PathBuf = launch.dir().join("data");
    let strace = Strace::new().inject(fault).only_path(data.join(file));
    launch.data_dir(data).strace(strace)
}

/// Under load, a fault in a file ends the process with code 1 and these words; after a restart without
/// the fault everything acknowledged is delivered.
async fn ends_and_recovers(fault: &str, file: &str, words: &str) -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let launch = rig::forebay(rig::genesys_to(&server.url(), ""));
    let mut forebay = with_fault(launch, fault, file).start().await?;
    let judge = Arc::new(Judge::new());
    let sending = rig::genesys(&forebay, u64::MAX).start(Arc::clone(&judge))?;
    assert_eq!(forebay.wait().await?, FAILED, "{}", forebay.tail());
    let report = sending.stop().await?;
    assert!(report.acked > 0, "it failed before it began: {report}");
    let only_503 = report.refused.keys().all(|status| *status == 503);
    assert!(only_503, "{report}");
    assert!(
        forebay.stderr().contains(words),
        "{words:?} is not in: {}",
        forebay.tail()
    );

    forebay.launch().set_strace(None);
    forebay.start().await?;
    let fresh = rig::genesys(&forebay, 20).run(Arc::clone(&judge)).await?;
    assert_eq!(fresh.acked, 20, "{fresh}");
    rig::assert_delivered(&forebay, &server, &judge).await?;
    Ok(())
}

/// One failure, after which syncs would succeed again: a journal that tried again would go on and lie.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_sync_that_failed_once_is_final_and_nothing_of_it_was_acknowledged() -> Result<()>
{
    ends_and_recovers("fdatasync:error=EIO:when=20", SEGMENT, "the journal failed").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_write_without_room_ends_it_and_nothing_is_lost() -> Result<()> {
    ends_and_recovers(
        "pwrite64:error=ENOSPC:when=20",
        SEGMENT,
        "the journal failed",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_sync_that_failed_ends_it_and_nothing_is_lost() -> Result<()> {
    let fault = "fsync,fdatasync:error=EIO:when=15";
    ends_and_recovers(fault, "state.db-wal", "state failed").await
}

/// Syncs that take three times as long as a sender is let wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_slower_than_the_ack_timeout_makes_503_and_the_repeat_is_recognised() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = rig::genesys_to(&server.url(), "");
    let config = format!("[server]\nack_timeout = \"100ms\"\n{config}");
    let slow = "fdatasync:delay_enter=300000";
    let mut forebay = with_fault(rig::forebay(config), slow, SEGMENT)
        .start()
        .await?;
    let judge = Arc::new(Judge::new());
    let sender = rig::genesys(&forebay, 400)
        .connections(64)
        // Much shorter than a sync: senders in step with the disk would miss every frame.
        .retries(10_000, Duration::from_millis(5));
    let report = sender.run(Arc::clone(&judge)).await?;
    println!("{report}");
    assert_eq!((report.sent, report.acked), (400, 400), "{report}");
    assert_eq!(
        report.refused.keys().collect::<Vec<_>>(),
        [&503],
        "{report}"
    );
    assert!(report.duplicates > 0, "{report}");
    let refused = forebay.metrics().await?.get(
        "forebay_events_refused_total",
        &[("source", "genesys"), ("code", "ack-timeout")],
    );
    assert!(refused.is_some_and(|refused| refused > 0.0), "{refused:?}");
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    assert_eq!((verdict.acked, verdict.found), (400, 400));
    forebay.restart().await
}

/// Far more clients than a slow disk can serve wait their turn, and memory does not grow with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_slows_the_answers_and_memory_stays_bounded() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let slow = "fdatasync:delay_enter=200000";
    let launch = rig::forebay(rig::genesys_to(&server.url(), ""));
    let forebay = with_fault(launch, slow, SEGMENT).start().await?;
    let judge = Arc::new(Judge::new());
    let sender = rig::genesys(&forebay, 1_000)
        .connections(100)
        .body_size(60_000)
        // Beyond the ack timeout a busy machine may answer 503; such a payload comes again.
        .retries(100, Duration::from_millis(50));
    let report = sender.run(Arc::clone(&judge)).await?;
    assert_eq!((report.sent, report.acked), (1_000, 1_000), "{report}");
    let memory = forebay.memory()?;
    assert!(memory.peak < 200 << 20, "{memory:?}");
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    assert_eq!((verdict.acked, verdict.found), (1_000, 1_000));
    // Each answer waited for a sync of 200 ms, ten of them one after the other on each connection.
    assert!(report.elapsed >= Duration::from_secs(2), "{report}");
    assert!(report.elapsed < DEADLINE * 2, "{report}");
    Ok(())
}
