//! HTTP endpoints that misbehave, are not there, or are not to be trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::Outcome;
use serde_json::json;
use testbed::endpoint::{Answer, Endpoint};
use tokio::io::AsyncWriteExt as _;

use crate::contract::Subject as _;
use crate::events::{deliver_all, deliver_to_nobody, events, made};
use crate::http::Http;

#[tokio::test]
async fn a_redirect_is_not_followed_and_counts_as_of_a_broken_deployment() {
    let (subject, elsewhere) = (Http::start().await, Http::start().await);
    let to = subject.made(json!({}));
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.endpoint.url();
        subject
            .endpoint
            .answer_with(move |_| Answer::status(status).header("location", &location));
        let outcome = to.deliver(&events(1)).await;
        assert_eq!(outcome.unavailable, None);
        let Outcome::Retry { cause, .. } = &outcome.outcomes[0] else {
            panic!("{outcome:?}");
        };
        assert_eq!(cause.code, format!("http {status}"));
        assert!(cause.blanket && cause.detail.contains("`url`"), "{cause}");
    }
    assert_eq!(elsewhere.endpoint.received().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_goes_away_in_a_batch_keeps_what_it_took() {
    let subject = Http::start().await;
    // The first five are taken, the sixth says that the service is down.
    subject
        .endpoint
        .answer_with(|request| match request.number {
            0..5 => Answer::status(200),
            _ => Answer::status(503).header("retry-after", "5"),
        });
    let to = subject.made(json!({"concurrency": 1}));
    let outcome = to.deliver(&events(20)).await;
    assert_eq!(outcome.unavailable.unwrap().cause.code, "http 503");
    assert_eq!(outcome.outcomes[..5], vec![Outcome::Delivered; 5]);
    assert_eq!(outcome.outcomes[5..], vec![Outcome::NotDone; 15]);
    assert_eq!(subject.endpoint.received().len(), 6);
}

#[tokio::test]
async fn what_is_under_way_when_the_endpoint_goes_away_comes_to_its_end() {
    let subject = Http::start().await;
    // One is answered with 503 once the three others are there, and those only after it.
    let down = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&down);
    subject.endpoint.answer_with(move |request| {
        if request.number == 3 {
            told.store(true, Ordering::SeqCst);
            Answer::status(503)
        } else {
            Answer::status(200).after(Duration::from_millis(500))
        }
    });
    let to = subject.made(json!({"concurrency": 4}));
    let outcome = to.deliver(&events(20)).await;
    assert!(down.load(Ordering::SeqCst) && outcome.unavailable.is_some());
    let delivered = outcome
        .outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Delivered)
        .count();
    // Of every request that was answered with 200 it is known.
    assert_eq!(delivered, subject.endpoint.received().len() - 1);
    assert!(delivered >= 3, "{delivered}");
}

