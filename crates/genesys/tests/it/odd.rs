//! Frames that are none, and clocks that are wrong: said, and the source goes on.

use domain::ports::Inlet as _;
use jiff::SignedDuration;
use serde_json::json;
use testbed::genesys::Command;

use crate::world::{World, presence, section};

#[tokio::test(start_paused = true)]
async fn what_is_no_event_is_said_to_be_missed_and_the_socket_stays() {
    let world = World::of_users(1).await;
    let channel = world.channel();
    for odd in [
        Command::Text("not JSON".into()),
        Command::Text("{}".into()),
        Command::Text("[]".into()),
        Command::Text(r#"{"topicName":7}"#.into()),
        Command::Binary(vec![0, 1, 2]),
    ] {
        assert!(world.cloud.command(&channel, &odd));
    }
    world.cloud.emit(&presence(0), json!({"n": 1})).await;
    world
        .until(|world| world.bodies(&presence(0)).len() == 1 && world.told().len() == 5)
        .await;
    assert_eq!(world.channel(), channel);
    for gap in world.gaps.all() {
        assert!(gap.why.contains("could not be read"), "{}", gap.why);
        assert_eq!(Some(gap.from), gap.to);
        assert!(!gap.why.contains("not JSON"), "no payload: {}", gap.why);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_topic_that_nobody_asked_for_is_an_event() {
    let world = World::of_users(1).await;
    assert!(
        world
            .cloud
            .command(&world.channel(), &Command::UnknownTopic)
    );
    world.until(|world| world.stored() == 1).await;
    assert_eq!(world.gaps.all(), []);
}

#[tokio::test(start_paused = true)]
async fn an_event_larger_than_max_body_is_said_to_be_missed_and_one_at_it_is_taken() {
    let mut options = section(&[presence(0)]);
    options["max_body"] = json!("2000B");
    let world = World::of(options).await;
    let channel = world.channel();
    assert!(world.cloud.command(&channel, &Command::Sized(2001)));
    assert!(world.cloud.command(&channel, &Command::Sized(2000)));
    world.until(|world| world.stored() == 2).await;
    let gaps = world.gaps.all();
    let [gap] = &*gaps else { panic!("{gaps:#?}") };
    assert!(
        gap.why
            .contains("2001 bytes is larger than max_body (2000)"),
        "{}",
        gap.why
    );
    assert_eq!(gap.topics, ["v2.users.sized.presence"]);
    assert_eq!(world.channel(), channel);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_an_hour_off_is_said_and_gaps_have_the_right_times() {
    for hours in [1, -1] {
        let world = World::on(
            {
                let cloud = testbed::GenesysCloud::in_memory();
                let _client = cloud.client("id", crate::world::SECRET);
                cloud
            },
            section(&[presence(0)]),
            SignedDuration::from_hours(hours),
        );
        world
            .until(|world| world.notifications.trouble().is_some())
            .await;
        let told = world.notifications.trouble().unwrap();
        let expected = if hours > 0 {
            "3600 s ahead of"
        } else {
            "3600 s behind"
        };
        assert!(told.contains(expected), "{told}");
        let before = world.cloud.now();
        world.cloud.command_all(&Command::Reset);
        world.until(|world| world.told().len() == 1).await;
        let gap = &world.gaps.all()[0];
        let apart = before.duration_since(gap.from).abs();
        assert!(apart < SignedDuration::from_secs(60), "{apart:?} off");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_uri_that_is_not_genesys_cloud_s_is_not_connected_to_and_said() {
    let cloud = testbed::GenesysCloud::in_memory();
    let _client = cloud.client("id", crate::world::SECRET);
    cloud.connect_uri(Some(
        "wss://streaming.mypurecloud.de.evil.example/channels/{id}",
    ));
    let world = World::on(cloud, section(&[presence(0)]), SignedDuration::ZERO);
    world
        .until(|world| world.notifications.trouble().is_some())
        .await;
    let told = world.notifications.trouble().unwrap();
    assert!(
        told.contains("evil.example, which is no host of localhost"),
        "{told}"
    );
    assert_eq!(world.cloud.book().sockets().len(), 0);
    world.cloud.connect_uri(None);
    world.listens().await;
}
