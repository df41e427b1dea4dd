//! RabbitMQ in trouble: nothing to route to, no right, no room, an alarm, hung, cut off, restarted.

use std::time::Duration;

use domain::ports::Destination;
use domain::{Outcome, Unavailable};
use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use testbed::proxy::{Mode, Proxy};
use testbed::rabbitmq::{Options, PASSWORD, USER};
use testbed::{DEADLINE, until};
use tokio::io::AsyncWriteExt as _;

use crate::contract::{Served as _, Subject as _, section};
use crate::events::{bodies, deliver_all, deliver_soon, deliver_to_nobody, event, events, made};
use crate::rabbitmq::{QUEUE, RabbitMq, arrived, name, text};

/// Delivers to nobody, and insists on the code and on words of the remedy.
async fn refused(to: &dyn Destination, code: &str, remedies: &[&str]) -> Unavailable {
    let outcome = to.deliver(&events(3)).await;
    assert_eq!(outcome.outcomes, vec![Outcome::NotDone; 3]);
    let why = outcome.unavailable.unwrap();
    assert_eq!(why.cause.code, code, "{why}");
    for remedy in remedies {
        assert!(why.cause.detail.contains(remedy), "{why}");
    }
    assert!(!why.to_string().contains(PASSWORD), "{why}");
    why
}

/// The subject's section with more keys.
fn at(subject: &RabbitMq, more: &Value) -> Value {
    section(subject, more)
}

