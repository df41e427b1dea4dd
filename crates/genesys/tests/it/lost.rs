//! A channel that is lost: what was missed lies within a gap that is written down, told of as an event, and filled.

use std::time::Duration;

use domain::Timestamp;
use domain::ports::Inlet as _;
use serde_json::json;
use testbed::genesys::{Command, Fault};

use crate::world::{World, presence, section};

/// Whether a time lies within a gap of the topic.
fn is_in_a_gap(world: &World, topic: &str, at: Timestamp) -> bool {
    world.gaps.all().iter().any(|gap| {
        gap.from <= at
            && gap.to.is_none_or(|to| at <= to)
            && gap.topics.iter().any(|one| one == topic)
    })
}

/// Events a second, numbered from here, while something happens at second 30.
async fn emit_around(world: &World, what: impl AsyncFnOnce(&World)) {
    let mut what = Some(what);
    for n in 0..120 {
        if n == 30
            && let Some(what) = what.take()
        {
            what(world).await;
        }
        world.cloud.emit(&presence(0), json!({"n": n})).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world
        .until(|world| world.notifications.trouble().is_none())
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Every event is stored once, or lies within a gap.
fn judge(world: &World) -> usize {
    let book = world.cloud.book();
    let bodies = world.bodies(&presence(0));
    let mut missed = 0;
    for record in book.records() {
        let body: serde_json::Value = serde_json::from_str(&record.body).unwrap();
        let stored = bodies.iter().filter(|one| **one == body).count();
        assert!(
            stored <= 1,
            "event {} is there {stored} times",
            record.number
        );
        if stored == 0 {
            missed += 1;
            assert!(
                is_in_a_gap(world, &record.topic, record.at),
                "event {} at {} is nowhere; gaps: {:#?}",
                record.number,
                record.at,
                world.gaps.all()
            );
        }
    }
    let told = world.told();
    for gap in world.gaps.all() {
        assert!(gap.to.is_some() && gap.announced, "{gap:?}");
        assert!(
            told.iter()
                .any(|one| one["id"] == gap.id && one["why"] == *gap.why),
            "{gap:?}"
        );
    }
    missed
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_socket_there_is_a_gap_for_what_was_missed() {
    let ends = [
        ("reset", Command::Reset),
        ("closed", Command::Close(1001, "going away".into())),
        ("hanging", Command::Hang),
        ("404", Command::Lose),
        ("half a frame", Command::HalfFrame),
        (
            "driven out",
            Command::NoLongerSubscribed("another_channel_subscribed".into()),
        ),
        (
            "revoked",
            Command::NoLongerSubscribed("user_tokens_revoked".into()),
        ),
        ("no frame", Command::Raw(vec![0xff; 10])),
    ];
    for (name, end) in ends {
        let world = World::of_users(1).await;
        emit_around(&world, async |world| {
            let channel = world.channel();
            assert!(world.cloud.command(&channel, &end));
        })
        .await;
        judge(&world);
        assert!(!world.gaps.all().is_empty(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_is_away_for_a_while_is_one_gap() {
    let world = World::of_users(1).await;
    emit_around(&world, async |world| {
        world.cloud.fault("/", 8, Fault::Status(503));
        world.cloud.command_all(&Command::Reset);
    })
    .await;
    assert!(judge(&world) > 0, "something was missed");
    assert_eq!(world.gaps.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_revoked_are_a_gap_until_there_is_another() {
    let world = World::of_users(1).await;
    emit_around(&world, async |world| {
        assert!(world.cloud.revoke_tokens("id") > 0);
    })
    .await;
    judge(&world);
}

#[tokio::test(start_paused = true)]
async fn somebody_else_on_the_socket_is_told_by_name_and_not_fought() {
    let world = World::of_users(1).await;
    let channel = world.channel();
    let before = world.cloud.requests().len();
    let reason = Command::NoLongerSubscribed("another_channel_subscribed".into());
    assert!(world.cloud.command(&channel, &reason));
    world
        .until(|world| world.notifications.trouble().is_some())
        .await;
    let told = world.notifications.trouble().unwrap();
    assert!(told.contains("give Forebay one of its own"), "{told}");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.cloud.requests().len(), before, "not within 30 s");
    world.listens().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_between_two_processes_is_a_gap() {
    for in_order in [true, false] {
        let world = World::of_users(1).await;
        for n in 0..60 {
            world.cloud.emit(&presence(0), json!({"n": n})).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // The last is heard, and may not be stored when the process ends.
        world.cloud.emit(&presence(0), json!({"n": 60})).await;
        let cloud = world.cloud.clone();
        let missed = tokio::spawn(async move {
            for n in 61..90 {
                tokio::time::sleep(Duration::from_millis(900)).await;
                cloud.emit(&presence(0), json!({"n": n})).await;
            }
        });
        let world = world.restart(in_order, Duration::from_secs(30)).await;
        missed.await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(judge(&world) > 0);
        let gaps = world.gaps.all();
        let [gap] = &*gaps else { panic!("{gaps:#?}") };
        assert_eq!(gap.why, "Forebay did not run");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_was_open_when_the_process_ended_is_closed_by_the_next_one() {
    let world = World::of_users(1).await;
    world.cloud.fault("/", 1000, Fault::Status(503));
    world.cloud.command_all(&Command::Reset);
    world
        .until(|world| world.gaps.all().iter().any(|gap| gap.to.is_none()))
        .await;
    let cloud = world.cloud.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(100)).await;
        cloud.no_faults();
    });
    let world = world.restart(false, Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    judge(&world);
    assert_eq!(world.gaps.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_start_of_all_has_missed_nothing() {
    let world = World::of_users(1).await;
    assert_eq!(world.gaps.all(), []);
    assert_eq!(world.told(), Vec::<serde_json::Value>::new());
}

#[tokio::test(start_paused = true)]
async fn rejected_topics_are_named_and_the_others_are_heard() {
    let cloud = testbed::GenesysCloud::in_memory();
    cloud.template(
        "v2.secret.{id}.things",
        &["Websocket"],
        &["secret:things:view"],
    );
    let _client = cloud
        .client("id", crate::world::SECRET)
        .without_permission("secret:things:view");
    let topics = [presence(0), "v2.secret.1.things".to_owned()];
    let world = World::on(cloud, section(&topics), jiff::SignedDuration::ZERO);
    world
        .until(|world| world.notifications.trouble().is_some())
        .await;
    let told = world.notifications.trouble().unwrap();
    assert!(
        told.contains("v2.secret.1.things (the permission secret:things:view is missing)"),
        "{told}"
    );
    world.cloud.emit(&presence(0), json!({})).await;
    world.until(|world| world.stored() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_socket_on_the_channel_ends_ours_and_is_a_gap() {
    let world = World::of_users(1).await;
    let channel = world.channel();
    let uri = format!("ws://localhost/channels/{channel}");
    let second = tokio_tungstenite::client_async(uri, world.cloud.connect()).await;
    second.unwrap();
    world.until(|world| world.told().len() == 1).await;
    let gap = &world.gaps.all()[0];
    assert!(gap.why.contains("closed the socket"), "{}", gap.why);
    world.listens().await;
    assert_ne!(world.channel(), channel, "it is not fought for");
}

#[tokio::test(start_paused = true)]
async fn channels_that_somebody_else_makes_with_the_same_client_do_not_end_ours() {
    let world = World::of_users(1).await;
    let channel = world.channel();
    let other = crate::world::client(&world.cloud);
    for _ in 0..30 {
        let call = genesys::Call::new(http::Method::POST, "/api/v2/notifications/channels");
        other.bytes(&call).await.unwrap();
    }
    world.cloud.emit(&presence(0), json!({})).await;
    world.until(|world| world.stored() == 1).await;
    assert_eq!((world.channel(), world.gaps.all()), (channel, vec![]));
}
