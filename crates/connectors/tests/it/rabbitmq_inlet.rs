//! A RabbitMQ queue read again: what comes back, and that nothing is lost or gone before it is let go.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ports::{Destination, Inlet, Message};
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use testbed::proxy::{Mode, Proxy};
use testbed::{DEADLINE, until};

use crate::contract::{Served as _, Subject as _, odd_bodies};
use crate::events::{Bodies, as_dead, bodies, deliver_all, event, events, made};
use crate::rabbitmq::{QUEUE, RabbitMq, arguments, headers, id, name, text};

const NO_WAIT: Duration = Duration::ZERO;

fn inlet(to: &dyn Destination) -> &dyn Inlet {
    to.inlet().unwrap()
}

fn handles(messages: &[Message]) -> Vec<String> {
    let handles = messages.iter().map(|message| message.handle.clone());
    handles.collect()
}

fn taken(messages: &[Message]) -> Bodies {
    let pair = |message: &Message| {
        let id = message.attribute("forebay-event-id").unwrap().to_owned();
        (id, message.body.to_vec())
    };
    messages.iter().map(pair).collect()
}

/// Takes `count` messages, as many calls as that needs.
async fn receive(from: &dyn Inlet, count: usize) -> Vec<Message> {
    let mut all = Vec::new();
    until("the messages come", DEADLINE, async || {
        let limit = count - all.len();
        match from.receive(limit, NO_WAIT).await {
            Ok(messages) => all.extend(messages),
            Err(why) => return Err(why.to_string()),
        }
        (all.len() == count)
            .then_some(())
            .ok_or_else(|| format!("{} of {count}", all.len()))
    })
    .await
    .unwrap();
    all
}

#[tokio::test]
async fn what_the_destination_sent_comes_back_byte_for_byte_with_its_attributes() {
    let subject = RabbitMq::start().await;
    let to = subject.made(json!({}));
    let numbered = (0..).zip(odd_bodies());
    let mut batch: Vec<_> = numbered
        .map(|(number, body)| as_dead(event(number, "/in/genesys", &body)))
        .collect();
    batch.push(event(1000, "/in/genesys", b"\xff live"));
    deliver_all(&*to, &batch).await;
    let sent: BTreeMap<_, _> = subject
        .messages(QUEUE)
        .await
        .iter()
        .map(|message| (id(message), headers(message)))
        .collect();
    let from = inlet(&*to);
    let mut read = Vec::new();
    loop {
        let messages = from.receive(10, NO_WAIT).await.unwrap();
        assert!(messages.len() <= 10);
        if messages.is_empty() {
            break;
        }
        from.let_go(handles(&messages)).await.unwrap();
        read.extend(messages);
    }
    assert_eq!(taken(&read), bodies(&batch));
    for message in &read {
        let mut attributes = message.attributes.clone();
        attributes.sort();
        let id = message.attribute("forebay-event-id").unwrap();
        assert_eq!(attributes, sent[id]);
    }
    assert_eq!(subject.count().await, 0);
}