#[tokio::test]
async fn no_answer_in_time_is_unavailable() {
    let subject = Http::start().await;
    let to = subject.made(json!({"timeout": "300ms"}));
    for answer in [
        Answer::hang(),
        Answer::status(200).after(Duration::from_secs(3600)),
    ] {
        subject.endpoint.answer_with(move |_| answer.clone());
        assert_eq!(deliver_to_nobody(&*to, &events(1)).await, "timeout");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_and_a_proxy_without_its_server_are_unavailable() {
    let subject = Http::start().await;
    let to = subject.made(json!({}));
    for (answer, code) in [
        (Answer::close(), "http"),
        (Answer::status(502), "http 502"),
        (Answer::status(503), "http 503"),
        (Answer::status(504), "http 504"),
    ] {
        subject.endpoint.answer_with(move |_| answer.clone());
        assert_eq!(deliver_to_nobody(&*to, &events(1)).await, code);
    }
    subject.endpoint.answer_with(|_| Answer::status(200));
    deliver_all(&*to, &events(3)).await;
}

#[tokio::test]
async fn a_port_that_refuses_and_a_name_that_is_none_are_unavailable() {
    let mut subject = Http::start().await;
    let to = subject.made(json!({}));
    subject.stop().await;
    assert_eq!(deliver_to_nobody(&*to, &events(2)).await, "refused");
    assert_eq!(to.probe().await.unwrap_err().cause.code, "refused");
    // A label of more than 63 letters: no resolver needs to ask anybody.
    let host = format!("{}.invalid", "a".repeat(64));
    let url = format!("http://app:hunter2@{host}/hunter2?hunter2");
    let to = made(&json!({"type": "http", "url": url}));
    let outcome = to.deliver(&events(1)).await.unavailable.unwrap();
    assert_eq!(outcome.cause.code, "dns");
    assert!(outcome.cause.detail.contains(&format!("{host}:80")));
    let probed = to.probe().await.unwrap_err();
    assert_eq!(probed.cause.code, "dns");
    assert!(!format!("{outcome:?} {probed:?}").contains("hunter2"));
}

/// A server that reads something and says `words`, whatever it was asked.
async fn one_that_says(words: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
            stream.write_all(words).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn what_is_no_http_is_unavailable() {
    for words in [&b""[..], b"220 mail.example ESMTP\r\n", b"HTTP/1.1 2"] {
        let url = one_that_says(words).await;
        let to = made(&json!({"type": "http", "url": url}));
        let code = deliver_to_nobody(&*to, &events(1)).await;
        assert!(["http", "reset"].contains(&code.as_str()), "{code}");
    }
}

#[tokio::test]
async fn a_body_that_fails_after_a_good_status_does_not_undo_it() {
    let subject = Http::start().await;
    let to = subject.made(json!({"timeout": "5s"}));
    for answer in [
        Answer::status(200).body("a").cut(),
        Answer::status(200).body("a").never_ending(),
        Answer::status(200).body(vec![b'x'; 1 << 20]),
    ] {
        subject.endpoint.answer_with(move |_| answer.clone());
        deliver_all(&*to, &events(1)).await;
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_short_answer() {
    let subject = Http::start().await;
    let to = subject.made(json!({}));
    subject
        .endpoint
        .answer_with(|_| Answer::status(200).body(vec![b'x'; 60 << 10]));
    testbed::until(
        "a connection is used again",
        testbed::DEADLINE,
        async || {
            deliver_all(&*to, &events(1)).await;
            let received = subject.endpoint.received();
            let last = received[received.len() - 1].connection;
            let again = received.iter().filter(|one| one.connection == last).count() > 1;
            again
                .then_some(())
                .ok_or_else(|| format!("{} requests", received.len()))
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_long_answer_costs_its_connection_and_is_not_read() {
    let subject = Http::start().await;
    let to = subject.made(json!({"concurrency": 1}));
    subject
        .endpoint
        .answer_with(|_| Answer::status(422).body(vec![b'x'; 16 << 20]));
    to.deliver(&events(4)).await;
    let received = subject.endpoint.received();
    let mut connections: Vec<usize> = received.iter().map(|one| one.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), 4, "{connections:?}");
}

#[tokio::test]
async fn a_probe_asks_nothing() {
    let subject = Http::start().await;
    let to = subject.made(json!({}));
    to.probe().await.unwrap();
    to.inspect().await.unwrap();
    assert_eq!(subject.endpoint.received().len(), 0);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_unavailable() {
    let endpoint = Endpoint::start_tls().await.unwrap();
    let to = made(&json!({"type": "http", "url": endpoint.url()}));
    assert_eq!(deliver_to_nobody(&*to, &events(1)).await, "tls");
    let probed = to.probe().await.unwrap_err();
    assert_eq!(probed.cause.code, "tls");
    assert!(probed.cause.detail.contains("certificate"), "{probed}");
    assert!(to.inspect().await.is_err());
    assert_eq!(endpoint.received().len(), 0);
}

#[tokio::test]
async fn a_server_without_tls_behind_https_is_unavailable() {
    let subject = Http::start().await;
    let url = subject.endpoint.url().replace("http://", "https://");
    let to = made(&json!({"type": "http", "url": url}));
    assert_eq!(deliver_to_nobody(&*to, &events(1)).await, "tls");
}
