//! SIGTERM and SIGHUP: what was answered stays, what is asked for in time is done in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use testbed::http::{self, Response};
use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::Forebay;
use testbed::sender::genesys_signature;
use testbed::{DEADLINE, Error, Result, until};
use tokio::net::TcpStream;

use crate::rig::{self, ROUTE_NAME};
use crate::wire::address;

/// What the log says when a connection held up the end until its deadline.
const CUT: &str = "connections were still open at their deadline";

/// A signed event, different from every other by its number.
async fn post(forebay: &Forebay, secret: &str, number: u32) -> Result<Response> {
    let body = Bytes::from(format!("{{\"number\":{number}}}"));
    let signature = genesys_signature(secret.as_bytes(), &body);
    let headers = [("x-hub-signature-256", signature.as_str())];
    http::post(&forebay.ingest("/in/genesys"), &headers, body).await
}

/// Tells it to stop; it must end with code 0.
async fn stop(forebay: &mut Forebay) -> Result<Duration> {
    let start = Instant::now();
    forebay.terminate()?;
    let exit = forebay.wait().await?;
    assert_eq!(exit.code, Some(0), "{}", forebay.tail());
    Ok(start.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_stop_under_load_is_delivered_after_it() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = rig::genesys_to(&server.url(), "");
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    for round in 1..=3 {
        let sending = rig::genesys(&forebay, u64::MAX).start(Arc::clone(&judge))?;
        // Who only holds a connection open does not hold up the end.
        let idle = TcpStream::connect(address(&forebay.ingest("")))
            .await
            .unwrap();
        rig::acknowledged(&judge, 500 * round).await?;
        stop(&mut forebay).await?;
        let report = sending.stop().await?;
        assert!(
            report.unanswered > 0,
            "it did not stop under load: {report}"
        );
        drop(idle);
        forebay.start().await?;
    }
    let cut = forebay.stderr().matches(CUT).count();
    assert_eq!(cut, 0, "{}", forebay.stderr());
    rig::assert_delivered(&forebay, &server, &judge).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_database_does_not_hold_up_the_end() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    // Nothing but the shutdown's own deadline can end the wait for this database.
    let config = rig::genesys_to(&server.url(), "timeout = \"1h\"\nconnect_timeout = \"1h\"");
    let config = format!("[server]\nshutdown_timeout = \"3s\"\n{config}");
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    let send = async |forebay: &Forebay, events| {
        let report = rig::genesys(forebay, events)
            .run(Arc::clone(&judge))
            .await?;
        assert_eq!(report.acked, events, "{report}");
        Ok::<_, Error>(())
    };
    send(&forebay, 300).await?;
    rig::drained(&forebay, ROUTE_NAME).await?;
    server.pause().await?;
    send(&forebay, 300).await?;
    let took = stop(&mut forebay).await?;
    // Far above the 3 s for the sake of slow machines, and far below any other deadline.
    assert!(took < Duration::from_secs(30), "{took:?}");
    server.resume()?;
    forebay.start().await?;
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    assert_eq!((verdict.acked, verdict.found), (600, 600));
    Ok(())
}

/// `/readyz` on both listeners.
async fn readiness(forebay: &Forebay) -> Result<[u16; 2]> {
    let ingest = http::get(&forebay.ingest("/readyz")).await?.status;
    let admin = http::get(&forebay.admin("/readyz")).await?.status;
    Ok([ingest.as_u16(), admin.as_u16()])
}

async fn not_ready(forebay: &Forebay) -> Result<()> {
    until(
        "it is no longer ready",
        DEADLINE,
        async || match readiness(forebay).await {
            Ok([503, 503]) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn during_the_shutdown_delay_it_accepts_and_a_second_sigterm_ends_that_and_loses_nothing()
-> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = rig::genesys_to(&server.url(), "");
    let config = format!("[server]\nshutdown_delay = \"1h\"\n{config}");
    let mut forebay = rig::forebay(config).start().await?;
    assert_eq!(readiness(&forebay).await?, [200, 200]);
    forebay.terminate()?;
    not_ready(&forebay).await?;
    let judge = Arc::new(Judge::new());
    let report = rig::genesys(&forebay, 50).run(Arc::clone(&judge)).await?;
    assert_eq!(report.acked, 50, "{report}");
    assert_eq!(http::get(&forebay.ingest("/healthz")).await?.status, 200);
    forebay.terminate()?;
    assert_eq!(forebay.wait().await?.code, Some(1), "{}", forebay.tail());
    forebay.start().await?;
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    assert_eq!(verdict.found, 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_delay_that_nobody_ends_is_followed_by_an_orderly_stop() -> Result<()> {
    let config = "[server]\nshutdown_delay = \"300ms\"\n";
    let mut forebay = rig::forebay(config).start().await?;
    stop(&mut forebay).await?;
    let said = forebay.stderr();
    let at = |words: &str| {
        said.find(words)
            .unwrap_or_else(|| panic!("no {words} in {said}"))
    };
    assert!(at("no longer ready, still accepting") < at("answering what is in flight"));
    assert!(said.contains("stopped"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_the_lock_can_be_told_to_stop() -> Result<()> {
    let first = rig::forebay("").start().await?;
    let waiting = rig::forebay("").data_dir(first.data_dir());
    let mut waiting = waiting.arg("--wait-for-lock").spawn()?;
    until("it waits for the lock", DEADLINE, async || {
        match waiting.stderr() {
            said if said.contains("waiting for another process") => Ok(()),
            said => Err(said),
        }
    })
    .await?;
    stop(&mut waiting).await?;
    assert_eq!(readiness(&first).await?, [200, 200]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_secret_files_again() -> Result<()> {
    const OLD: &str = "the-old-secret-of-many-letters";
    const NEW: &str = "the-new-secret-of-many-letters";
    let sections = r#"
[sources.genesys]
type = "http"
verify = { scheme = "genesys-open-messaging", secret_files = ["current", "previous"] }
[destinations.db]
type = "sqlite"
[routes.genesys-to-db]
from = ["genesys"]
to = "db"
"#;
    let launch = rig::forebay(sections);
    let dir = launch.dir().to_owned();
    let write = |current: &str, previous: &str| {
        std::fs::write(dir.join("current"), format!("{current}\n")).unwrap();
        std::fs::write(dir.join("previous"), format!("{previous}\n")).unwrap();
    };
    write(OLD, OLD);
    let forebay = launch.start().await?;
    let status = async |secret, number| {
        let answer = post(&forebay, secret, number).await?;
        Ok::<_, Error>(answer.status.as_u16())
    };
    assert_eq!(status(OLD, 1).await?, 200);
    assert_eq!(status(NEW, 2).await?, 401);

    // Both at once, as in a rotation; then the new one alone.
    for (previous, old_is) in [(OLD, 200), (NEW, 401)] {
        write(NEW, previous);
        forebay.reload()?;
        until("the file is read again", DEADLINE, async || {
            match (status(OLD, 3).await, status(NEW, 4).await) {
                (Ok(old), Ok(200)) if old == old_is => Ok(()),
                other => Err(format!("{other:?}\n{}", forebay.tail())),
            }
        })
        .await?;
    }

    // A file that cannot be read is said to be, and changes nothing.
    std::fs::remove_file(dir.join("current")).unwrap();
    forebay.reload()?;
    until("the failure is said", DEADLINE, async || {
        match forebay.stderr() {
            said if said.contains("stay as they were") => Ok(()),
            said => Err(said),
        }
    })
    .await?;
    assert_eq!(status(NEW, 5).await?, 200);
    assert_eq!(status(OLD, 6).await?, 401);
    for secret in [OLD, NEW] {
        assert!(!forebay.stderr().contains(secret), "a secret is in the log");
    }
    Ok(())
}
