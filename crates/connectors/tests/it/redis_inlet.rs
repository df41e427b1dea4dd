//! A Redis list and a Redis stream read again: what comes back, and that nothing is lost or gone before it is let go.

use std::sync::Arc;
use std::time::Duration;

use connectors::{Instance, QueueOptions, build_queue};
use domain::ports::{Inlet, Message};
use serde_json::{Value, json};
use testbed::proxy::{Mode, Proxy};
use testbed::redis::{Options, Server};
use testbed::{DEADLINE, until};

use crate::contract::odd_bodies;
use crate::events::{Bodies, as_dead, bodies, context, deliver_all, event, events, made};
use crate::redis::KEY;

const NO_WAIT: Duration = Duration::ZERO;

/// Both ways in which events lie in a Redis.
const KINDS: [&str; 2] = ["list", "stream"];

async fn server() -> Server {
    Server::start_new(Options::default()).await.unwrap()
}

/// A reader of the key, as a source has it, with further options.
fn reader(url: &str, kind: &str, more: &Value) -> Arc<dyn Inlet> {
    let mut section = json!({ "type": "redis", "url": url, kind: KEY });
    for (key, value) in more.as_object().into_iter().flatten() {
        section[key] = value.clone();
    }
    let options: QueueOptions = serde_json::from_value(section).unwrap();
    build_queue(&options.validate().unwrap(), &context()).unwrap()
}

fn handles(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|one| one.handle.clone()).collect()
}

fn texts(messages: &[Message]) -> Vec<String> {
    let text = |one: &Message| String::from_utf8(one.body.to_vec()).unwrap();
    messages.iter().map(text).collect()
}

fn taken(messages: &[Message]) -> Bodies {
    let pair = |message: &Message| {
        let id = message.attribute("forebay-event-id").unwrap().to_owned();
        (id, message.body.to_vec())
    };
    messages.iter().map(pair).collect()
}

/// Puts texts there, as other software would.
async fn put(server: &Server, kind: &str, texts: &[&str]) {
    for text in texts {
        let words = match kind {
            "list" => vec!["RPUSH", KEY, text],
            _ => vec!["XADD", KEY, "*", "payload", text],
        };
        server.execute(&words).await.unwrap();
    }
}

/// How much lies there, and under the names of readers.
async fn left(server: &Server, kind: &str) -> u64 {
    if kind == "stream" {
        return server.ask(&["XLEN", KEY]).await.unwrap();
    }
    let mut left = server.ask(&["LLEN", KEY]).await.unwrap();
    let others: Vec<String> = server.ask(&["KEYS", "*:forebay:*"]).await.unwrap();
    for other in others {
        left += server.ask::<u64>(&["LLEN", &other]).await.unwrap();
    }
    left
}

#[tokio::test]
async fn what_the_destination_sent_comes_back_byte_for_byte_with_its_attributes() {
    for kind in KINDS {
        let server = server().await;
        let to = made(&json!({ "type": "redis", "url": server.url(), kind: KEY }));
        let numbered = (0..).zip(odd_bodies());
        let mut batch: Vec<_> = numbered
            .map(|(number, body)| as_dead(event(number, "/in/genesys", &body)))
            .collect();
        batch.push(event(1000, "/in/genesys", b"\xff live"));
        deliver_all(&*to, &batch).await;
        let from = to.inlet().unwrap();
        let mut read = Vec::new();
        loop {
            let messages = from.receive(7, NO_WAIT).await.unwrap();
            assert!(messages.len() <= 7);
            if messages.is_empty() {
                break;
            }
            from.let_go(handles(&messages)).await.unwrap();
            read.extend(messages);
        }
        assert_eq!(taken(&read), bodies(&batch), "{kind}");
        let letter = batch[0].letter.as_ref().unwrap();
        for (name, value) in letter.attributes() {
            assert_eq!(read[0].attribute(name), Some(&*value), "{kind}: {name}");
        }
        assert_eq!(left(&server, kind).await, 0, "{kind}");
    }
}

#[tokio::test]
async fn what_is_in_hand_is_not_given_twice_and_comes_first_to_the_next_process() {
    for kind in KINDS {
        let server = server().await;
        put(&server, kind, &["1", "2", "3", "4", "5"]).await;
        let first = reader(&server.url(), kind, &Value::Null);
        let held = first.receive(3, NO_WAIT).await.unwrap();
        assert_eq!(texts(&held), ["1", "2", "3"]);
        first.let_go(handles(&held[1..2])).await.unwrap();
        let rest = first.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(texts(&rest), ["4", "5"], "{kind}");
        assert_eq!(first.receive(10, NO_WAIT).await.unwrap(), []);
        first.give_back(handles(&held[..1])).await.unwrap();
        let again = first.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(texts(&again), ["1"], "{kind}: it was given back");
        drop(first);
        put(&server, kind, &["6"]).await;
        let next = reader(&server.url(), kind, &Value::Null);
        let mut all = Vec::new();
        for _ in 0..2 {
            all.extend(next.receive(10, NO_WAIT).await.unwrap());
        }
        assert_eq!(texts(&all), ["1", "3", "4", "5", "6"], "{kind}");
        next.let_go(handles(&all)).await.unwrap();
        assert_eq!(left(&server, kind).await, 0, "{kind}");
    }
}

