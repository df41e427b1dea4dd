//! Sockets: what comes over them, how they end, and what the book says of it.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::super::{Command, Fault, fingerprint};
use super::{Caller, Came, Socket};

const TOPIC: &str = "v2.users.7.presence";

fn frame(came: &Came) -> &Value {
    match came {
        Came::Frame(frame) => frame,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_to_those_who_are_connected_and_subscribed() {
    let caller = Caller::new().await;
    let (_a, mut one) = caller
        .listening(&[TOPIC, "v2.users.7?presence&station"])
        .await;
    let (_b, mut two) = caller.listening(&[TOPIC]).await;
    let (_c, mut deaf) = caller.listening(&["v2.users.8.presence"]).await;
    let unconnected = caller.channel().await;
    caller.subscribe(&unconnected, &[TOPIC]).await;

    let emitted = caller.cloud.emit(TOPIC, json!({ "n": 1 })).await;
    assert_eq!((emitted.number, &emitted.sockets[..]), (0, &[0, 1][..]));
    let (first, second) = (one.next().await, two.next().await);
    assert_eq!(first, second);
    let id = &frame(&first)["metadata"]["CorrelationId"];
    let whole = json!({
        "topicName": TOPIC,
        "version": "2",
        "eventBody": { "n": 1 },
        "metadata": { "CorrelationId": id },
    });
    assert_eq!(frame(&first), &whole);
    assert_eq!(one.within(Duration::from_secs(1)).await, Came::Nothing);
    assert_eq!(deaf.within(Duration::from_secs(1)).await, Came::Nothing);

    caller.cloud.emit(TOPIC, r#"{"n":1}"#).await;
    assert_ne!(&frame(&one.next().await)["metadata"]["CorrelationId"], id);
    let unheard = caller.cloud.emit("v2.users.9.presence", json!({})).await;
    assert!(unheard.sockets.is_empty());

    let book = caller.cloud.book();
    assert_eq!(book.records()[0].written, [0, 1]);
    assert_eq!(book.records()[0].at.to_string(), "2026-03-02T08:00:00Z");
    assert_eq!(book.records()[1].body, r#"{"n":1}"#);
    let tally = book.tally();
    assert_eq!((tally.emitted, tally.unheard, tally.written), (3, 1, 2));
    let print = fingerprint(TOPIC, r#"{"n":1}"#);
    assert_eq!(tally.written_sum, print.wrapping_mul(2));
    assert!(book.was_written(1) && !book.was_written(2));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_comes_every_30_seconds_until_it_is_stopped() {
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    for _ in 0..3 {
        let before = Instant::now();
        let came = socket.within(Duration::from_secs(31)).await;
        let beat = json!({
            "topicName": "channel.metadata",
            "eventBody": { "message": "WebSocket Heartbeat" },
        });
        assert_eq!(frame(&came), &beat);
        assert_eq!(before.elapsed(), Duration::from_secs(30));
    }
    assert!(caller.cloud.command(&channel, &Command::StopHeartbeats));
    assert_eq!(socket.within(Duration::from_secs(600)).await, Came::Nothing);
    caller.cloud.emit(TOPIC, json!({})).await;
    assert_eq!(socket.next().await.topic(), TOPIC);
    caller.cloud.command(&channel, &Command::ResumeHeartbeats);
    assert_eq!(
        socket.within(Duration::from_secs(31)).await.topic(),
        "channel.metadata"
    );
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_hangs_says_and_closes_nothing() {
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    caller.cloud.command(&channel, &Command::Hang);
    let emitted = caller.cloud.emit(TOPIC, json!({})).await;
    assert_eq!(emitted.sockets, [0]);
    socket.say(json!({ "message": "ping" })).await;
    assert_eq!(
        socket.within(Duration::from_secs(3600)).await,
        Came::Nothing
    );
    assert!(!caller.cloud.book().was_written(0));
    // A new socket puts an end to it.
    let _second = Socket::open(&caller.cloud, &channel).await.unwrap();
    assert_eq!(socket.next().await, Came::Broken);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered() {
    let caller = Caller::new().await;
    let (_channel, mut socket) = caller.listening(&[]).await;
    socket.say(json!({ "message": "ping" })).await;
    let pong = json!({ "topicName": "channel.metadata", "eventBody": { "message": "pong" } });
    assert_eq!(frame(&socket.next().await), &pong);
    socket.say(json!("what")).await;
    assert_eq!(frame(&socket.next().await)["result"], "400");
}

#[tokio::test(start_paused = true)]
async fn topics_are_subscribed_in_band() {
    let caller = Caller::new().await;
    let (_channel, mut socket) = caller.listening(&[]).await;
    let say =
        |topics: Value| json!({ "message": "subscribe", "topics": topics, "correlationId": "c" });
    socket.say(say(json!([TOPIC]))).await;
    let done = json!({ "result": "200", "status": "subscribed", "correlationId": "c" });
    assert_eq!(frame(&socket.next().await), &done);
    caller.cloud.emit(TOPIC, json!({})).await;
    assert_eq!(socket.next().await.topic(), TOPIC);
    for bad in [json!(["v2.users.7.mood"]), json!("x"), json!([1])] {
        socket.say(say(bad)).await;
        assert_eq!(frame(&socket.next().await)["result"], "400");
    }
    sleep(Duration::from_secs(60)).await;
    caller.cloud.revoke_tokens("id");
    assert!(
        socket
            .next()
            .await
            .topic()
            .starts_with("v2.system.token_revoked.")
    );
    assert!(
        socket
            .next()
            .await
            .topic()
            .starts_with("v2.system.no_longer_subscribed.")
    );
    socket.say(say(json!([TOPIC]))).await;
    assert_eq!(frame(&socket.next().await)["result"], "404");
}

#[tokio::test(start_paused = true)]
async fn revocation_is_told_to_the_sockets_and_ends_their_subscriptions() {
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    assert_eq!(caller.cloud.revoke_tokens("id"), 1);
    assert_eq!(socket.next().await.topic(), "v2.system.token_revoked.id");
    let last = socket.next().await;
    assert_eq!(
        last.topic(),
        format!("v2.system.no_longer_subscribed.{channel}")
    );
    assert_eq!(frame(&last)["eventBody"]["reason"], "user_tokens_revoked");
    assert!(caller.cloud.emit(TOPIC, json!({})).await.sockets.is_empty());
    // The channel is still there for a new token.
    let caller = Caller::of(&caller.cloud, "id").await;
    caller.subscribe(&channel, &[TOPIC]).await;
    caller.cloud.emit(TOPIC, json!({})).await;
    assert_eq!(socket.next().await.topic(), TOPIC);
}

#[tokio::test(start_paused = true)]
async fn a_second_socket_disconnects_the_first_after_what_it_had() {
    let caller = Caller::new().await;
    let (channel, mut first) = caller.listening(&[TOPIC]).await;
    caller.cloud.emit(TOPIC, json!(1)).await;
    let mut second = Socket::open(&caller.cloud, &channel).await.unwrap();
    let emitted = caller.cloud.emit(TOPIC, json!(2)).await;
    assert_eq!(emitted.sockets, [1]);
    assert_eq!(frame(&first.next().await)["eventBody"], 1);
    assert_eq!(first.next().await, Came::Closed(1000));
    assert_eq!(frame(&second.next().await)["eventBody"], 2);
    let book = caller.cloud.book();
    let ended: Vec<bool> = book
        .sockets()
        .iter()
        .map(|it| it.closed.is_some())
        .collect();
    assert_eq!(ended, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_socket_of_an_unknown_channel_is_404_and_faults_hit_handshakes() {
    let caller = Caller::new().await;
    assert_eq!(
        Socket::open(&caller.cloud, "streaming-0-x").await.err(),
        Some(404)
    );
    let channel = caller.channel().await;
    caller.cloud.fault("/channels/", 1, Fault::Status(503));
    assert_eq!(Socket::open(&caller.cloud, &channel).await.err(), Some(503));
    assert!(Socket::open(&caller.cloud, &channel).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_closing_socket_is_closed_60_seconds_later_and_serves_until_then() {
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    caller.cloud.command(&channel, &Command::Closing);
    assert_eq!(socket.next().await.topic(), "v2.system.socket_closing");
    let told = Instant::now();
    sleep(Duration::from_secs(59)).await;
    caller.cloud.emit(TOPIC, json!({})).await;
    assert_eq!(socket.next().await.topic(), TOPIC);
    assert_eq!(socket.next().await, Came::Closed(1000));
    assert_eq!(told.elapsed(), Duration::from_secs(60));
    assert!(Socket::open(&caller.cloud, &channel).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_closing_socket_ends_also_when_its_client_does_not_read() {
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    let body = json!("x".repeat(1_000_000));
    caller.cloud.emit(TOPIC, &body).await;
    caller.cloud.emit(TOPIC, &body).await;
    caller.cloud.command(&channel, &Command::Closing);
    sleep(Duration::from_secs(62)).await;
    assert_eq!(caller.cloud.channels()[0].socket, None);
    assert_eq!(caller.cloud.book().tally().written, 0);
    assert_eq!(socket.next().await, Came::Broken);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_lost_in_mid_stream_is_404_from_then_on() {
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    caller.cloud.command(&channel, &Command::Lose);
    assert_eq!(frame(&socket.next().await), &json!({ "result": "404" }));
    assert_eq!(caller.head(&channel).await, 404);
    assert_eq!(Socket::open(&caller.cloud, &channel).await.err(), Some(404));
    assert!(caller.cloud.emit(TOPIC, json!({})).await.sockets.is_empty());
    assert_eq!(
        socket.within(Duration::from_secs(3600)).await,
        Came::Nothing
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_after_no_longer_subscribed() {
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    let reason = "another_channel_subscribed".to_owned();
    caller
        .cloud
        .command(&channel, &Command::NoLongerSubscribed(reason));
    let came = socket.next().await;
    assert_eq!(
        came.topic(),
        format!("v2.system.no_longer_subscribed.{channel}")
    );
    assert_eq!(
        frame(&came)["eventBody"]["reason"],
        "another_channel_subscribed"
    );
    assert!(caller.cloud.emit(TOPIC, json!({})).await.sockets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn sockets_break_in_every_way_they_are_told_to() {
    for command in [
        Command::Reset,
        Command::HalfFrame,
        // Reserved bits, and a text that is no UTF-8.
        Command::Raw(vec![0xF1, 0x00]),
        Command::Raw(vec![0x81, 0x02, 0xFF, 0xFF]),
    ] {
        let caller = Caller::new().await;
        let (channel, mut socket) = caller.listening(&[TOPIC]).await;
        caller.cloud.emit(TOPIC, json!({})).await;
        assert!(caller.cloud.command(&channel, &command));
        assert_eq!(socket.next().await.topic(), TOPIC, "{command:?}");
        assert_eq!(socket.next().await, Came::Broken, "{command:?}");
        assert!(Socket::open(&caller.cloud, &channel).await.is_ok());
    }
    let caller = Caller::new().await;
    let (channel, mut socket) = caller.listening(&[TOPIC]).await;
    caller
        .cloud
        .command(&channel, &Command::Close(1012, "restart".to_owned()));
    assert_eq!(socket.next().await, Came::Closed(1012));
}

#[tokio::test(start_paused = true)]
async fn strange_frames_are_sent_as_they_are_told() {
    let caller = Caller::new().await;
    let (_channel, mut socket) = caller.listening(&[TOPIC]).await;
    let all = |command: Command| assert_eq!(caller.cloud.command_all(&command), 1);
    all(Command::Text("{\"topicName".to_owned()));
    assert_eq!(
        socket.next().await,
        Came::Other(Message::text("{\"topicName"))
    );
    all(Command::Binary(vec![1, 2]));
    assert_eq!(
        socket.next().await,
        Came::Other(Message::binary(vec![1, 2]))
    );
    all(Command::UnknownTopic);
    assert_eq!(socket.next().await.topic(), "v2.nobody.asked.for.this");
    all(Command::Sized(1_000_000));
    assert_eq!(frame(&socket.next().await).to_string().len(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_too_slowly_is_disconnected() {
    let caller = Caller::new().await;
    caller.cloud.socket_buffer(100, 64 << 20);
    let (_channel, mut socket) = caller.listening(&[TOPIC]).await;
    let body = json!("x".repeat(10_000));
    let mut refused = 0;
    // The stream itself holds 256 KiB.
    for _ in 0..200 {
        refused += usize::from(caller.cloud.emit(TOPIC, &body).await.sockets.is_empty());
    }
    assert!(refused > 0);
    let mut read = 0;
    let end = loop {
        match socket.next().await {
            Came::Frame(_) => read += 1,
            other => break other,
        }
    };
    assert_eq!(end, Came::Broken);
    let book = caller.cloud.book();
    assert_eq!(
        book.sockets()[0].closed.unwrap().1,
        "the client reads too slowly"
    );
    // What the book calls written came.
    assert!(read >= book.tally().written, "{read} {:?}", book.tally());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_events_are_cheap_and_paced() {
    let caller = Caller::new().await;
    caller.cloud.keep_counts_only();
    let (_channel, mut socket) = caller.listening(&[TOPIC]).await;
    let reader = tokio::spawn(async move {
        let mut sum = 0_u128;
        for _ in 0..100_000 {
            let came = socket.next().await;
            let body = frame(&came)["eventBody"].to_string();
            sum = sum.wrapping_add(fingerprint(TOPIC, &body));
        }
        sum
    });
    for number in 0..100_000 {
        caller.cloud.emit(TOPIC, number).await;
        if number % 1000 == 0 {
            caller.cloud.drained_to(1000).await;
        }
    }
    caller.cloud.drained_to(0).await;
    let book = caller.cloud.book();
    assert_eq!((book.tally().written, book.records().len()), (100_000, 0));
    assert_eq!(reader.await.unwrap(), book.tally().written_sum);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed() {
    let caller = Caller::new().await;
    let (_channel, socket) = caller.listening(&[TOPIC]).await;
    drop(socket);
    tokio::task::yield_now().await;
    caller.cloud.drained_to(0).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(caller.cloud.channels()[0].socket, None);
    assert!(caller.cloud.emit(TOPIC, json!({})).await.sockets.is_empty());
}
