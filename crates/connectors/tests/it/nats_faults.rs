//! NATS in trouble: no stream, no right, no room, hung, cut off, restarted.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use domain::ports::Destination;
use domain::{Outcome, Unavailable};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use testbed::nats::{Options, PASSWORD, USER};
use testbed::proxy::{Mode, Proxy};
use testbed::{DEADLINE, until};
use tokio::io::AsyncWriteExt as _;

use crate::contract::{Served as _, Subject as _, section};
use crate::events::{bodies, deliver_all, deliver_soon, deliver_to_nobody, event, events, made};
use crate::nats::{Nats, STREAM, SUBJECT, stream};

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

fn at(subject: &Nats, more: &Value) -> std::sync::Arc<dyn Destination> {
    made(&section(subject, more))
}

#[tokio::test]
async fn what_must_be_mended_is_unavailable_and_named_with_its_remedy() {
    let subject = Nats::with(Options::default()).await;
    let addr = subject.server.addr();

    // Nobody would keep it.
    let to = at(&subject, &json!({}));
    refused(&*to, "no-stream", &["no stream takes subject hooks.in"]).await;
    assert_eq!(to.probe().await.unwrap_err().cause.code, "no-stream");
    assert_eq!(to.inspect().await.unwrap_err().cause.code, "no-stream");
    let named = at(&subject, &json!({"stream": STREAM}));
    assert_eq!(named.probe().await.unwrap_err().cause.code, "no-stream");
    subject.declare(stream()).await;
    deliver_all(&*to, &events(3)).await;
    deliver_all(&*named, &events(3)).await;
    to.probe().await.unwrap();
    named.probe().await.unwrap();

    // The stream is another one, or does not take the subject.
    let other = Config {
        name: "OTHER".into(),
        subjects: vec!["others.*".into()],
        ..stream()
    };
    subject.declare(other).await;
    let to = at(&subject, &json!({"stream": "OTHER"}));
    refused(&*to, "jetstream 10060", &["`stream`", "stream OTHER"]).await;
    let why = to.probe().await.unwrap_err();
    assert_eq!(why.cause.code, "no-stream");
    assert!(
        why.cause.detail.contains("does not take subject hooks.in"),
        "{why}"
    );

    // A wrong password, and no right to publish.
    let url = format!("nats://{USER}:wrong-{PASSWORD}@{addr}");
    refused(&*at(&subject, &json!({"url": url})), "denied", &["`url`"]).await;
    let url = format!("nats://reader:{PASSWORD}@{addr}");
    let reader = at(&subject, &json!({"url": url}));
    refused(
        &*reader,
        "denied",
        &["may not publish to hooks.in", "permissions"],
    )
    .await;

    // It says nothing when it has a message.
    let silent = Config {
        name: "SILENT".into(),
        subjects: vec!["silent".into()],
        no_ack: true,
        ..stream()
    };
    subject.declare(silent).await;
    let to = at(&subject, &json!({"subject": "silent", "timeout": "300ms"}));
    refused(&*to, "timeout", &["does not answer"]).await;
    assert_eq!(to.probe().await.unwrap_err().cause.code, "no-ack");

    // Full: what fits is delivered, the rest is not taken for it.
    let small = Config {
        name: "SMALL".into(),
        subjects: vec!["small".into()],
        max_messages: 5,
        ..stream()
    };
    subject.declare(small).await;
    let to = at(&subject, &json!({"subject": "small"}));
    let outcome = to.deliver(&events(400)).await;
    let why = outcome.unavailable.unwrap();
    assert_eq!(why.cause.code, "jetstream 10077");
    assert!(why.cause.detail.contains("discard new"), "{why}");
    let delivered = outcome
        .outcomes
        .iter()
        .filter(|one| **one == Outcome::Delivered);
    assert_eq!(delivered.count(), 5);
    assert_eq!(subject.messages("SMALL").await.len(), 5);
}

#[tokio::test]
async fn without_jetstream_nothing_is_taken_for_kept() {
    let subject = Nats::with(Options::default().without_jetstream()).await;
    let to = at(&subject, &json!({"timeout": "500ms"}));
    refused(&*to, "no-stream", &[]).await;
    assert_eq!(to.probe().await.unwrap_err().cause.code, "no-jetstream");
    // Somebody listens and keeps nothing: the worst that can look like a success.
    let client = subject.context().await.client();
    let mut heard = client.subscribe(SUBJECT).await.unwrap();
    client.publish(SUBJECT, "anybody?".into()).await.unwrap();
    heard.next().await.unwrap();
    refused(&*to, "timeout", &["plain subscriber"]).await;
    // One who answers, but is no stream.
    let message = heard.next().await.unwrap();
    let answering = client.clone();
    tokio::spawn(async move {
        answering
            .publish(message.reply.unwrap(), "thanks".into())
            .await
            .unwrap();
        while let Some(message) = heard.next().await {
            if let Some(reply) = message.reply {
                answering.publish(reply, "thanks".into()).await.unwrap();
            }
        }
    });
    refused(&*to, "connection", &["is no stream"]).await;
}

