//! `kill -9` at random moments under load, over and over, and the judge at the end.
//!
//! A round starts Forebay, lets the sender post for a random while, and kills it; some rounds do not even
//! wait until it is ready, so that recovery and rotation are interrupted too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use testbed::Result;
use testbed::judge::{BodyHash, Judge};
use testbed::postgres::{Options, Server};
use testbed::process::Forebay;
use testbed::proxy::{Mode, Proxy};
use uuid::Uuid;

use super::{LITTLE, LITTLE_BYTES, MUCH, dice, patient, rounds, small};
use crate::rig::{self, GENESYS, ROUTE, ROUTE_NAME, TABLE};

/// Starts and kills Forebay, and leaves it running at the end.
async fn kill_again_and_again(forebay: &mut Forebay, rounds: u32) -> Result<()> {
    let mut dice = dice(rounds);
    for round in 0..rounds {
        let early = dice.random_bool(0.15);
        let (least, most) = if early { (1, 150) } else { (5, 400) };
        let moment = Duration::from_millis(dice.random_range(least..=most));
        if !early {
            forebay.ready().await?;
        }
        // Not a wait for anything: the moment of the kill is what the test is about.
        tokio::time::sleep(moment).await;
        if let Some(exit) = forebay.try_wait() {
            panic!(
                "round {round}: it ended by itself: {exit:?}\n{}",
                forebay.tail()
            );
        }
        forebay.kill9().await?;
        forebay.spawn()?;
    }
    forebay.ready().await
}

/// The journal's segments and their sizes, by name.
fn segments(forebay: &Forebay) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(forebay.data_dir().join("journal")).unwrap();
    let files = files.map(|file| file.unwrap()).map(|file| {
        let name = file.file_name().into_string().unwrap();
        (name, file.metadata().unwrap().len())
    });
    let mut segments: Vec<_> = files
        .filter(|(name, _)| name.ends_with(".journal"))
        .collect();
    segments.sort();
    segments
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled_by_kills_with_postgres() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = [small(LITTLE), rig::genesys_to(&server.url(), "")].concat();
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    let sending = patient(&forebay).start(Arc::clone(&judge))?;
    kill_again_and_again(&mut forebay, rounds(160)).await?;
    // A fresh event still flows.
    rig::acknowledged(&judge, judge.acked_count() + 100).await?;
    let report = sending.stop().await?;
    println!("{report}");
    assert_eq!(report.acked, report.sent, "{report}");
    assert!(report.unanswered > 0, "the kills went unnoticed: {report}");
    assert!(report.duplicates > 0, "no repeat was recognised: {report}");

    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    println!("{verdict}");
    assert_eq!(verdict.found as u64, report.acked, "{verdict}");
    // Settled segments were given back: there were many more starts than there is room for segments. What a
    // start left is cut to its frames, so it is the bytes that count. A start may be over by what it makes
    // itself.
    let segments = segments(&forebay);
    let bytes: u64 = segments.iter().map(|(_, len)| len).sum();
    assert!(bytes <= LITTLE_BYTES + (2 << 20), "{bytes}: {segments:?}");
    assert_ne!(segments[0].0, "00000000000000000001.journal");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled_by_kills_with_sqlite() -> Result<()> {
    let sqlite = "\n[destinations.db]\ntype = \"sqlite\"\n";
    let config = [&small(LITTLE), GENESYS, sqlite, ROUTE].concat();
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    // This one never repeats: what is answered counts, whatever became of the rest.
    let sending = rig::genesys(&forebay, u64::MAX).start(Arc::clone(&judge))?;
    kill_again_and_again(&mut forebay, rounds(40)).await?;
    rig::acknowledged(&judge, judge.acked_count() + 100).await?;
    let report = sending.stop().await?;
    println!("{report}");
    assert!(report.unanswered > 0, "the kills went unnoticed: {report}");

    rig::drained(&forebay, ROUTE_NAME).await?;
    let stored = stored(&forebay.data_dir().join("events.db"));
    let verdict = judge.judge(stored).check()?;
    println!("{verdict}");
    rig::assert_balanced(&forebay).await
}

/// The backlog of an outage is recovered by every start, and grows and shrinks meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn kills_while_the_database_comes_and_goes_lose_nothing() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    let config = [
        small(MUCH),
        rig::genesys_to(&server.url_through(proxy.addr()), ""),
    ]
    .concat();
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    let sending = patient(&forebay).rate(2_000.0).start(Arc::clone(&judge))?;
    for mode in [
        Mode::Refuse,
        Mode::Pass,
        Mode::Hang,
        Mode::Pass,
        Mode::Refuse,
    ] {
        proxy.set(mode).await?;
        kill_again_and_again(&mut forebay, rounds(8)).await?;
    }
    // With the whole backlog of the last outage there, everything is as it was.
    rig::assert_balanced(&forebay).await?;
    let report = sending.stop().await?;
    println!("{report}");
    assert_eq!(report.acked, report.sent, "{report}");
    proxy.set(Mode::Pass).await?;
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    println!("{verdict}");
    assert_eq!(verdict.found as u64, report.acked, "{verdict}");
    Ok(())
}

/// What a SQLite destination holds.
fn stored(file: &Path) -> Vec<(Uuid, BodyHash)> {
    let database =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    let sql = format!("SELECT id, coalesce(CAST(body AS BLOB), body_raw) FROM {TABLE}");
    let mut statement = database.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let (id, body): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        Ok((id.parse().unwrap(), BodyHash::of(&body)))
    });
    rows.unwrap().map(|row| row.unwrap()).collect()
}