#[tokio::test]
async fn what_must_be_mended_is_unavailable_and_named_with_its_remedy() {
    let subject = RabbitMq::start().await;
    let addr = subject.server.addr();

    // No queue: a publish to the default exchange is confirmed all the same, and must not count.
    let to = made(&at(&subject, &json!({"routing_key": "nowhere"})));
    refused(&*to, "unroutable", &["no queue nowhere", "declare it"]).await;
    assert_eq!(to.probe().await.unwrap_err().cause.code, "amqp 404");
    assert!(
        to.inspect()
            .await
            .unwrap_err()
            .cause
            .detail
            .contains("no queue nowhere")
    );
    subject.declare("nowhere", &[]).await;
    deliver_all(&*to, &events(3)).await;
    to.probe().await.unwrap();

    // No exchange.
    let to = made(&at(&subject, &json!({"exchange": "hooks"})));
    refused(&*to, "amqp 404", &["no exchange hooks of virtual host /"]).await;
    to.probe().await.unwrap_err();

    // An exchange, and nothing bound to it.
    subject.exchange("hooks", ExchangeKind::Topic, &[]).await;
    let to = made(&at(
        &subject,
        &json!({"exchange": "hooks", "routing_key": "orders.new"}),
    ));
    to.probe().await.unwrap();
    let remedies = ["exchange hooks", "\"orders.new\"", "bind one"];
    refused(&*to, "unroutable", &remedies).await;
    subject
        .exchange("hooks", ExchangeKind::Topic, &[(QUEUE, "orders.*")])
        .await;
    deliver_all(&*to, &events(3)).await;

    // No right to write, a wrong password, no right in the virtual host, no such virtual host.
    for (url, code, remedy) in [
        (
            format!("amqp://reader:{PASSWORD}@{addr}"),
            "amqp 403",
            "set_permissions",
        ),
        (
            format!("amqp://{USER}:wrong-{PASSWORD}@{addr}"),
            "amqp 403",
            "`url`",
        ),
        (
            format!("amqp://{USER}:{PASSWORD}@{addr}/closed"),
            "amqp 530",
            "set_permissions",
        ),
        (
            format!("amqp://{USER}:{PASSWORD}@{addr}/absent"),
            "amqp 530",
            "no virtual host absent",
        ),
    ] {
        refused(
            &*made(&at(&subject, &json!({"url": url, "exchange": "hooks"}))),
            code,
            &[remedy],
        )
        .await;
    }

    // Full: what fits is delivered, the rest is not taken for it.
    let full = [
        ("x-max-length", AMQPValue::LongInt(5)),
        ("x-overflow", text("reject-publish")),
    ];
    subject.declare("full", &full).await;
    let to = made(&at(&subject, &json!({"routing_key": "full"})));
    let outcome = to.deliver(&events(400)).await;
    let why = outcome.unavailable.unwrap();
    assert_eq!(why.cause.code, "nack");
    assert!(why.cause.detail.contains("reject-publish"), "{why}");
    let there = arrived(&subject.messages("full").await);
    let batch = events(400);
    let said: Vec<_> = batch
        .iter()
        .zip(&outcome.outcomes)
        .filter(|(_, outcome)| **outcome == Outcome::Delivered)
        .map(|(delivery, _)| delivery)
        .collect();
    assert!(!said.is_empty());
    assert_eq!(bodies(said), there);
    subject.drain("full").await;
    deliver_all(&*to, &events(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_route_that_goes_away_in_a_batch_only_what_was_routed_is_delivered() {
    let subject = RabbitMq::start().await;
    let bind = [(QUEUE, "k")];
    subject.exchange("hooks", ExchangeKind::Topic, &bind).await;
    let to = made(&at(
        &subject,
        &json!({"exchange": "hooks", "routing_key": "k"}),
    ));
    let (_connection, channel) = subject.channel().await;
    for round in 0..5 {
        let first = round * 1000;
        let batch: Vec<_> = (first..first + 1000)
            .map(|number| event(number, "/", b"{}"))
            .collect();
        let (queue, exchange, key) = (name(QUEUE), name("hooks"), name("k"));
        let unbound = channel.queue_unbind(queue, exchange, key, FieldTable::default());
        let (outcome, unbound) = tokio::join!(to.deliver(&batch), unbound);
        unbound.unwrap();
        let there = subject.arrived().await;
        for (delivery, outcome) in batch.iter().zip(&outcome.outcomes) {
            let id = delivery.stored.id.to_string();
            match outcome {
                Outcome::Delivered => assert!(there.contains_key(&id), "{id} was lost"),
                Outcome::NotDone => {}
                other => panic!("{other:?}"),
            }
        }
        if outcome.outcomes.contains(&Outcome::NotDone) {
            assert_eq!(outcome.unavailable.unwrap().cause.code, "unroutable");
        }
        subject.exchange("hooks", ExchangeKind::Topic, &bind).await;
        deliver_all(&*to, &batch).await;
        subject.drain(QUEUE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_alarm_is_unavailable_until_it_is_over_and_is_not_fed_meanwhile() {
    let subject = RabbitMq::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let to = made(&subject.section_at(proxy.addr()));
    deliver_all(&*to, &events(10)).await;
    subject.server.set_memory_alarm(true).await.unwrap();
    // The broker blocks a connection when it publishes, and what it has read by then may still pass.
    let batch: Vec<_> = (1000..1100)
        .map(|number| event(number, "/", b"{}"))
        .collect();
    until("the broker blocks", DEADLINE, async || {
        match to.deliver(&batch).await.unavailable {
            Some(why) if why.cause.code == "blocked" => Ok(why),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .map(|why| {
        assert!(
            why.cause.detail.contains("vm_memory_high_watermark"),
            "{why}"
        );
    })
    .unwrap();
    let before = proxy.counts();
    for _ in 0..5 {
        refused(&*to, "blocked", &["low on memory"]).await;
        assert_eq!(to.probe().await.unwrap_err().cause.code, "blocked");
    }
    let after = proxy.counts();
    assert_eq!(after.accepted, 1, "a connection for each try");
    assert!(
        after.to_server - before.to_server < 1000,
        "{before:?} {after:?}"
    );
    subject.server.set_memory_alarm(false).await.unwrap();
    deliver_soon(&*to, &batch).await;
    to.probe().await.unwrap();
    let mut expected = bodies(&events(10));
    expected.extend(bodies(&batch));
    assert_eq!(subject.arrived().await, expected);
}

/// The threads in which the client library reads and writes.
fn io_threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter(|thread| {
            let name = thread.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(name).is_ok_and(|name| name.starts_with("lapin-io-loop"))
        })
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_broker_is_unavailable_after_the_timeout_and_leaves_no_threads_behind() {
    let mut subject = RabbitMq::start().await;
    let hasty = json!({"timeout": "1s", "connect_timeout": "1s"});
    let to = made(&at(&subject, &hasty));
    deliver_soon(&*to, &events(10)).await;
    subject.server.pause().await.unwrap();
    let batch = events(20);
    let abandoned = tokio::time::timeout(Duration::from_millis(100), to.deliver(&batch));
    assert!(abandoned.await.is_err(), "a hung broker took a batch");
    for _ in 0..3 {
        let code = deliver_to_nobody(&*to, &events(50)).await;
        assert_eq!(code, "timeout");
    }
    assert_eq!(to.probe().await.unwrap_err().cause.code, "timeout");
    until(
        "the threads have ended",
        DEADLINE,
        async || match io_threads() {
            0 => Ok(()),
            threads => Err(threads.to_string()),
        },
    )
    .await
    .unwrap();
    subject.server.resume().unwrap();
    deliver_soon(&*to, &events(50)).await;
    assert_eq!(subject.arrived().await, bodies(&events(50)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_refusals_silence_and_a_restart_are_unavailable_and_then_over() {
    let mut subject = RabbitMq::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let mut section = subject.section_at(proxy.addr());
    let patient = made(&section);
    deliver_all(&*patient, &events(1)).await;
    for (mode, code) in [(Mode::Refuse, "refused"), (Mode::Reset, "reset")] {
        proxy.set(mode).await.unwrap();
        until(
            "the old connection is known to be gone",
            DEADLINE,
            async || match patient.deliver(&events(3)).await.unavailable {
                Some(why) if why.cause.code == code => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await
        .unwrap();
        assert_eq!(patient.probe().await.unwrap_err().cause.code, code);
        proxy.set(Mode::Pass).await.unwrap();
        deliver_all(&*patient, &events(3)).await;
    }
    section["connect_timeout"] = json!("300ms");
    let hasty = made(&section);
    proxy.set(Mode::Hang).await.unwrap();
    assert_eq!(deliver_to_nobody(&*hasty, &events(3)).await, "timeout");
    proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*patient, &events(3)).await;

    // In good order, with everything kept.
    let direct = made(&subject.section());
    deliver_all(&*direct, &events(3)).await;
    subject.server.stop().await.unwrap();
    deliver_to_nobody(&*direct, &events(5)).await;
    subject.start_again().await;
    deliver_all(&*direct, &events(5)).await;
    assert_eq!(subject.arrived().await, bodies(&events(5)));
}

#[tokio::test]
async fn a_body_that_the_broker_does_not_take_is_rejected_alone() {
    let limit = Options::default().with_setting("max_message_size", "1000");
    let subject = RabbitMq::with(limit).await;
    let to = made(&subject.section());
    for _ in 0..2 {
        let mut batch = events(300);
        batch[150] = event(9_000, "/", &[b'x'; 1001]);
        batch[299] = event(9_001, "/", &[b'x'; 70_000]);
        let outcome = to.deliver(&batch).await;
        assert_eq!(outcome.unavailable, None);
        for (place, outcome) in outcome.outcomes.iter().enumerate() {
            match outcome {
                Outcome::Reject { cause } if [150, 299].contains(&place) => {
                    assert_eq!(cause.code, "too-large");
                    assert!(cause.detail.contains("1000 bytes"), "{cause}");
                }
                other => assert_eq!(*other, Outcome::Delivered, "{place}"),
            }
        }
        // Asked anew: the limit may have been raised.
        to.inspect().await.unwrap();
    }
    deliver_all(&*to, &[event(9_002, "/", &[b'x'; 1000])]).await;
    let mut expected = bodies(&events(300));
    for place in ["150", "299"] {
        expected.retain(|_, body| !body.starts_with(format!("{{\"number\": {place},").as_bytes()));
    }
    expected.extend(bodies(&[event(9_002, "/", &[b'x'; 1000])]));
    assert_eq!(subject.arrived().await, expected);
}

/// A server that says `words` to whoever connects.
async fn one_that_says(words: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
            stream.write_all(words).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn what_is_no_broker_is_unavailable() {
    let section = |url: &str| json!({"type": "rabbitmq", "url": url, "routing_key": QUEUE});
    // It closes after its words: whether those or the end are seen first is anybody's guess.
    let codes = ["connection", "reset"];
    for words in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"AMQP\0\x01\0\0",
    ] {
        let to = made(&section(&one_that_says(words).await));
        let code = deliver_to_nobody(&*to, &events(1)).await;
        assert!(codes.contains(&code.as_str()), "{words:?}: {code}");
    }
    // A label of more than 63 letters: no resolver needs to ask anybody.
    let host = format!("{}.invalid", "a".repeat(64));
    let to = made(&section(&format!("amqp://{USER}:{PASSWORD}@{host}")));
    refused(&*to, "dns", &[&host]).await;
    // TLS to a server that has none.
    let url = one_that_says(b"").await.replace("amqp://", "amqps://");
    let code = deliver_to_nobody(&*made(&section(&url)), &events(1)).await;
    assert!(["tls", "reset"].contains(&code.as_str()), "{code}");
}

#[tokio::test]
async fn tls_is_spoken_to_a_broker_that_is_trusted_and_to_no_other() {
    let subject = RabbitMq::with(Options::default().with_tls()).await;
    let addr = subject.server.tls_addr().unwrap();
    let url = format!("amqps://{USER}:{PASSWORD}@{addr}");
    // The system vouches for nobody's test.
    let to = made(&at(&subject, &json!({"url": url})));
    refused(&*to, "tls", &["certificate", "`ca_file`"]).await;
    let ca = subject.server.ca().unwrap();
    let to = made(&at(&subject, &json!({"url": url, "ca_file": ca})));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    deliver_all(&*to, &events(3)).await;
    assert_eq!(subject.arrived().await, bodies(&events(3)));
}