#[tokio::test]
async fn what_is_weaker_than_the_promise_is_named() {
    let subject = Nats::with(Options::default()).await;
    let weak = |name: &str, config: Config| Config {
        name: name.to_uppercase(),
        subjects: vec![name.to_owned()],
        ..config
    };
    for (name, config, word) in [
        (
            "memory",
            Config {
                storage: StorageType::Memory,
                ..stream()
            },
            "storage memory",
        ),
        (
            "old",
            Config {
                discard: DiscardPolicy::Old,
                max_bytes: 1 << 20,
                ..stream()
            },
            "discard old",
        ),
        (
            "interest",
            Config {
                retention: RetentionPolicy::Interest,
                ..stream()
            },
            "no consumer",
        ),
    ] {
        subject.declare(weak(name, config)).await;
        let to = at(&subject, &json!({"subject": name}));
        let findings = to.inspect().await.unwrap();
        let named = findings
            .iter()
            .filter(|finding| finding.text.contains(word));
        assert_eq!(named.count(), 1, "{findings:?}");
        deliver_all(&*to, &events(2)).await;
    }
    // Who may publish and not ask is believed, and told so.
    let blind = Nats::with(Options::default().with_line(format!(
        "accounts {{ A: {{ jetstream: enabled, users: [
            {{ user: {USER}2, password: {PASSWORD} }},
            {{ user: blind, password: {PASSWORD}, permissions: {{ publish: [\"hooks.>\"] }} }} ] }} }}"
    )))
    .await;
    let url = format!("nats://blind:{PASSWORD}@{}", blind.server.addr());
    let to = at(&blind, &json!({"url": url}));
    to.probe().await.unwrap();
    let findings = to.inspect().await.unwrap();
    assert!(findings[0].text.contains("$JS.API"), "{findings:?}");
}

#[tokio::test]
async fn a_body_that_server_or_stream_does_not_take_is_rejected_alone() {
    let subject = Nats::with(Options::default()).await;
    let config = Config {
        max_message_size: 2000,
        ..stream()
    };
    subject.declare(config).await;
    let to = at(&subject, &json!({}));
    let mut batch = events(300);
    batch[150] = event(9_000, "/", &[b'x'; 2001]);
    batch[299] = event(9_001, "/", &vec![b'x'; 8 << 20]);
    let outcome = to.deliver(&batch).await;
    assert_eq!(outcome.unavailable, None);
    for (place, outcome) in outcome.outcomes.iter().enumerate() {
        let limit = match place {
            150 => "2000 bytes of the stream's max_msg_size",
            299 => "8388608 bytes of the server's max_payload",
            _ => {
                assert_eq!(*outcome, Outcome::Delivered, "{place}");
                continue;
            }
        };
        let Outcome::Reject { cause } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(cause.code, "too-large");
        assert!(cause.detail.contains(limit), "{cause}");
    }
    assert_eq!(subject.count().await, 298);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_is_unavailable_after_the_timeout_and_leaves_no_tasks_behind() {
    let mut subject = Nats::start().await;
    let to = at(
        &subject,
        &json!({"timeout": "500ms", "connect_timeout": "500ms"}),
    );
    deliver_soon(&*to, &events(10)).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    subject.server.pause().await.unwrap();
    let batch = events(20);
    let abandoned = tokio::time::timeout(Duration::from_millis(100), to.deliver(&batch));
    assert!(abandoned.await.is_err(), "a hung server took a batch");
    for _ in 0..5 {
        assert_eq!(deliver_to_nobody(&*to, &events(50)).await, "timeout");
    }
    assert_eq!(to.probe().await.unwrap_err().cause.code, "timeout");
    until(
        "the old connections' tasks have ended",
        DEADLINE,
        async || {
            let now = tasks();
            (now <= before)
                .then_some(())
                .ok_or_else(|| format!("{now} for {before}"))
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
    let mut subject = Nats::start().await;
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
        patient.probe().await.unwrap_err();
        proxy.set(Mode::Pass).await.unwrap();
        deliver_soon(&*patient, &events(3)).await;
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
    deliver_soon(&*direct, &events(5)).await;
    assert_eq!(subject.arrived().await, bodies(&events(5)));
}

#[tokio::test]
async fn a_token_logs_in_and_a_wrong_one_does_not() {
    let server = Options::default().with_line("authorization { token: \"s3cret\" }");
    let subject = Nats::with(server).await;
    let url = |token: &str| format!("nats://{token}@{}", subject.server.addr());
    let to = at(&subject, &json!({"url": url("s3cret")}));
    refused(&*to, "no-stream", &[]).await;
    let why = refused(
        &*at(&subject, &json!({"url": url("wr0ng")})),
        "denied",
        &["token"],
    )
    .await;
    assert!(!why.to_string().contains("wr0ng"), "{why}");
}

/// A server that says `words` to whoever connects.
async fn one_that_says(words: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(words).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn what_is_no_server_is_unavailable_and_one_by_tls_only_if_it_is_trusted() {
    let section = |url: &str| json!({"type": "nats", "url": url, "subject": SUBJECT});
    for words in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"INFO nonsense\r\n",
    ] {
        let to = made(&section(&one_that_says(words).await));
        let code = deliver_to_nobody(&*to, &events(1)).await;
        assert!(
            ["connection", "reset"].contains(&code.as_str()),
            "{words:?}: {code}"
        );
    }
    // A label of more than 63 letters: no resolver needs to ask anybody.
    let host = format!("{}.invalid", "a".repeat(64));
    let to = made(&section(&format!("nats://{USER}:{PASSWORD}@{host}")));
    refused(&*to, "dns", &[&host]).await;
    let subject = Nats::with(Options::default().with_tls()).await;
    let ca = subject.server.ca().unwrap();
    // It insists on TLS, whatever the URL says.
    for url in [
        subject.server.url(),
        subject.server.url().replace("tls://", "nats://"),
    ] {
        let mut section = section(&url);
        refused(&*made(&section), "tls", &["certificate", "`ca_file`"]).await;
        section["ca_file"] = json!(ca);
        refused(&*made(&section), "no-stream", &[]).await;
    }
}