#[tokio::test]
async fn what_was_let_go_is_gone_for_good_and_what_could_not_be_comes_again() {
    for kind in KINDS {
        let mut server = server().await;
        put(&server, kind, &["1", "2", "3", "4"]).await;
        let from = reader(&server.url(), kind, &json!({ "timeout": "2s" }));
        let all = from.receive(10, NO_WAIT).await.unwrap();
        from.let_go(handles(&all[..2])).await.unwrap();
        server.kill().await.unwrap();
        let why = from.let_go(handles(&all[2..])).await.unwrap_err();
        assert!(["refused", "reset"].contains(&&*why.cause.code), "{why}");
        server.start().await.unwrap();
        let again = from.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(texts(&again), ["3", "4"], "{kind}");
        from.let_go(handles(&again)).await.unwrap();
        assert_eq!(left(&server, kind).await, 0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_at_any_time_loses_nothing() {
    for kind in KINDS {
        let server = server().await;
        let proxy = Proxy::start(server.addr()).await.unwrap();
        let to = made(&json!({ "type": "redis", "url": server.url(), kind: KEY }));
        deliver_all(&*to, &events(50)).await;
        let from = reader(&format!("redis://{}", proxy.addr()), kind, &Value::Null);
        for microseconds in [0, 300, 1000, 3000, 10_000, 30_000] {
            let limit = Duration::from_micros(microseconds);
            let dropped = tokio::time::timeout(limit, from.receive(50, NO_WAIT)).await;
            if let Ok(Ok(messages)) = dropped {
                from.give_back(handles(&messages)).await.unwrap();
            }
        }
        proxy.set(Mode::Hang).await.unwrap();
        let dropped = tokio::time::timeout(Duration::from_millis(200), from.receive(50, NO_WAIT));
        assert!(dropped.await.is_err(), "a hung server gave messages");
        proxy.set(Mode::Pass).await.unwrap();
        let mut all = Bodies::new();
        until("all of them come", DEADLINE, async || {
            if let Ok(messages) = from.receive(50, NO_WAIT).await {
                all.extend(taken(&messages));
            }
            (all.len() == 50).then_some(()).ok_or(all.len().to_string())
        })
        .await
        .unwrap();
        assert_eq!(all, bodies(&events(50)), "{kind}");
    }
}

#[tokio::test]
async fn two_of_the_same_are_two() {
    for kind in KINDS {
        let server = server().await;
        put(&server, kind, &["same", "same", "other"]).await;
        let from = reader(&server.url(), kind, &Value::Null);
        let all = from.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(texts(&all), ["same", "same", "other"]);
        from.let_go(handles(&all[..1])).await.unwrap();
        drop(from);
        let next = reader(&server.url(), kind, &Value::Null);
        let rest = next.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(texts(&rest), ["same", "other"], "{kind}");
    }
}

#[tokio::test]
async fn what_a_dead_consumer_was_given_is_taken_over_once_it_is_old() {
    let server = server().await;
    put(&server, "stream", &["1", "2", "3"]).await;
    let dead = reader(&server.url(), "stream", &json!({ "consumer": "dead" }));
    let held = dead.receive(2, NO_WAIT).await.unwrap();
    drop(dead);
    let heir = reader(&server.url(), "stream", &json!({ "consumer": "heir" }));
    let fresh = heir.receive(10, NO_WAIT).await.unwrap();
    assert_eq!(texts(&fresh), ["3"], "the others are not old yet");
    drop(heir);
    let mut age = vec!["XCLAIM", KEY, "forebay", "dead", "0"];
    age.extend(held.iter().map(|one| one.handle.as_str()));
    age.extend(["IDLE", "120000", "JUSTID"]);
    server.execute(&age).await.unwrap();
    let heir = reader(&server.url(), "stream", &json!({ "consumer": "heir" }));
    let mut all = Vec::new();
    for _ in 0..2 {
        all.extend(heir.receive(10, NO_WAIT).await.unwrap());
    }
    let mut found = texts(&all);
    found.sort();
    assert_eq!(found, ["1", "2", "3"]);
    heir.let_go(handles(&all)).await.unwrap();
    assert_eq!(left(&server, "stream").await, 0);
}

#[tokio::test]
async fn entries_that_somebody_deleted_hold_up_nobody() {
    let server = server().await;
    put(&server, "stream", &["1", "2", "3"]).await;
    let first = reader(&server.url(), "stream", &Value::Null);
    let held = first.receive(3, NO_WAIT).await.unwrap();
    drop(first);
    server
        .execute(&["XDEL", KEY, &held[1].handle])
        .await
        .unwrap();
    let next = reader(&server.url(), "stream", &Value::Null);
    let all = next.receive(10, NO_WAIT).await.unwrap();
    assert_eq!(texts(&all), ["1", "3"]);
    next.let_go(handles(&all)).await.unwrap();
    let pending: (u64, Value0, Value0, Value0) =
        server.ask(&["XPENDING", KEY, "forebay"]).await.unwrap();
    assert_eq!(pending.0, 0);
}

/// What is not looked at.
type Value0 = Option<redis::Value>;

#[tokio::test]
async fn a_server_that_was_emptied_is_read_on() {
    for kind in KINDS {
        let server = server().await;
        put(&server, kind, &["1"]).await;
        let from = reader(&server.url(), kind, &Value::Null);
        assert_eq!(from.receive(10, NO_WAIT).await.unwrap().len(), 1);
        server.execute(&["FLUSHALL"]).await.unwrap();
        put(&server, kind, &["2"]).await;
        let all = from.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(texts(&all), ["2"], "{kind}");
    }
}

#[tokio::test]
async fn a_stream_that_others_read_as_well_keeps_its_entries() {
    let server = server().await;
    put(&server, "stream", &["1", "2"]).await;
    let ours = reader(&server.url(), "stream", &json!({ "delete": false }));
    let all = ours.receive(10, NO_WAIT).await.unwrap();
    ours.let_go(handles(&all)).await.unwrap();
    assert_eq!(ours.receive(10, NO_WAIT).await.unwrap(), []);
    let theirs = reader(&server.url(), "stream", &json!({ "group": "theirs" }));
    assert_eq!(
        texts(&theirs.receive(10, NO_WAIT).await.unwrap()),
        ["1", "2"]
    );
    drop(ours);
    let next = reader(&server.url(), "stream", &json!({ "delete": false }));
    assert_eq!(next.receive(10, NO_WAIT).await.unwrap(), []);
}

#[tokio::test]
async fn what_keeps_it_from_being_read_is_told_with_the_remedy() {
    let server = server().await;
    for (kind, other) in [("list", "stream"), ("stream", "list")] {
        server.execute(&["DEL", KEY]).await.unwrap();
        put(&server, other, &["1"]).await;
        let from = reader(&server.url(), kind, &Value::Null);
        for why in [
            from.look().await.unwrap_err(),
            from.receive(1, NO_WAIT).await.unwrap_err(),
        ] {
            assert_eq!(why.cause.code, "redis WRONGTYPE");
            let word = format!("`{kind}`");
            assert!(why.cause.detail.contains(&word), "{why}");
        }
    }
    server.execute(&["DEL", KEY]).await.unwrap();
    let acl = ["ACL", "SETUSER", "poor", "on", ">hunter2", "~*", "+type"];
    server.execute(&acl).await.unwrap();
    let url = server.url().replace("redis://", "redis://poor:hunter2@");
    for (kind, command) in [("list", "+lmove"), ("stream", "+xreadgroup")] {
        let from = reader(&url, kind, &Value::Null);
        let why = from.receive(1, NO_WAIT).await.unwrap_err();
        assert_eq!(why.cause.code, "redis NOPERM");
        let detail = &why.cause.detail;
        assert!(
            detail.contains(command) && !detail.contains("hunter2"),
            "{why}"
        );
    }
    let replica = Options::default().replica_of(&server);
    let replica = Server::start_new(replica).await.unwrap();
    until("the replica is in step", DEADLINE, async || {
        let from = reader(&replica.url(), "list", &Value::Null);
        let why = from.receive(1, NO_WAIT).await.unwrap_err();
        let code = why.cause.code.clone();
        (code == "redis READONLY").then_some(()).ok_or(code)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_cluster_is_read_wherever_the_key_is() {
    let options = || Options::default().with_cluster();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Server::start_new(options()).await.unwrap());
    }
    let all: Vec<&Server> = nodes.iter().collect();
    Server::join_into_cluster(&all).await.unwrap();
    for kind in KINDS {
        for node in &nodes {
            let section = json!({ "type": "redis", "url": node.url(), kind: format!("{kind}-{}", node.addr().port()) });
            let to = made(&section);
            deliver_all(&*to, &events(20)).await;
            let from = to.inlet().unwrap();
            let mut read = Vec::new();
            loop {
                let messages = from.receive(50, NO_WAIT).await.unwrap();
                if messages.is_empty() {
                    break;
                }
                from.keep(&handles(&messages)).await.unwrap();
                from.let_go(handles(&messages)).await.unwrap();
                read.extend(messages);
            }
            assert_eq!(taken(&read), bodies(&events(20)), "{kind}");
        }
    }
}

#[tokio::test]
async fn an_import_and_a_source_of_one_name_and_key_do_not_take_each_others_messages() {
    for kind in KINDS {
        let server = server().await;
        put(&server, kind, &["1", "2", "3"]).await;
        // Both are called `events-db`, which is one name in two sections.
        let source = reader(&server.url(), kind, &Value::Null);
        let held = source.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(held.len(), 3);
        let to = made(&json!({ "type": "redis", "url": server.url(), kind: KEY }));
        let import = to.inlet().unwrap();
        let taken = import.receive(10, NO_WAIT).await.unwrap();
        assert_eq!(
            texts(&taken),
            [""; 0],
            "{kind}: they are in the source's hand"
        );
        source.let_go(handles(&held)).await.unwrap();
        assert_eq!(left(&server, kind).await, 0);
    }
}

#[tokio::test]
async fn the_commands_that_a_refusal_names_are_all_that_reading_takes() {
    let server = server().await;
    let url = server.url().replace("redis://", "redis://poor:hunter2@");
    for kind in KINDS {
        server.execute(&["DEL", KEY]).await.unwrap();
        put(&server, kind, &["1"]).await;
        let acl = ["ACL", "SETUSER", "poor", "reset", "on", ">hunter2"];
        server.execute(&acl).await.unwrap();
        let from = reader(&url, kind, &Value::Null);
        let why = from.look().await.unwrap_err().cause.detail;
        let (_, remedy) = why.split_once("ACL SETUSER its name ").unwrap();
        let mut acl = vec!["ACL", "SETUSER", "poor"];
        acl.extend(remedy.split(' '));
        server.execute(&acl).await.unwrap();
        from.look().await.unwrap();
        let all = from.receive(10, NO_WAIT).await.unwrap();
        from.keep(&handles(&all)).await.unwrap();
        from.let_go(handles(&all)).await.unwrap();
        assert_eq!(texts(&all), ["1"], "{kind}");
    }
}

/// Bytes that come at once when there is much more: what is enough for once, and not much besides.
const AT_ONCE: usize = 40 << 20;

#[tokio::test]
async fn large_messages_come_few_at_a_time_to_this_process_and_to_the_next() {
    for kind in KINDS {
        let server = server().await;
        let large = "x".repeat(4 << 20);
        put(&server, kind, &[&*large; 40]).await;
        let take = async |from: &Arc<dyn Inlet>| {
            let (mut all, mut count) = (Vec::new(), 0);
            while count < 40 {
                let some = from.receive(100, NO_WAIT).await.unwrap();
                let bytes: usize = some.iter().map(|one| one.body.len()).sum();
                assert!(bytes <= AT_ONCE, "{kind}: {bytes} bytes at once");
                assert!(!some.is_empty(), "{kind}: {count} came");
                count += some.len();
                all.extend(handles(&some));
            }
            all
        };
        let first = reader(&server.url(), kind, &Value::Null);
        let held = take(&first).await;
        assert_eq!(held.len(), 40, "{kind}");
        // It ends, and all of it lies under its name.
        drop(first);
        let next = reader(&server.url(), kind, &Value::Null);
        let again = take(&next).await;
        next.let_go(again).await.unwrap();
        assert_eq!(left(&server, kind).await, 0, "{kind}");
    }
}

#[tokio::test]
async fn what_was_taken_lies_under_the_installation_s_id_whatever_the_machine_is_called() {
    let server = server().await;
    put(&server, "list", &["1"]).await;
    let id = "6f1c1c0e-9f43-4b0e-8a44-0c6a35a8d0b1";
    let instance = Instance::default();
    let context = connectors::Context {
        instance: instance.clone(),
        ..context()
    };
    let section = json!({ "type": "redis", "url": server.url(), "list": KEY });
    let options: QueueOptions = serde_json::from_value(section).unwrap();
    let from = build_queue(&options.validate().unwrap(), &context).unwrap();
    // It is known only once the journal is open.
    instance.is(id.parse().unwrap());
    from.receive(1, NO_WAIT).await.unwrap();
    let lists: Vec<String> = server.ask(&["KEYS", "*:forebay:*"]).await.unwrap();
    assert_eq!(lists, [format!("{{{KEY}}}:forebay:{id}.events-db")]);
}
