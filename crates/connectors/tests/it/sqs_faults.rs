//! Queues that are not there, keys that are not good, and answers that are no good news.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use domain::ports::{Delivery, Destination};
use domain::{Outcome, Unavailable};
use serde_json::{Value, json};
use testbed::endpoint::{Answer, Endpoint, Received};
use testbed::moto::{ACCOUNT, Moto};
use testbed::proxy::Mode;

use crate::aws_keys::{Keys, user};
use crate::contract::{Subject as _, section};
use crate::events::{deliver_all, deliver_soon, deliver_to_nobody, event, events, made};
use crate::sqs::{QUEUE, Sqs, at};

/// AWS asks for `sqs:SendMessage`, the test's server for the request's own name.
const SEND: [&str; 2] = ["sqs:SendMessage", "sqs:SendMessageBatch"];
const SENDER: [&str; 3] = [SEND[0], SEND[1], "sqs:GetQueueAttributes"];

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
async fn a_queue_that_does_not_exist_is_unavailable_until_somebody_makes_it() {
    let subject = Sqs::start().await;
    let to = made(&at(subject.proxy.addr(), "absent"));
    let why = unavailable(&*to).await;
    assert_eq!(why.cause.code, "queue");
    assert!(
        why.cause.detail.contains("queue absent at 127.0.0.1"),
        "{why}"
    );
    assert!(
        why.cause.detail.contains("make it, or correct `queue_url`"),
        "{why}"
    );
    subject.queue("absent", &json!({})).await;
    deliver_all(&*to, &events(3)).await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_while_it_is_written_is_unavailable() {
    let subject = Sqs::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(3)).await;
    let url = format!("{}{ACCOUNT}/{QUEUE}", subject.moto.url());
    let script = format!("import boto3\nboto3.client('sqs').delete_queue(QueueUrl='{url}')");
    subject.moto.python(&script).await.unwrap();
    assert_eq!(unavailable(&*to).await.cause.code, "queue");
}

#[tokio::test]
async fn a_wrong_region_is_unavailable_and_named() {
    let subject = Sqs::start().await;
    let to = subject.made(json!({"region": "eu-west-1"}));
    let why = unavailable(&*to).await;
    assert_eq!(why.cause.code, "queue");
    assert!(why.cause.detail.contains("`region`"), "{why}");
}

#[tokio::test]
async fn keys_that_are_unknown_wrong_or_not_allowed_are_unavailable_each_with_its_remedy() {
    let subject = Sqs::start().await;
    let good = user(&subject.moto, "sender", &SENDER).await;
    let reader = user(
        &subject.moto,
        "reader",
        &["sqs:ReceiveMessage", "sqs:GetQueueAttributes"],
    )
    .await;
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
    // It may ask, and is refused only when it sends.
    let outcome = to(&reader).deliver(&events(3)).await;
    assert_eq!(outcome.outcomes, vec![Outcome::NotDone; 3]);
    let why = outcome.unavailable.unwrap();
    assert_eq!(why.cause.code, "permission");
    assert!(
        why.cause.detail.contains("grant them sqs:SendMessage"),
        "{why}"
    );
    deliver_all(&*to(&good), &events(3)).await;
}

#[tokio::test]
async fn keys_that_may_send_and_not_ask_deliver_and_that_is_named() {
    let subject = Sqs::start().await;
    let keys = user(&subject.moto, "sender", &SEND).await;
    subject.moto.check_permissions().await.unwrap();
    let to = made(&keys.in_section(subject.section()));
    deliver_all(&*to, &events(12)).await;
    to.probe().await.unwrap();
    let findings = to.inspect().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let text = &findings[0].text;
    assert!(text.contains("grant them sqs:GetQueueAttributes"), "{text}");
}

