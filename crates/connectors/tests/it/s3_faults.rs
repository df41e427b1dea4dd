//! Buckets that are not there, keys that are not good, and answers that are no good news.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{Outcome, Unavailable};
use serde_json::json;
use testbed::endpoint::{Answer, Endpoint};
use testbed::moto::Moto;
use testbed::proxy::Mode;

use crate::aws_keys::{Keys, user};
use crate::contract::Subject as _;
use crate::events::{bodies, deliver_all, deliver_soon, deliver_to_nobody, events, made};
use crate::s3::{BUCKET, S3, at};

/// Why nothing is delivered, the same from every side.
async fn unavailable(to: &dyn Destination) -> Unavailable {
    let code = deliver_to_nobody(to, &events(3)).await;
    let probed = to.probe().await.unwrap_err();
    let inspected = to.inspect().await.unwrap_err();
    assert_eq!((&probed.cause.code, &inspected.cause.code), (&code, &code));
    assert!(!format!("{probed:?}{inspected:?}").contains("hunter2"));
    probed
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_unavailable_until_somebody_makes_it() {
    let subject = S3::start().await;
    let to = made(&at(subject.proxy.addr(), "absent"));
    let why = unavailable(&*to).await;
    assert_eq!(why.cause.code, "bucket");
    assert!(
        why.cause.detail.contains("bucket absent at 127.0.0.1"),
        "{why}"
    );
    assert!(
        why.cause.detail.contains("make it, or correct `bucket`"),
        "{why}"
    );
    subject.bucket("absent").await;
    deliver_all(&*to, &events(3)).await;
}

#[tokio::test]
async fn keys_that_are_unknown_wrong_or_not_allowed_are_unavailable_each_with_its_remedy() {
    let subject = S3::start().await;
    let good = user(&subject.moto, "writer", &["s3:PutObject"]).await;
    let reader = user(&subject.moto, "reader", &["s3:GetObject"]).await;
    subject.moto.check_permissions().await.unwrap();
    let to = |keys: &Keys| made(&keys.in_section(subject.section()));
    let unknown = Keys {
        id: "AKIAHUNTER2HUNTER2HU".into(),
        secret: "hunter2".into(),
    };
    let why = unavailable(&*to(&unknown)).await;
    assert_eq!(why.cause.code, "credentials");
    assert!(why.cause.detail.contains("`access_key_id`"), "{why}");
    let why = unavailable(&*to(&good.mistaken())).await;
    assert_eq!(why.cause.code, "credentials");
    assert!(why.cause.detail.contains("secret access key"), "{why}");
    let why = unavailable(&*to(&reader)).await;
    assert_eq!(why.cause.code, "permission");
    assert!(
        why.cause.detail.contains("grant them s3:PutObject"),
        "{why}"
    );
    // To put objects is all that is needed.
    let to = to(&good);
    deliver_all(&*to, &events(3)).await;
    to.probe().await.unwrap();
    assert_eq!(to.inspect().await.unwrap(), vec![]);
}

#[tokio::test]
async fn no_answer_in_time_is_unavailable() {
    let subject = S3::start().await;
    let to = subject.made(json!({"timeout": "2s"}));
    deliver_soon(&*to, &events(1)).await;
    subject.proxy.set(Mode::Hang).await.unwrap();
    assert_eq!(deliver_to_nobody(&*to, &events(3)).await, "timeout");
    subject.proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*to, &events(3)).await;
    assert_eq!(subject.arrived().await, bodies(&events(3)));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_unavailable_and_so_is_plain_http_behind_https() {
    let moto = Moto::start_tls().await.unwrap();
    let mut to = at(moto.addr(), BUCKET);
    to["endpoint_url"] = moto.url().into();
    let why = unavailable(&*made(&to)).await;
    assert_eq!(why.cause.code, "tls");
    assert!(why.cause.detail.contains("certificate"), "{why}");
    let plain = S3::start().await;
    to["endpoint_url"] = format!("https://{}", plain.moto.addr()).into();
    assert_eq!(unavailable(&*made(&to)).await.cause.code, "tls");
}

/// A store that answers as it is told: what a real one says too seldom to wait for.
async fn told(answer: Answer) -> (Endpoint, Arc<dyn Destination>) {
    let endpoint = Endpoint::start().await.unwrap();
    endpoint.answer_with(move |_| answer.clone());
    let to = made(&at(endpoint.addr(), BUCKET));
    (endpoint, to)
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::status(status).body(format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>secret-payload</Message></Error>"
    ))
}

