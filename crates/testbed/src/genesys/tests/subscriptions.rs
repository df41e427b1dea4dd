//! Channels and what they are subscribed to.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::{Caller, Came, Socket, subscriptions};

const PRESENCE: &str = "v2.users.7.presence";

fn states(entities: &Value) -> Vec<(&str, &str)> {
    let entities = entities.as_array().unwrap().iter();
    entities
        .map(|it| (it["id"].as_str().unwrap(), it["state"].as_str().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_added_replaced_listed_and_cleared() {
    let caller = Caller::new().await;
    let channel = caller.channel().await;
    let path = subscriptions(&channel);
    let added = caller.subscribe(&channel, &[PRESENCE]).await;
    assert_eq!(states(&added.body["entities"]), [(PRESENCE, "Permitted")]);
    caller
        .subscribe(&channel, &["v2.users.7.station", PRESENCE])
        .await;
    let listed = caller.get(&path).await;
    let both = [(PRESENCE, "Permitted"), ("v2.users.7.station", "Permitted")];
    assert_eq!(states(&listed.body["entities"]), both);

    let one = json!([{ "id": "v2.users.8.presence" }]);
    assert_eq!(caller.call("PUT", &path, one).await.status, 200);
    assert_eq!(caller.cloud.channels()[0].topics, ["v2.users.8.presence"]);
    assert_eq!(caller.call("DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(caller.get(&path).await.body["entities"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_an_error_unless_errors_are_ignored() {
    let caller = Caller::new().await;
    let channel = caller.channel().await;
    for unknown in [
        "v2.users.7.mood",
        "v2.users..presence",
        "v2.users.{id}.presence",
        "v2.system.socket_closing",
        "channel.metadata",
        // Only for EventBridge.
        "v2.audits.entitytype.a.entityid.b",
        "v2.users.7?presence&mood",
        "v2.users.7?presence&",
    ] {
        let refused = caller.subscribe(&channel, &[PRESENCE, unknown]).await;
        assert_eq!(refused.status, 400, "{unknown}");
        assert!(caller.cloud.channels()[0].topics.is_empty());

        let path = subscriptions(&channel) + "?ignoreErrors=true";
        let body = json!([{ "id": PRESENCE }, { "id": unknown }]);
        let reply = caller.call("PUT", &path, body).await;
        let wanted = [(PRESENCE, "Permitted"), (unknown, "Rejected")];
        assert_eq!(states(&reply.body["entities"]), wanted);
        assert!(reply.body["entities"][1]["rejectionReason"].is_string());
        caller
            .call("DELETE", &subscriptions(&channel), Value::Null)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_its_permission_is_rejected_by_name() {
    let caller = Caller::new().await;
    let _client = caller
        .cloud
        .client("id", "secret")
        .without_permission("routing:queue:view");
    let channel = caller.channel().await;
    let queue = "v2.routing.queues.1?conversations&users";
    let reply = caller.subscribe(&channel, &[PRESENCE, queue]).await;
    assert_eq!(reply.status, 200);
    let wanted = [(PRESENCE, "Permitted"), (queue, "Rejected")];
    assert_eq!(states(&reply.body["entities"]), wanted);
    let missing = &reply.body["entities"][1]["missingPermissions"];
    assert_eq!(missing, &json!(["routing:queue:view"]));
    assert_eq!(caller.cloud.channels()[0].topics, [PRESENCE]);
}

#[tokio::test(start_paused = true)]
async fn a_combined_topic_is_one_entry_of_at_most_200_characters_and_many_topics() {
    let caller = Caller::new().await;
    let combined = "v2.users.7?presence&routingStatus";
    let (_channel, mut socket) = caller.listening(&[combined]).await;
    assert_eq!(caller.cloud.channels()[0].topics, [combined]);
    for topic in ["v2.users.7.routingStatus", PRESENCE] {
        caller.cloud.emit(topic, json!({})).await;
        assert_eq!(socket.next().await.topic(), topic);
    }
    for (length, status) in [(200, 200), (201, 400)] {
        let id = "7".repeat(length - "v2.users.?presence".len());
        let topic = format!("v2.users.{id}?presence");
        let channel = caller.channel().await;
        assert_eq!(caller.subscribe(&channel, &[&topic]).await.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn the_1001st_topic_is_one_too_many() {
    let caller = Caller::new().await;
    let channel = caller.channel().await;
    let topics: Vec<String> = (0..1001)
        .map(|it| format!("v2.users.{it}.presence"))
        .collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    assert_eq!(caller.subscribe(&channel, &topics).await.status, 400);
    assert_eq!(
        caller.subscribe(&channel, &topics[..1000]).await.status,
        200
    );
    // One that is there already is not one more.
    assert_eq!(caller.subscribe(&channel, &topics[..1]).await.status, 200);
    assert_eq!(
        caller.subscribe(&channel, &topics[1000..]).await.status,
        400
    );
    let body = json!([{ "id": topics[1000] }]);
    assert_eq!(
        caller
            .call("PUT", &subscriptions(&channel), body)
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn the_21st_channel_costs_the_least_recently_used_unconnected_ones_first() {
    let caller = Caller::new().await;
    let (first, mut socket) = caller.listening(&[PRESENCE]).await;
    let mut others = Vec::new();
    for _ in 0..19 {
        others.push(caller.channel().await);
    }
    caller.subscribe(&others[0], &[PRESENCE]).await;
    let last = caller.channel().await;
    assert_eq!(caller.head(&others[1]).await, 404);
    assert_eq!(
        (caller.head(&first).await, caller.head(&others[0]).await),
        (200, 200)
    );
    others.push(last);
    // With all connected, the one whose use is longest ago goes, and its socket is closed.
    let mut sockets = Vec::new();
    for channel in others.iter().filter(|it| **it != others[1]) {
        sockets.push(Socket::open(&caller.cloud, channel).await.unwrap());
    }
    caller.channel().await;
    assert_eq!(socket.next().await, Came::Closed(1000));
    assert_eq!(caller.head(&first).await, 404);
    assert_eq!(Socket::open(&caller.cloud, &first).await.err(), Some(404));
    // Another client's channels are none of this one's.
    let _client = caller.cloud.client("other", "secret");
    let other = Caller::of(&caller.cloud, "other").await;
    other.channel().await;
    assert_eq!(other.head(&others[0]).await, 404);
    assert_eq!(caller.cloud.channels().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_channel_lives_24_hours_from_its_last_subscription() {
    let caller = Caller::new().await;
    let _client = caller
        .cloud
        .client("id", "secret")
        .token_life(Duration::from_secs(172_800));
    let caller = Caller::of(&caller.cloud, "id").await;
    let (channel, mut socket) = caller.listening(&[PRESENCE]).await;
    let idle = caller.channel().await;
    sleep(Duration::from_secs(86_399)).await;
    assert_eq!(caller.head(&idle).await, 200);
    caller.subscribe(&channel, &[PRESENCE]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (caller.head(&idle).await, caller.head(&channel).await),
        (404, 200)
    );
    let day = async {
        loop {
            match socket.next().await {
                Came::Nothing => {}
                other => return other,
            }
        }
    };
    let before = caller.cloud.now();
    assert_eq!(day.await, Came::Closed(1000));
    assert!(caller.cloud.now().duration_since(before).as_secs() >= 86_398);
    assert_eq!(caller.head(&channel).await, 404);
}

#[tokio::test(start_paused = true)]
async fn available_topics_are_told_with_transports_and_permissions() {
    let caller = Caller::new().await;
    caller
        .cloud
        .template("v2.made.{id}.up", &["Websocket"], &["made:up:view"]);
    let path = "/api/v2/notifications/availabletopics?expand=transports,requiresPermissions";
    let reply = caller.get(path).await;
    let topics = reply.body["entities"].as_array().unwrap();
    let of = |id: &str| topics.iter().find(|it| it["id"] == id).unwrap();
    assert!(topics.len() > 12);
    let end = of("v2.detail.events.conversation.{id}.customer.end");
    assert_eq!(
        end["requiresPermissions"],
        json!(["analytics:conversationDetail:view"])
    );
    assert_eq!(of("v2.made.{id}.up")["transports"], json!(["Websocket"]));
    let channel = caller.channel().await;
    assert_eq!(
        caller.subscribe(&channel, &["v2.made.1.up"]).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_connect_uri_can_lead_astray() {
    let caller = Caller::new().await;
    caller
        .cloud
        .connect_uri(Some("wss://evil.example/channels/{id}"));
    let path = "/api/v2/notifications/channels";
    let made = caller.post(path, Value::Null).await;
    let uri = format!("wss://evil.example/channels/{}", made.text("id"));
    assert_eq!(made.text("connectUri"), uri);
    caller.cloud.connect_uri(None);
    let listed = caller.get(path).await;
    let uri = format!("ws://localhost/channels/{}", made.text("id"));
    assert_eq!(listed.body["entities"][0]["connectUri"], uri);
}
