//! Routes and sources that change their names, or leave the configuration.

use testbed::judge::BodyHash;
use testbed::process::Output;
use testbed::proxy::Mode;
use testbed::{Result, http};

use super::World;
use crate::rig::{self, GENESYS, TABLE, count};

/// The usual configuration with the route under this name.
fn named(route: &str, url: &str) -> String {
    let route = format!("[routes.{route}]\nfrom = [\"genesys\"]\nto = \"db\"\n");
    [GENESYS, &rig::postgres(url, ""), &route].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_renamed_in_the_file_is_refused_until_state_is_told() -> Result<()> {
    let mut world = World::start(|url| named("old-name", url)).await?;
    world.backlog(50, 0).await?;
    let rename = ["routes", "rename", "old-name", "new-name"];
    let running = world.offline(&rename).await?;
    assert_eq!(running.code, Some(1), "while the server runs: {running:?}");
    assert_server_in_the_way(&world, &running);
    world.stop().await?;
    let renamed = named("new-name", &world.url());
    world.forebay.launch().set_config(renamed);
    let words = [
        "route old-name",
        "50 pending",
        "forebay routes rename old-name new-name",
        "forebay routes retire old-name",
    ];
    world.refused(&words).await?;
    // Refused is refused: asking again changes nothing.
    world.refused(&words).await?;

    for (from, to, words) in [
        ("nobody", "new-name", "it knows old-name"),
        ("old-name", "other", "there is new-name"),
    ] {
        let output = world.offline(&["routes", "rename", from, to]).await?;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(words), "{output:?}");
    }
    let output = world
        .offline(&["routes", "rename", "old-name", "new-name"])
        .await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    world.forebay.start().await?;
    let status = world.forebay.status().await?;
    assert_eq!(count(&status, "new-name", "pending"), 50, "{status}");
    world.backlog(10, 0).await?;
    world.delivers_over("new-name").await?;
    assert_eq!(world.server.count(TABLE).await?, 60);
    Ok(())
}

/// What it says has only flags in it that the command takes.
fn assert_server_in_the_way(world: &World, output: &Output) {
    let data_dir = world.forebay.data_dir().display().to_string();
    for word in [&*data_dir, "stop the server first"] {
        assert!(output.stderr.contains(word), "no {word:?} in {output:?}");
    }
    assert!(!output.stderr.contains("--wait-for-lock"), "{output:?}");
}

/// Retires `old` with 50 events pending, and starts with `new`; what waited is not delivered.
async fn retired(pending: &str) -> Result<World> {
    let mut world = World::start(|url| named("old", url)).await?;
    world.backlog(50, 0).await?;
    let retire = ["routes", "retire", "old", "--pending", pending];
    let config = named("new", &world.url());
    let file = world.forebay.launch().dir().join("forebay.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &config).unwrap();
    let running = world.offline(&retire).await?;
    assert_eq!(running.code, Some(1), "while the server runs: {running:?}");
    assert_server_in_the_way(&world, &running);
    std::fs::write(&file, before).unwrap();
    world.stop().await?;
    let configured = world.offline(&retire).await?;
    assert_eq!(configured.code, Some(2), "{configured:?}");
    assert!(configured.stderr.contains("[routes.old]"), "{configured:?}");
    world.forebay.launch().set_config(config);
    world
        .refused(&["forebay routes retire old --pending"])
        .await?;
    let output = world
        .offline(&["routes", "retire", "old", "--pending", pending])
        .await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("50 pending events"), "{output:?}");
    world.forebay.start().await?;
    let fresh = http_accepted(&world).await?;
    world.proxy.set(Mode::Pass).await?;
    rig::drained(&world.forebay, "new").await?;
    let stored = world.server.events(TABLE).await?;
    assert_eq!(stored, [(fresh, BodyHash::of(FRESH))]);
    rig::assert_balanced(&world.forebay).await?;
    Ok(world)
}

const FRESH: &[u8] = b"{\"fresh\":true}";