#[tokio::test]
async fn whatever_has_nothing_to_do_with_an_event_is_unavailable_with_its_remedy() {
    for (answer, code, remedy) in [
        (refused(400, "ExpiredToken"), "credentials", "renew them"),
        (refused(403, "RequestTimeTooSkewed"), "clock", "set it"),
        (
            refused(400, "AuthorizationHeaderMalformed"),
            "region",
            "`region`",
        ),
        (refused(301, "PermanentRedirect"), "region", "`region`"),
        (
            Answer::status(307).header("location", "http://127.0.0.1:1/"),
            "region",
            "`region`",
        ),
        (
            refused(400, "KMS.DisabledException"),
            "kms",
            "kms:GenerateDataKey",
        ),
        (refused(500, "InternalError"), "service", "failed"),
        (refused(503, "ServiceUnavailable"), "service", "failed"),
        (
            refused(501, "NotImplemented"),
            "conditional",
            "If-None-Match",
        ),
        (refused(507, "XMinioStorageFull"), "full", "no room"),
        (
            Answer::status(404).body("<html>secret-payload"),
            "bucket",
            "`bucket`",
        ),
        (Answer::close(), "http", "before it answered"),
    ] {
        let (endpoint, to) = told(answer).await;
        let outcome = to.deliver(&events(1)).await;
        assert_eq!(outcome.outcomes, vec![Outcome::NotDone], "{code}");
        let why = outcome.unavailable.unwrap();
        assert_eq!(why.cause.code, code, "{why}");
        assert!(why.cause.detail.contains(remedy), "{why}");
        assert!(!format!("{why:?}").contains("secret-payload"), "{why}");
        // Nobody but dispatch tries again.
        assert_eq!(endpoint.received().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_conflict_that_may_still_fail_is_not_taken_for_success() {
    let (_endpoint, to) = told(refused(409, "ConditionalRequestConflict")).await;
    let outcome = to.deliver(&events(1)).await;
    let Outcome::Retry { cause, .. } = &outcome.outcomes[0] else {
        panic!("{outcome:?}");
    };
    assert_eq!(cause.code, "http 409");
    let (endpoint, to) = told(refused(412, "PreconditionFailed")).await;
    deliver_all(&*to, &events(1)).await;
    assert_eq!(endpoint.received()[0].header("if-none-match"), Some("*"));
}

#[tokio::test]
async fn a_success_without_the_stores_confirmation_is_none() {
    // A page of somebody else's with 200 has no ETag.
    let (_endpoint, to) = told(Answer::status(200).body("<html>")).await;
    let outcome = to.deliver(&events(1)).await;
    assert_ne!(outcome.outcomes[0], Outcome::Delivered, "{outcome:?}");
}

#[tokio::test]
async fn a_store_that_asks_for_fewer_is_throttling_and_one_too_large_is_rejected() {
    let (_endpoint, to) = told(refused(503, "SlowDown")).await;
    let outcome = to.deliver(&events(2)).await;
    assert_eq!(
        outcome.outcomes,
        vec![Outcome::Throttled { after: None }; 2]
    );
    let (_endpoint, to) = told(refused(400, "EntityTooLarge")).await;
    let outcome = to.deliver(&events(1)).await;
    let Outcome::Reject { cause } = &outcome.outcomes[0] else {
        panic!("{outcome:?}");
    };
    assert_eq!(cause.code, "too-large");
}

#[tokio::test]
async fn a_store_that_goes_away_in_a_batch_keeps_what_it_took() {
    let endpoint = Endpoint::start().await.unwrap();
    endpoint.answer_with(|request| match request.number {
        0..5 => Answer::status(200).header("etag", "\"e\""),
        _ => refused(503, "ServiceUnavailable"),
    });
    let mut section = at(endpoint.addr(), BUCKET);
    section["concurrency"] = 1.into();
    let outcome = made(&section).deliver(&events(20)).await;
    assert_eq!(outcome.outcomes[..5], vec![Outcome::Delivered; 5]);
    assert_eq!(outcome.outcomes[5..], vec![Outcome::NotDone; 15]);
    assert_eq!(outcome.unavailable.unwrap().cause.code, "service");
    assert_eq!(endpoint.received().len(), 6);
}

#[tokio::test]
async fn a_dropped_delivery_leaves_a_destination_that_works() {
    let subject = S3::start().await;
    let to = subject.made(json!({}));
    subject.proxy.set(Mode::Hang).await.unwrap();
    let batch = events(3);
    let given_up = tokio::time::timeout(Duration::from_millis(200), to.deliver(&batch)).await;
    assert!(given_up.is_err());
    subject.proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*to, &batch).await;
}