#[tokio::test]
async fn a_secret_in_a_file_is_read_again_once_it_was_not_accepted() {
    let subject = Sqs::start().await;
    let keys = user(&subject.moto, "sender", &SENDER).await;
    subject.moto.check_permissions().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    let mut section = subject.section();
    let section = section.as_object_mut().unwrap();
    section.insert("access_key_id".into(), keys.id.into());
    section.remove("secret_access_key");
    section.insert(
        "secret_access_key_file".into(),
        file.to_str().unwrap().into(),
    );
    let to = made(&Value::Object(section.clone()));
    assert_eq!(unavailable(&*to).await.cause.code, "credentials");
    std::fs::write(&file, format!("{}\n", keys.secret)).unwrap();
    deliver_all(&*to, &events(3)).await;
    std::fs::remove_file(&file).unwrap();
    testbed::until("the file is missed", testbed::DEADLINE, async || {
        match to.deliver(&events(1)).await.unavailable {
            Some(why) if why.cause.code == "configuration" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

/// Says to this very test where the queue is, when it runs as a program whose environment has keys.
const IN_ENVIRONMENT: &str = "FOREBAY_TEST_QUEUE_AT";

#[tokio::test]
async fn keys_come_from_the_environment_or_a_profile_as_they_do_for_every_tool_of_aws() {
    if let Ok(address) = std::env::var(IN_ENVIRONMENT) {
        let mut section = at(address.parse().unwrap(), QUEUE);
        let keys = section.as_object_mut().unwrap();
        keys.remove("access_key_id");
        keys.remove("secret_access_key");
        if let Ok(profile) = std::env::var("FOREBAY_TEST_PROFILE") {
            keys.insert("profile".into(), profile.into());
        }
        let outcome = made(&section).deliver(&events(1)).await;
        println!("\n{:?}", outcome.unavailable.map(|why| why.cause.code));
        return;
    }
    let subject = Sqs::start().await;
    let keys = user(&subject.moto, "sender", &SENDER).await;
    subject.moto.check_permissions().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let profiles = format!(
        "[default]\naws_access_key_id = hunter2\naws_secret_access_key = hunter2\n[webhooks]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        keys.id, keys.secret
    );
    std::fs::write(&file, profiles).unwrap();
    let file = file.to_str().unwrap();
    let address = subject.proxy.addr().to_string();
    let told = async |environment: &[(&str, &str)]| {
        let test = "sqs_faults::keys_come_from_the_environment_or_a_profile_as_they_do_for_every_tool_of_aws";
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env_clear()
            .env("HOME", dir.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env(IN_ENVIRONMENT, &address)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let from_environment = [
        ("AWS_ACCESS_KEY_ID", keys.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", keys.secret.as_str()),
    ];
    let (credentials, none) = ("\nSome(\"credentials\")\n", "\nNone\n");
    assert!(told(&from_environment).await.contains(none));
    let at = ("AWS_SHARED_CREDENTIALS_FILE", file);
    assert!(told(&[at]).await.contains(credentials));
    assert!(
        told(&[at, ("AWS_PROFILE", "webhooks")])
            .await
            .contains(none)
    );
    assert!(
        told(&[at, ("FOREBAY_TEST_PROFILE", "webhooks")])
            .await
            .contains(none)
    );
    // There are none at all.
    assert!(told(&[]).await.contains(credentials));
}

#[tokio::test]
async fn no_answer_in_time_is_unavailable() {
    let subject = Sqs::start().await;
    let to = subject.made(json!({"timeout": "2s"}));
    deliver_soon(&*to, &events(1)).await;
    subject.proxy.set(Mode::Hang).await.unwrap();
    assert_eq!(deliver_to_nobody(&*to, &events(3)).await, "timeout");
    subject.proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*to, &events(3)).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_unavailable_and_so_is_plain_http_behind_https() {
    let moto = Moto::start_tls().await.unwrap();
    let mut to = at(moto.addr(), QUEUE);
    to["queue_url"] = format!("{}{ACCOUNT}/{QUEUE}", moto.url()).into();
    let why = unavailable(&*made(&to)).await;
    assert_eq!(why.cause.code, "tls");
    assert!(why.cause.detail.contains("certificate"), "{why}");
    let plain = Sqs::start().await;
    to["queue_url"] = format!("https://{}/{ACCOUNT}/{QUEUE}", plain.moto.addr()).into();
    assert_eq!(unavailable(&*made(&to)).await.cause.code, "tls");
}

/// A queue that answers as it is told: what a real one says too seldom to wait for.
struct Told {
    endpoint: Endpoint,
    to: std::sync::Arc<dyn Destination>,
}

impl Told {
    /// `answer` gets each request to send, and its entries.
    async fn start(answer: impl Fn(&Received, &[Value]) -> Answer + Send + Sync + 'static) -> Self {
        let endpoint = Endpoint::start().await.unwrap();
        endpoint.answer_with(move |request| {
            let target = request.header("x-amz-target").unwrap();
            if target.ends_with("GetQueueAttributes") {
                let attributes = json!({"Attributes": {"MaximumMessageSize": "262144"}});
                return Answer::status(200).body(attributes.to_string());
            }
            let sent: Value = serde_json::from_slice(&request.body).unwrap();
            answer(request, sent["Entries"].as_array().unwrap())
        });
        let to = made(&at(endpoint.addr(), QUEUE));
        Self { endpoint, to }
    }

    fn sent(&self) -> usize {
        let received = self.endpoint.received();
        let is_send = |one: &&Received| {
            let target = one.header("x-amz-target");
            target.is_some_and(|target| target.ends_with("SendMessageBatch"))
        };
        received.iter().filter(is_send).count()
    }
}

/// What a real one answers for a message that it took.
fn taken(entry: &Value) -> Value {
    let body = entry["MessageBody"].as_str().unwrap();
    let digest = <md5::Md5 as md5::Digest>::digest(body.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": hex})
}

fn failed(entry: &Value, code: &str, sender_fault: bool) -> Value {
    json!({"Id": entry["Id"], "Code": code, "SenderFault": sender_fault, "Message": "secret-payload"})
}

fn answered(successful: &[Value], failed: &[Value]) -> Answer {
    let body = json!({"Successful": successful, "Failed": failed});
    Answer::status(200).body(body.to_string())
}

fn refused(status: u16, code: &str) -> Answer {
    let body = json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": "secret-payload"});
    Answer::status(status).body(body.to_string())
}

#[tokio::test]
async fn every_message_of_a_request_has_the_outcome_that_the_queue_gives_it() {
    let told = Told::start(|_, entries| {
        let bad = [
            failed(&entries[1], "InvalidMessageContents", true),
            failed(&entries[2], "InternalError", false),
            failed(&entries[3], "RequestThrottled", true),
        ];
        // Of the fifth nothing is said, and the sixth is not what was sent.
        let mut good: Vec<Value> = entries[6..].iter().map(taken).collect();
        good.push(taken(&entries[0]));
        good.push(json!({"Id": entries[5]["Id"], "MessageId": "m", "MD5OfMessageBody": "0"}));
        answered(&good, &bad)
    })
    .await;
    let outcome = told.to.deliver(&events(10)).await;
    assert_eq!(outcome.unavailable, None);
    let word = |outcome: &Outcome| match outcome {
        Outcome::Delivered => "delivered".to_owned(),
        Outcome::Reject { cause } => format!("reject {}", cause.code),
        Outcome::Retry { cause, .. } => format!("retry {}", cause.code),
        Outcome::Throttled { .. } => "throttled".into(),
        Outcome::NotDone => "not done".into(),
    };
    let words: Vec<_> = outcome.outcomes.iter().map(word).collect();
    let expected = [
        "delivered",
        "reject sqs InvalidMessageContents",
        "retry sqs InternalError",
        "throttled",
        "retry sqs answer",
        "retry sqs checksum",
    ];
    assert_eq!(words[..6], expected);
    assert!(words[6..].iter().all(|word| word == "delivered"));
    assert!(!format!("{outcome:?}").contains("secret-payload"));
}

#[tokio::test]
async fn a_queue_that_goes_away_for_some_of_a_request_keeps_what_it_took() {
    let told = Told::start(|_, entries| {
        let good: Vec<Value> = entries[..4].iter().map(taken).collect();
        let bad: Vec<Value> = entries[4..]
            .iter()
            .map(|entry| failed(entry, "KmsDisabled", true))
            .collect();
        answered(&good, &bad)
    })
    .await;
    let outcome = told.to.deliver(&events(20)).await;
    assert_eq!(outcome.outcomes[..4], vec![Outcome::Delivered; 4]);
    assert_eq!(outcome.outcomes[4..], vec![Outcome::NotDone; 16]);
    assert_eq!(outcome.unavailable.unwrap().cause.code, "kms");
    assert_eq!(told.sent(), 1);
}

#[tokio::test]
async fn a_request_that_is_refused_for_one_message_is_sent_again_message_by_message() {
    for (code, word) in [
        ("InvalidMessageContents", "sqs InvalidMessageContents"),
        ("BatchRequestTooLong", "too-large"),
    ] {
        let told = Told::start(move |_, entries| {
            let is_bad = |entry: &&Value| entry["MessageBody"] == "bad";
            match entries.iter().find(is_bad) {
                Some(_) => refused(400, code),
                None => answered(&entries.iter().map(taken).collect::<Vec<_>>(), &[]),
            }
        })
        .await;
        let mut batch = events(10);
        batch[3] = event(3, "/", b"bad");
        let outcome = told.to.deliver(&batch).await;
        assert_eq!(outcome.unavailable, None);
        for (place, outcome) in outcome.outcomes.iter().enumerate() {
            match outcome {
                Outcome::Reject { cause } if place == 3 => assert_eq!(cause.code, word),
                outcome => assert_eq!(*outcome, Outcome::Delivered, "{place}"),
            }
        }
        assert_eq!(told.sent(), 11);
    }
}

#[tokio::test]
async fn a_queue_that_asks_for_fewer_is_not_pressed_and_no_attempt_is_spent() {
    let told = Told::start(|_, _| refused(400, "RequestThrottled")).await;
    let outcome = told.to.deliver(&events(3)).await;
    assert_eq!(outcome.unavailable, None);
    assert_eq!(
        outcome.outcomes,
        vec![Outcome::Throttled { after: None }; 3]
    );
    assert_eq!(told.sent(), 1);
}

#[tokio::test]
async fn whatever_has_nothing_to_do_with_an_event_is_unavailable_with_its_remedy() {
    for (answer, code, remedy) in [
        (
            refused(400, "KmsAccessDenied"),
            "kms",
            "kms:GenerateDataKey",
        ),
        (refused(403, "ExpiredToken"), "credentials", "renew them"),
        (refused(403, "RequestExpired"), "clock", "set it"),
        (refused(400, "InvalidAddress"), "queue", "`queue_url`"),
        (refused(500, "InternalFailure"), "service", "failed"),
        (refused(503, "ServiceUnavailable"), "service", "failed"),
        (
            Answer::status(502).body("<html>secret-payload"),
            "answer",
            "`endpoint_url`",
        ),
        (
            Answer::status(200).body("<html>secret-payload"),
            "answer",
            "`endpoint_url`",
        ),
        (
            Answer::status(404).body("not found"),
            "answer",
            "`endpoint_url`",
        ),
        (
            Answer::status(301).header("location", "http://127.0.0.1:1/"),
            "answer",
            "`endpoint_url`",
        ),
        (Answer::close(), "http", "before it answered"),
    ] {
        let told = Told::start(move |_, _| answer.clone()).await;
        let outcome = told.to.deliver(&events(3)).await;
        assert_eq!(outcome.outcomes, vec![Outcome::NotDone; 3], "{code}");
        let why = outcome.unavailable.unwrap();
        assert_eq!(why.cause.code, code, "{why}");
        assert!(why.cause.detail.contains(remedy), "{why}");
        assert!(!format!("{why:?}").contains("secret-payload"), "{why}");
        assert_eq!(told.sent(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_dropped_delivery_leaves_a_destination_that_works() {
    let subject = Sqs::start().await;
    let to = subject.made(json!({}));
    subject.proxy.set(Mode::Hang).await.unwrap();
    let batch: Vec<Delivery> = events(3);
    let given_up = tokio::time::timeout(Duration::from_millis(200), to.deliver(&batch)).await;
    assert!(given_up.is_err());
    subject.proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*to, &batch).await;
}

#[tokio::test]
async fn a_secret_file_that_is_not_there_stops_the_start() {
    let mut section = section(&Sqs::start().await, &json!({}));
    let keys = section.as_object_mut().unwrap();
    keys.remove("secret_access_key");
    keys.insert(
        "secret_access_key_file".into(),
        "/nonexistent/secret".into(),
    );
    let options: connectors::DestinationOptions = serde_json::from_value(section).unwrap();
    let error = connectors::build(&options.validate().unwrap(), &crate::events::context());
    let error = error.err().unwrap();
    assert_eq!(error.key, "secret_access_key_file");
    assert!(
        error
            .reason
            .contains(Path::new("/nonexistent/secret").to_str().unwrap())
    );
}
