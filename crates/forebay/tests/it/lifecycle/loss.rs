//! Data directories that lost something, or got something that is not theirs: refused, in words that name
//! the way out, and never quietly begun anew.

use std::path::{Path, PathBuf};

use testbed::Result;

use super::World;
use crate::rig::{self, ROUTE_NAME, TABLE, count, genesys_to};

/// Small segments, so that a backlog has several.
fn in_segments(url: &str) -> String {
    let journal = "[journal]\nsegment_bytes = \"1MiB\"\nmin_free = \"0B\"\n";
    [journal, &genesys_to(url, "")].concat()
}

/// The journal's files with this ending, in order.
fn files(world: &World, ending: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(world.forebay.data_dir().join("journal")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_deleted_is_missed_and_its_loss_must_be_accepted() -> Result<()> {
    let mut world = World::start(|url| genesys_to(url, "")).await?;
    world.backlog(50, 0).await?;
    world.delivers_over(ROUTE_NAME).await?;
    world.stop().await?;
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let _not_there = std::fs::remove_file(world.forebay.data_dir().join(file));
    }
    world
        .refused(&["state.db is missing or empty", "backup", "--accept-loss"])
        .await?;

    world.forebay.launch().set_args(["--accept-loss"]);
    world.forebay.start().await?;
    // Everything the journal holds is delivered again, and is there already.
    world.delivers_over(ROUTE_NAME).await?;
    let status = world.forebay.status().await?;
    assert_eq!(count(&status, ROUTE_NAME, "delivered"), 50, "{status}");
    assert_eq!(world.server.count(TABLE).await?, 50);
    // It was meant once: the next start needs no such word.
    world.stop().await?;
    world.forebay.launch().set_args(Vec::<String>::new());
    world.forebay.start().await?;
    world.backlog(10, 0).await?;
    world.delivers_over(ROUTE_NAME).await
}

/// Where a new route begins is its own business; this one is none.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_holds_is_delivered_again_after_a_lost_state_wherever_routes_start()
-> Result<()> {
    for start in ["now", "2100-01-01T00:00:00Z"] {
        let start = format!("start = \"{start}\"\n");
        let mut world = World::start(|url| [&genesys_to(url, ""), &*start].concat()).await?;
        world.backlog(50, 0).await?;
        world.stop().await?;
        for file in ["state.db", "state.db-wal", "state.db-shm"] {
            let _not_there = std::fs::remove_file(world.forebay.data_dir().join(file));
        }
        world.forebay.launch().set_args(["--accept-loss"]);
        world.forebay.start().await?;
        world.delivers_over(ROUTE_NAME).await?;
        assert_eq!(world.server.count(TABLE).await?, 50, "{start}");
    }
    Ok(())
}

/// The oldest events cannot be read any more: the route begins with them all the same, and counts them.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_state_a_damaged_head_of_the_journal_is_counted() -> Result<()> {
    let mut world = World::start(in_segments).await?;
    world.backlog(300, 8_000).await?;
    world.stop().await?;
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let _not_there = std::fs::remove_file(world.forebay.data_dir().join(file));
    }
    let oldest = &files(&world, ".journal")[0];
    let mut bytes = std::fs::read(oldest).unwrap();
    // Behind both headers stands the first frame.
    bytes[2 * 4096 + 1_000] ^= 1;
    std::fs::write(oldest, bytes).unwrap();

    world.forebay.launch().set_args(["--accept-loss"]);
    world.forebay.start().await?;
    world.proxy.set(testbed::proxy::Mode::Pass).await?;
    let status = rig::drained(&world.forebay, ROUTE_NAME).await?;
    let damaged = count(&status, ROUTE_NAME, "damaged");
    assert!(damaged > 0, "{status}");
    assert_eq!(
        count(&status, ROUTE_NAME, "delivered"),
        300 - damaged,
        "{status}"
    );
    rig::assert_balanced(&world.forebay).await
}

