//! A channel while all is well: events arrive as they were sent, and nothing that Genesys Cloud does in the ordinary course
//! of things makes a gap.

use std::time::Duration;

use domain::ports::Inlet as _;
use serde_json::json;
use testbed::genesys::Command;

use crate::world::{World, presence, section};

#[tokio::test(start_paused = true)]
async fn an_event_is_the_frame_as_it_came_with_its_topic_as_its_type() {
    let world = World::of_users(2).await;
    let topic = presence(1);
    world.cloud.emit(&topic, r#"{"a":  1.0, "b":"é"}"#).await;
    world.until(|world| world.stored() == 1).await;
    let store = world.store.lock().unwrap();
    let event = &store.events[0];
    assert_eq!(event.event_type.as_deref(), Some(&*topic));
    let body = std::str::from_utf8(&event.body).unwrap();
    assert!(
        body.contains(r#""eventBody":{"a":  1.0, "b":"é"}"#),
        "{body}"
    );
    assert!(body.contains(r#""metadata":"#), "the whole of it: {body}");
    assert_eq!(event.attribute("genesys-topic"), Some(&*topic));
    assert_eq!(event.attribute("genesys-origin"), Some("notification"));
    assert!(event.attribute("forebay-received-at").is_some());
}

#[tokio::test(start_paused = true)]
async fn topics_of_one_resource_are_subscribed_as_one_entry() {
    let status = presence(1).replace("presence", "routingStatus");
    let world = World::of(section(&[presence(1), status.clone()])).await;
    let channels = world.cloud.channels();
    assert_eq!(
        channels[0].topics,
        [presence(1).replace(".presence", "?presence&routingStatus")]
    );
    world.cloud.emit(&status, json!({"s": 1})).await;
    world.until(|world| world.bodies(&status).len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn past_a_thousand_topics_there_are_more_channels() {
    let world = World::of_users(2500).await;
    world
        .until(|world| {
            world
                .cloud
                .channels()
                .iter()
                .all(|one| one.socket.is_some() && !one.topics.is_empty())
                && world.cloud.channels().len() == 3
        })
        .await;
    for number in [0, 1000, 2499] {
        world
            .cloud
            .emit(&presence(number), json!({"n": number}))
            .await;
    }
    world.until(|world| world.stored() == 3).await;
    assert_eq!(world.gaps.all(), []);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_to_close_is_taken_over_from_without_a_gap_or_a_repeat() {
    let world = World::of_users(1).await;
    let first = world.channel();
    assert!(world.cloud.command(&first, &Command::Closing));
    for n in 0..200 {
        world.cloud.emit(&presence(0), json!({"n": n})).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world
        .until(|world| world.bodies(&presence(0)).len() == 200)
        .await;
    assert_ne!(world.channel(), first);
    assert_eq!(world.gaps.all(), []);
    let bodies = world.bodies(&presence(0));
    let numbers: Vec<u64> = bodies
        .iter()
        .map(|body| body["n"].as_u64().unwrap())
        .collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 200, "each once: {numbers:?}");
    assert!(
        world.store.lock().unwrap().repeats > 0,
        "both sockets had some"
    );
    // The old one has no subscriptions left.
    let subscribed = |world: &World| {
        world
            .cloud
            .channels()
            .iter()
            .filter(|one| !one.topics.is_empty())
            .count()
    };
    assert_eq!(subscribed(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn two_days_of_heartbeats_renew_the_channel_and_leave_no_gap() {
    let world = World::of_users(1).await;
    let first = world.channel();
    for hour in 0..48 {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        world.cloud.emit(&presence(0), json!({"hour": hour})).await;
    }
    world
        .until(|world| world.bodies(&presence(0)).len() == 48)
        .await;
    assert_eq!(world.channel(), first, "extended, and not made anew");
    assert_eq!(world.gaps.all(), []);
    assert_eq!(world.notifications.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_is_late_is_asked_for_before_the_socket_is_given_up() {
    let world = World::of_users(1).await;
    let first = world.channel();
    assert!(world.cloud.command(&first, &Command::StopHeartbeats));
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.cloud.emit(&presence(0), json!({})).await;
    world.until(|world| world.stored() == 1).await;
    assert_eq!((world.channel(), world.gaps.all()), (first, vec![]));
}

#[tokio::test(start_paused = true)]
async fn the_same_body_later_is_another_event() {
    let world = World::of_users(1).await;
    for _ in 0..3 {
        world
            .cloud
            .emit(&presence(0), json!({"presence": "BUSY"}))
            .await;
        tokio::time::sleep(Duration::from_secs(150)).await;
    }
    world
        .until(|world| world.bodies(&presence(0)).len() == 3)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_makes_the_socket_wait_and_loses_nothing() {
    let world = World::of_users(1).await;
    world.cloud.socket_buffer(1_000_000, 1 << 30);
    // As a journal that stalls: nothing is let go of, and nothing more is read.
    let held = world.store.lock().unwrap();
    let padding = "x".repeat(1000);
    let cloud = world.cloud.clone();
    drop(held);
    for n in 0..50_000 {
        cloud
            .emit(&presence(0), json!({"n": n, "padding": padding}))
            .await;
        if n % 1000 == 0 {
            cloud.drained_to(5000).await;
        }
    }
    world.until(|world| world.stored() == 50_000).await;
    assert_eq!(world.gaps.all(), []);
}