/// A fresh event; its id.
async fn http_accepted(world: &World) -> Result<uuid::Uuid> {
    let signature = testbed::sender::genesys_signature(rig::SECRET.as_bytes(), FRESH);
    let headers = [("x-hub-signature-256", signature.as_str())];
    let url = world.forebay.ingest("/in/genesys");
    let answer = http::post(&url, &headers, bytes::Bytes::from_static(FRESH)).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.json()?["id"].as_str().unwrap().parse().unwrap())
}

/// How many dead letters state keeps, by reason.
fn dead(world: &World) -> Vec<(String, u32)> {
    let state = rusqlite::Connection::open(world.forebay.data_dir().join("state.db")).unwrap();
    let mut dead = state
        .prepare("SELECT reason, count(*) FROM dead GROUP BY reason")
        .unwrap();
    let rows = dead.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(|row| row.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_routes_pending_events_become_dead_letters() -> Result<()> {
    let mut world = retired("dead-letter").await?;
    world.stop().await?;
    assert_eq!(dead(&world), [("retired".to_owned(), 50)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_routes_pending_events_are_discarded_when_that_is_asked_for() -> Result<()> {
    let mut world = retired("discard").await?;
    world.stop().await?;
    assert_eq!(dead(&world), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_has_settled_everything_may_go_without_a_word() -> Result<()> {
    let mut world = World::start(|url| named("old", url)).await?;
    world.backlog(20, 0).await?;
    world.delivers_over("old").await?;
    world.stop().await?;
    let config = named("new", &world.url());
    world.forebay.launch().set_config(config);
    world.forebay.start().await?;
    world.backlog(20, 0).await?;
    world.delivers_over("new").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_leaves_once_nothing_of_it_waits_and_is_told_503_then() -> Result<()> {
    let with = |sources: &str, from: &str, url: &str| {
        let route = format!("[routes.all]\nfrom = {from}\nto = \"db\"\n");
        [GENESYS, sources, &rig::postgres(url, ""), &route].concat()
    };
    let second = "[sources.second]\ntype = \"http\"\npaths = [\"/second\"]\n";
    let mut world = World::start(|url| with(second, "[\"genesys\", \"second\"]", url)).await?;
    let post = async |world: &World, path: &str| {
        let body = bytes::Bytes::from_static(b"{}");
        http::post(&world.forebay.ingest(path), &[], body).await
    };
    assert_eq!(post(&world, "/second").await?.status, 200);
    world.stop().await?;
    // Its event waits: nobody else would deliver it, so the source must stay until it is gone.
    let config = with("", "[\"genesys\"]", &world.url());
    world.forebay.launch().set_config(config.clone());
    let words = [
        "route all no longer takes source second",
        "1 of its events",
        "put second back",
    ];
    world.refused(&words).await?;
    let both = with(second, "[\"genesys\", \"second\"]", &world.url());
    world.forebay.launch().set_config(both);
    world.forebay.start().await?;
    world.proxy.set(Mode::Pass).await?;
    rig::drained(&world.forebay, "all").await?;
    rig::assert_balanced(&world.forebay).await?;
    world.stop().await?;
    world.forebay.launch().set_config(config);
    world.forebay.start().await?;
    for path in ["/second", "/in/second"] {
        let answer = post(&world, path).await?;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert_eq!(answer.json()?["code"], "source-removed", "{path}");
        assert!(answer.headers.contains_key("retry-after"), "{path}");
    }
    assert_eq!(post(&world, "/in/third").await?.status, 404);

    // Until an operator says that nobody is to come back for it.
    let running = world.offline(&["sources", "forget", "second"]).await?;
    assert_eq!(running.code, Some(1), "while the server runs: {running:?}");
    assert_server_in_the_way(&world, &running);
    world.stop().await?;
    for (name, words) in [
        ("genesys", "is in the configuration"),
        ("third", "it knows genesys, second"),
    ] {
        let refused = world.offline(&["sources", "forget", name]).await?;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let forgotten = world.offline(&["sources", "forget", "second"]).await?;
    assert_eq!(
        (forgotten.code, forgotten.stdout.as_str()),
        (Some(0), ""),
        "{forgotten:?}"
    );
    world.forebay.start().await?;
    for path in ["/second", "/in/second"] {
        assert_eq!(post(&world, path).await?.status, 404, "{path}");
    }
    rig::assert_balanced(&world.forebay).await
}
