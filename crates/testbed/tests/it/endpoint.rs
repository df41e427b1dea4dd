//! The webhook receiver answers as it is told, keeps what came, and is away when it is stopped.

use std::time::Duration;

use bytes::Bytes;
use testbed::endpoint::{Answer, Endpoint, Gate};
use testbed::{DEADLINE, http, until};

#[tokio::test]
async fn an_endpoint_keeps_what_it_received_and_answers_as_told() {
    let endpoint = Endpoint::start().await.unwrap();
    endpoint.answer_with(|request| match request.path.as_str() {
        "/good" => Answer::status(201).header("x-a", "b").body("said"),
        _ => Answer::status(503).header("retry-after", "3"),
    });
    let url = |path: &str| format!("{}{path}", endpoint.url());
    let good = http::post(&url("good"), &[("x-own", "1")], Bytes::from_static(b"\xff"))
        .await
        .unwrap();
    assert_eq!((good.status.as_u16(), good.text().as_str()), (201, "said"));
    assert_eq!(good.headers["x-a"], "b");
    let bad = http::get(&url("bad?x=y")).await.unwrap();
    assert_eq!(
        (bad.status.as_u16(), &bad.headers["retry-after"]),
        (503, &"3".parse().unwrap())
    );
    let received = endpoint.received();
    assert_eq!(received.len(), 2);
    assert_eq!(&received[0].body[..], b"\xff");
    assert_eq!(received[0].header("x-own"), Some("1"));
    assert_eq!(
        (received[1].number, received[1].path.as_str()),
        (1, "/bad?x=y")
    );
    assert_eq!(endpoint.connections(), 2);
}

#[tokio::test]
async fn answers_that_break_off_are_errors_to_who_asked() {
    let endpoint = Endpoint::start().await.unwrap();
    for answer in [Answer::close(), Answer::status(200).body("half").cut()] {
        endpoint.answer_with(move |_| answer.clone());
        assert!(http::get(&endpoint.url()).await.is_err());
    }
    assert_eq!(endpoint.received().len(), 2);
}

#[tokio::test]
async fn a_gate_holds_answers_until_it_is_opened() {
    let endpoint = Endpoint::start().await.unwrap();
    let gate = Gate::closed();
    let held = gate.clone();
    endpoint.answer_with(move |_| Answer::status(200).once_open(&held));
    let url = endpoint.url();
    let asked = tokio::spawn(async move { http::get(&url).await });
    until("the request is there", DEADLINE, async || {
        let count = endpoint.received().len();
        (count == 1).then_some(()).ok_or_else(|| count.to_string())
    })
    .await
    .unwrap();
    assert!(!asked.is_finished());
    gate.open();
    assert_eq!(asked.await.unwrap().unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn a_stopped_endpoint_refuses_ends_what_was_under_way_and_comes_back() {
    let mut endpoint = Endpoint::start().await.unwrap();
    endpoint.answer_with(|_| Answer::hang());
    let url = endpoint.url();
    let hung = tokio::spawn(async move { http::get(&url).await });
    until("the request is there", DEADLINE, async || {
        let count = endpoint.received().len();
        (count == 1).then_some(()).ok_or_else(|| count.to_string())
    })
    .await
    .unwrap();
    endpoint.stop().await;
    assert!(hung.await.unwrap().is_err());
    assert!(http::get(&endpoint.url()).await.is_err());
    endpoint.start_again().await.unwrap();
    endpoint.answer_with(|_| Answer::status(200).after(Duration::from_millis(1)));
    assert_eq!(
        http::get(&endpoint.url()).await.unwrap().status.as_u16(),
        200
    );
    assert_eq!(endpoint.received().len(), 2);
}