/// What a start under `--accept-loss` that was killed before it had registered the routes leaves: a state
/// that is there, and knows nothing. The next plain start must not take its route for a new one.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_state_beside_a_journal_that_holds_events_is_missing_too() -> Result<()> {
    let mut world = World::start(|url| genesys_to(url, "")).await?;
    world.backlog(50, 0).await?;
    world.stop().await?;
    let state = rusqlite::Connection::open(world.forebay.data_dir().join("state.db")).unwrap();
    let tables = "DELETE FROM settled_ranges; DELETE FROM delivered_ranges; DELETE FROM routes; DELETE FROM sources; DELETE FROM meta;";
    state.execute_batch(tables).unwrap();
    drop(state);

    world
        .refused(&["missing or empty", "backup", "--accept-loss"])
        .await?;
    world.forebay.launch().set_args(["--accept-loss"]);
    world.forebay.start().await?;
    world.delivers_over(ROUTE_NAME).await?;
    assert_eq!(world.server.count(TABLE).await?, 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_installation_is_refused() -> Result<()> {
    let mut world = World::start(|url| genesys_to(url, "")).await?;
    world.backlog(20, 0).await?;
    world.stop().await?;
    let mut stranger = World::start(|url| genesys_to(url, "")).await?;
    stranger.backlog(20, 0).await?;
    stranger.stop().await?;

    let journal = world.forebay.data_dir().join("journal");
    let aside = world.forebay.data_dir().join("own-journal");
    std::fs::rename(&journal, &aside).unwrap();
    rig::copy_dir(&stranger.forebay.data_dir().join("journal"), &journal);
    world
        .refused(&["installation", "put back the one that belongs here"])
        .await?;
    // No flag makes a stranger's journal one's own.
    world.forebay.launch().set_args(["--accept-loss"]);
    world.refused(&["installation"]).await?;
    // An empty journal beside a state that had one is refused as well.
    world.forebay.launch().set_args(Vec::<String>::new());
    std::fs::remove_dir_all(&journal).unwrap();
    world
        .refused(&["restore the journal", "--accept-loss"])
        .await?;

    let _made_by_the_refused = std::fs::remove_dir_all(&journal);
    std::fs::rename(&aside, &journal).unwrap();
    world.forebay.start().await?;
    world.delivers_over(ROUTE_NAME).await
}

/// The first number in a segment, by its name.
fn first(segment: &Path) -> u64 {
    segment
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_newest_segment_is_refused_while_a_route_needs_it() -> Result<()> {
    let ahead = "[destinations.file]\ntype = \"sqlite\"\n[routes.ahead]\nfrom = [\"genesys\"]\nto = \"file\"\n";
    let mut world = World::start(|url| [&in_segments(url), ahead].concat()).await?;
    world.backlog(600, 8_000).await?;
    rig::drained(&world.forebay, "ahead").await?;
    world.stop().await?;
    let segments = files(&world, ".journal");
    let newest = segments.last().unwrap();
    let event = format!("event {} ", first(newest));
    std::fs::remove_file(newest).unwrap();
    let words = [&*event, ROUTE_NAME, "restore the file", "--accept-loss"];
    world.refused(&words).await?;
    world.refused(&words).await?;

    world.forebay.launch().set_args(["--accept-loss"]);
    world.forebay.start().await?;
    world.backlog(10, 0).await?;
    world.proxy.set(testbed::proxy::Mode::Pass).await?;
    let status = rig::drained(&world.forebay, ROUTE_NAME).await?;
    let damaged = count(&status, ROUTE_NAME, "damaged");
    let delivered = count(&status, ROUTE_NAME, "delivered");
    assert_eq!(
        (damaged, delivered),
        (601 - first(newest), first(newest) + 9)
    );
    rig::drained(&world.forebay, "ahead").await?;
    rig::assert_balanced(&world.forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_route_keeps_what_waits_on_it_though_damage_took_what_it_had_settled()
-> Result<()> {
    let mut world = World::start(in_segments).await?;
    world.backlog(600, 8_000).await?;
    world.stop().await?;
    // As if all but the first five had been delivered while those were stuck.
    let state = rusqlite::Connection::open(world.forebay.data_dir().join("state.db")).unwrap();
    let delivered = "UPDATE routes SET delivered = 595;
        INSERT INTO settled_ranges (route, first, last, events) SELECT id, 6, 600, 595 FROM routes;";
    state.execute_batch(delivered).unwrap();
    drop(state);
    std::fs::remove_file(&files(&world, ".journal")[1]).unwrap();
    let renamed = in_segments(&world.url()).replace(ROUTE_NAME, "another");
    world.forebay.launch().set_config(renamed);
    world.forebay.launch().set_args(["--accept-loss"]);
    world.refused(&["route genesys-to-db", "5 pending"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_middle_segment_is_refused_and_counted_once_accepted() -> Result<()> {
    let mut world = World::start(in_segments).await?;
    world.backlog(600, 8_000).await?;
    world.stop().await?;
    let segments = files(&world, ".journal");
    assert!(segments.len() >= 4, "{segments:?}");
    let missing = &segments[1];
    let first = first(missing);
    std::fs::remove_file(missing).unwrap();
    let event = format!("event {first} ");
    world
        .refused(&[&event, ROUTE_NAME, "restore the file", "--accept-loss"])
        .await?;

    world.forebay.launch().set_args(["--accept-loss"]);
    world.forebay.start().await?;
    world.proxy.set(testbed::proxy::Mode::Pass).await?;
    let status = rig::drained(&world.forebay, ROUTE_NAME).await?;
    let damaged = count(&status, ROUTE_NAME, "damaged");
    assert!(damaged > 0, "{status}");
    assert_eq!(
        count(&status, ROUTE_NAME, "delivered"),
        600 - damaged,
        "{status}"
    );
    rig::assert_balanced(&world.forebay).await?;
    let metrics = world.forebay.metrics().await?;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let shown = damaged as f64;
    assert_eq!(metrics.sum("forebay_journal_damaged_events"), shown);
    // The rest is there, unchanged, and exactly what is counted is missing.
    let verdict = world.judge.judge(world.server.events(TABLE).await?);
    assert_eq!(verdict.missing.len() as u64, damaged, "{verdict}");
    let odd = [&verdict.changed, &verdict.doubled, &verdict.never_sent];
    assert!(odd.iter().all(|ids| ids.is_empty()), "{verdict}");

    // It is in the past now: the next start needs no flag.
    world.stop().await?;
    world.forebay.launch().set_args(Vec::<String>::new());
    world.forebay.start().await?;
    let status = rig::drained(&world.forebay, ROUTE_NAME).await?;
    assert_eq!(count(&status, ROUTE_NAME, "damaged"), damaged, "{status}");
    rig::assert_balanced(&world.forebay).await
}