#[tokio::test]
async fn what_is_taken_is_nobody_elses_and_comes_again_unless_it_is_let_go() {
    let subject = RabbitMq::start().await;
    let (first, second) = (subject.made(json!({})), subject.made(json!({})));
    deliver_all(&*first, &events(7)).await;
    let held = receive(inlet(&*first), 5).await;
    assert_eq!(receive(inlet(&*second), 2).await.len(), 2);
    let none = inlet(&*second).receive(5, Duration::from_millis(300)).await;
    assert_eq!(none.unwrap(), vec![]);
    inlet(&*first).let_go(handles(&held[..2])).await.unwrap();
    drop(first);
    let again = receive(inlet(&*second), 3).await;
    assert_eq!(taken(&again), taken(&held[2..]));
    drop(second);
    let third = subject.made(json!({}));
    let rest = receive(inlet(&*third), 5).await;
    inlet(&*third).let_go(handles(&rest)).await.unwrap();
    assert_eq!(subject.count().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_at_any_time_loses_nothing() {
    let subject = RabbitMq::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let to = made(&subject.section_at(proxy.addr()));
    let from = inlet(&*to);
    deliver_all(&*to, &events(50)).await;
    for microseconds in [0, 300, 1000, 3000, 10_000, 30_000] {
        let limit = Duration::from_micros(microseconds);
        let dropped = tokio::time::timeout(limit, from.receive(50, NO_WAIT));
        // One that was quick enough was not dropped, and what it took is not to be waited for.
        if let Ok(Ok(messages)) = dropped.await {
            from.give_back(handles(&messages)).await.unwrap();
        }
    }
    // The broker's answers are on their way, and their receiver is gone.
    receive(from, 1).await;
    proxy.set(Mode::Hang).await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(200), from.receive(50, NO_WAIT));
    assert!(dropped.await.is_err(), "a hung broker gave messages");
    proxy.set(Mode::Pass).await.unwrap();
    let all = receive_different(from, 50).await;
    assert_eq!(all, bodies(&events(50)));
}

/// Takes until so many different ones have come.
async fn receive_different(from: &dyn Inlet, count: usize) -> Bodies {
    let mut all = Bodies::new();
    until("all of them come", DEADLINE, async || {
        if let Ok(messages) = from.receive(count, NO_WAIT).await {
            all.extend(taken(&messages));
        }
        (all.len() == count)
            .then_some(())
            .ok_or_else(|| all.len().to_string())
    })
    .await
    .unwrap();
    all
}

#[tokio::test]
async fn what_was_let_go_is_gone_for_good_and_the_rest_is_there_after_a_restart() {
    let mut subject = RabbitMq::start().await;
    let to = subject.made(json!({}));
    let batch = events(20);
    deliver_all(&*to, &batch).await;
    let messages = receive(inlet(&*to), 15).await;
    inlet(&*to).let_go(handles(&messages[..12])).await.unwrap();
    subject.server.stop().await.unwrap();
    // What was taken over that connection cannot be let go any more, and says so.
    let why = inlet(&*to).let_go(handles(&messages[12..])).await;
    assert!(["reset", "refused", "amqp 320"].contains(&&*why.unwrap_err().cause.code));
    inlet(&*to).receive(1, NO_WAIT).await.unwrap_err();
    subject.start_again().await;
    let rest = receive_different(inlet(&*to), 8).await;
    assert_eq!(rest, bodies(&batch[12..]));
    // A handle of before the restart lets nothing of after it go.
    let why = inlet(&*to).let_go(handles(&messages[..12])).await;
    assert!(why.unwrap_err().cause.detail.contains("come again"));
    drop(to);
    until(
        "all are back in the queue",
        DEADLINE,
        async || match subject.count().await {
            8 => Ok(()),
            count => Err(count.to_string()),
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn what_is_neither_let_go_nor_kept_in_a_minute_comes_again() {
    let subject = RabbitMq::start().await;
    let (idle, other) = (subject.made(json!({})), subject.made(json!({})));
    deliver_all(&*other, &events(3)).await;
    let held = receive(inlet(&*idle), 3).await;
    for _ in 0..3 {
        pass(40).await;
        inlet(&*idle).keep(&handles(&held)).await.unwrap();
    }
    let none = inlet(&*other).receive(3, Duration::from_millis(300)).await;
    assert_eq!(none.unwrap(), vec![]);
    pass(61).await;
    let again = receive(inlet(&*other), 3).await;
    assert_eq!(taken(&again), taken(&held));
    let why = inlet(&*idle).let_go(handles(&held)).await.unwrap_err();
    assert!(why.cause.detail.contains("come again"), "{why}");
    let why = inlet(&*idle).keep(&handles(&held)).await.unwrap_err();
    assert!(why.cause.detail.contains("come again"), "{why}");
}

/// Seconds that nobody waits for.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn what_other_software_sent_is_read_without_what_the_broker_added() {
    let subject = RabbitMq::start().await;
    // The broker's own dead lettering leads into our queue.
    let arguments_of = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(QUEUE)),
    ];
    subject.declare("work", &arguments_of).await;
    let (_connection, channel) = subject.channel().await;
    let mut nested = FieldTable::default();
    nested.insert(name("a"), text("b"));
    let foreign = arguments(&[
        ("Tenant", text("acme")),
        ("count", AMQPValue::LongInt(-3)),
        ("x-retry", AMQPValue::Boolean(true)),
        ("nested", AMQPValue::FieldTable(nested)),
        ("odd", AMQPValue::LongString((&b"\xff"[..]).into())),
    ]);
    let properties = BasicProperties::default()
        .with_headers(foreign)
        .with_content_type(name("text/plain"))
        .with_message_id(name("m-1"));
    let options = BasicPublishOptions::default();
    let published = channel.basic_publish(name(""), name("work"), options, b"\xff{}\0", properties);
    published.await.unwrap().await.unwrap();
    let got = until("it is there", DEADLINE, async || {
        let got = channel.basic_get(name("work"), BasicGetOptions::default());
        got.await.unwrap().ok_or_else(|| "nothing".to_owned())
    })
    .await
    .unwrap();
    let reject = BasicRejectOptions { requeue: false };
    got.acker.reject(reject).await.unwrap();
    let to = subject.made(json!({}));
    let messages = receive(inlet(&*to), 1).await;
    assert_eq!(&messages[0].body[..], b"\xff{}\0");
    let mut attributes = messages[0].attributes.clone();
    attributes.sort();
    let expected = [
        ("Tenant", "acme"),
        ("content-type", "text/plain"),
        ("count", "-3"),
        ("message-id", "m-1"),
        ("x-retry", "true"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(attributes, expected);
}

#[tokio::test]
async fn the_queue_is_the_routing_key_or_the_one_that_is_named() {
    let subject = RabbitMq::start().await;
    let exchange = json!({"exchange": "amq.direct", "routing_key": "k"});
    assert!(subject.made(exchange).inlet().is_none());
    let bind = [(QUEUE, "k")];
    subject
        .exchange("hooks", lapin::ExchangeKind::Direct, &bind)
        .await;
    let named = json!({"exchange": "hooks", "routing_key": "k", "queue": QUEUE});
    let to = subject.made(named);
    deliver_all(&*to, &events(2)).await;
    let messages = receive(inlet(&*to), 2).await;
    assert_eq!(taken(&messages), bodies(&events(2)));
    let to = subject.made(json!({"queue": "nowhere"}));
    for _ in 0..2 {
        let why = inlet(&*to).receive(1, NO_WAIT).await.unwrap_err();
        assert_eq!(why.cause.code, "amqp 404");
        assert!(why.cause.detail.contains("`queue`"), "{why}");
    }
    subject.declare("nowhere", &[]).await;
    let none = inlet(&*to).receive(1, NO_WAIT).await.unwrap();
    assert_eq!(none, vec![]);
}

#[tokio::test]
async fn a_broker_that_takes_nothing_for_an_alarm_is_read_all_the_same() {
    let subject = RabbitMq::start().await;
    let to = subject.made(json!({"timeout": "1s"}));
    deliver_all(&*to, &events(5)).await;
    subject.server.set_memory_alarm(true).await.unwrap();
    until("the broker blocks", DEADLINE, async || {
        match to.deliver(&events(5)).await.unavailable {
            Some(why) if why.cause.code == "blocked" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    // Repeats that were published before it blocked may be among them.
    let mut all = Bodies::new();
    loop {
        let messages = inlet(&*to).receive(10, NO_WAIT).await.unwrap();
        if messages.is_empty() {
            break;
        }
        all.extend(taken(&messages));
        inlet(&*to).let_go(handles(&messages)).await.unwrap();
    }
    assert_eq!(all, bodies(&events(5)));
    subject.server.set_memory_alarm(false).await.unwrap();
}
