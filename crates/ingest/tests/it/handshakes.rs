//! Challenges are answered as their sender wants them, and nothing of them is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use domain::SystemClock;
use domain::ports::{Fetch, FetchError};
use ingest::verify::{Signed, Unsigned, VerifyOptions};

use crate::door::{Answered, Door, journal, sources, stored};

fn signed(verify: &serde_json::Value, body: &str) -> Signed {
    let verify: VerifyOptions = serde_json::from_value(verify.clone()).unwrap();
    let unsigned = Unsigned {
        path: "/in/x",
        url: None,
        body: body.as_bytes(),
        id: "1",
        now: domain::Clock::now(&SystemClock),
    };
    verify.build().unwrap().sign(&unsigned).unwrap()
}

async fn post(door: &Door, source: &str, signed: &Signed, body: &str) -> Answered {
    let headers: Vec<_> = signed
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let path = format!("/in/{source}");
    door.post(&path, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn challenges_are_answered_and_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let slack = serde_json::json!({ "scheme": "slack", "secrets": ["a-secret-of-many-letters"] });
    let configured = serde_json::json!({
        "slack": { "type": "http", "verify": slack },
        "meta": { "type": "http", "verify": { "scheme": "meta", "secrets": ["a-secret"], "verify_token": "token" } },
        "okta": { "type": "http", "verify": { "scheme": "okta", "secrets": ["a-secret"] } },
        "graph": { "type": "http", "verify": { "scheme": "microsoft-graph", "secrets": ["state"] } },
        "events": { "type": "http", "verify": { "scheme": "cloudevents", "secrets": ["a-secret"] } },
    });
    let door = Door::open(&sources(&configured.to_string()), journal.clone(), |_| {}).await;
    let say = async |request: &str| {
        door.say(format!("{request}\r\nhost: x\r\n\r\n").as_bytes())
            .await
    };

    let body = r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
    let answered = post(&door, "slack", &signed(&slack, body), body).await;
    assert_eq!((answered.status, &*answered.body), (200, &b"3eZbrw1aB"[..]));
    assert!(answered.head.contains("content-type: text/plain"));
    let forged = post(&door, "slack", &signed(&slack, "{}"), body).await;
    assert_eq!((forged.status, &*forged.code()), (401, "not-verified"));

    let asked = "GET /in/meta?hub.mode=subscribe&hub.challenge=42&hub.verify_token=token HTTP/1.1";
    let answered = say(asked).await;
    assert_eq!((answered.status, &*answered.body), (200, &b"42"[..]));
    let wrong = say(&asked.replace("=token", "=other")).await;
    assert_eq!((wrong.status, &*wrong.code()), (401, "not-verified"));
    let answered = say("GET /in/okta HTTP/1.1\r\nx-okta-verification-challenge: c1").await;
    assert_eq!(answered.json(), serde_json::json!({ "verification": "c1" }));
    let answered = door.post("/in/graph?validationToken=a%20b", &[], b"").await;
    assert_eq!((answered.status, &*answered.body), (200, &b"a b"[..]));
    let answered = say("OPTIONS /in/events HTTP/1.1\r\nwebhook-request-origin: h").await;
    assert!(
        answered.head.contains("webhook-allowed-origin: h\r\n"),
        "{}",
        answered.head
    );

    // What is no challenge is refused, and says what the scheme does answer.
    for (request, allowed) in [
        ("GET /in/slack HTTP/1.1", "allow: post\r\n"),
        ("GET /in/meta HTTP/1.1", "allow: post, get\r\n"),
        ("PUT /in/events HTTP/1.1", "allow: post, options\r\n"),
    ] {
        let refused = say(request).await;
        assert_eq!(refused.status, 405, "{request}");
        assert!(refused.head.contains(allowed), "{}", refused.head);
    }
    assert!(stored(&journal).await.is_empty());
    assert!(door.close().await);
}

#[tokio::test]
async fn what_x_s_challenge_answers_signs_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let verify = serde_json::json!({
        "scheme": "hmac", "secrets": ["a-secret-of-many-letters"], "header": "x-signature",
        "prefix": "sha256=", "encoding": "base64",
    });
    let source = serde_json::json!({ "type": "http", "handshake": "x", "verify": verify });
    let configured = serde_json::json!({ "x": source });
    let door = Door::open(&sources(&configured.to_string()), journal.clone(), |_| {}).await;
    let ask = async |token: &str| {
        let request = format!("GET /in/x?crc_token={token} HTTP/1.1\r\nhost: x\r\n\r\n");
        door.say(request.as_bytes()).await
    };
    assert_eq!(ask("%7B%22a%22:1%7D").await.status, 405);
    let token = ask("9b4507b3").await.json()["response_token"].clone();
    let headers = [("x-signature", token.as_str().unwrap())];
    let answered = door.post("/in/x", &headers, b"9b4507b3").await;
    assert_eq!((answered.status, &*answered.code()), (400, "not-json"));
    assert!(stored(&journal).await.is_empty());
    assert!(door.close().await);

    for other in [
        serde_json::json!({ "scheme": "bearer", "secrets": ["a-secret"] }),
        serde_json::json!({ "scheme": "hmac", "secrets": ["a-secret"], "header": "x-s", "signed": "{method}{body}" }),
    ] {
        let source = serde_json::json!({ "type": "http", "handshake": "x", "verify": other });
        let source: ingest::SourceOptions = serde_json::from_value(source).unwrap();
        let (key, reason) = source.validate().unwrap_err();
        assert!(key == "handshake" && reason.contains("{body}"), "{reason}");
    }
}

/// SNS's own place, as far as it is asked for: a certificate, and an address that confirms.
#[derive(Default)]
struct Published {
    /// At `SimpleNotificationService-1.pem`, and nowhere else.
    certificate: Option<String>,
    asked: AtomicUsize,
    confirmed: AtomicUsize,
}

#[async_trait]
impl Fetch for Published {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        if url.contains("ConfirmSubscription") {
            self.confirmed.fetch_add(1, Ordering::Relaxed);
            return Ok(Bytes::new());
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let here = url.ends_with("/SimpleNotificationService-1.pem");
        let certificate = self.certificate.clone().filter(|_| here).map(Bytes::from);
        certificate.ok_or_else(|| FetchError("not reached".into()))
    }
}

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:calls";
const HOST: &str = "https://sns.eu-west-1.amazonaws.com";

/// A sender with a certificate, and what it signs of a message.
struct Sns {
    pair: aws_lc_rs::signature::RsaKeyPair,
    certificate: String,
}

impl Sns {
    fn new() -> Self {
        use aws_lc_rs::encoding::AsDer;
        let pair = aws_lc_rs::signature::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048);
        let pair = pair.unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'static> = pair.as_der().unwrap();
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from(der.as_ref().to_vec());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256);
        let params = rcgen::CertificateParams::new(["sns.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key.unwrap()).unwrap().pem();
        Self { pair, certificate }
    }

    fn message(&self, kind: &str, id: &str) -> String {
        use base64::Engine;
        let confirm = format!("{HOST}/?Action=ConfirmSubscription&Token=1");
        let text = if kind == "Notification" {
            format!(
                "Message\nhello\nMessageId\n{id}\nTimestamp\nt\nTopicArn\n{TOPIC}\nType\n{kind}\n"
            )
        } else {
            format!(
                "Message\nhello\nMessageId\n{id}\nSubscribeURL\n{confirm}\nTimestamp\nt\nToken\n1\nTopicArn\n{TOPIC}\nType\n{kind}\n"
            )
        };
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let algorithm = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.pair
            .sign(algorithm, &random, text.as_bytes(), &mut signature)
            .unwrap();
        serde_json::json!({
            "Type": kind, "MessageId": id, "TopicArn": TOPIC, "Message": "hello", "Timestamp": "t",
            "SubscribeURL": confirm, "Token": "1", "SignatureVersion": "2",
            "Signature": base64::engine::general_purpose::STANDARD.encode(signature),
            "SigningCertURL": format!("{HOST}/SimpleNotificationService-1.pem"),
        })
        .to_string()
    }
}

fn sns() -> std::collections::BTreeMap<domain::SourceName, ingest::SourceOptions> {
    let verify = serde_json::json!({ "scheme": "aws-sns", "topics": [TOPIC] });
    sources(&serde_json::json!({ "sns": { "type": "http", "verify": verify } }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_fetched_once_however_many_requests_name_it() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let sender = Sns::new();
    let published = Arc::new(Published {
        certificate: Some(sender.certificate.clone()),
        ..Published::default()
    });
    let door = Door::open_fetching(&sns(), journal.clone(), published.clone()).await;
    let door = Arc::new(door);
    let posts: Vec<_> = (0..16)
        .map(|number| {
            let body = sender.message("Notification", &format!("m{number}"));
            let door = Arc::clone(&door);
            tokio::spawn(async move { door.post("/in/sns", &[], body.as_bytes()).await })
        })
        .collect();
    for post in posts {
        assert_eq!(post.await.unwrap().json()["status"], "accepted");
    }
    assert_eq!(published.asked.load(Ordering::Relaxed), 1);

    let confirm = sender.message("SubscriptionConfirmation", "c1");
    let answered = door.post("/in/sns", &[], confirm.as_bytes()).await;
    assert_eq!((answered.status, &*answered.body), (200, &b"confirmed"[..]));
    assert_eq!(published.confirmed.load(Ordering::Relaxed), 1);
    let ended = sender.message("UnsubscribeConfirmation", "u1");
    let answered = door.post("/in/sns", &[], ended.as_bytes()).await;
    assert_eq!((answered.status, &*answered.body), (200, &b"ok"[..]));
    assert_eq!(stored(&journal).await.len(), 16);
    assert!(Arc::into_inner(door).unwrap().close().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_certificate_that_is_not_there_keeps_nobody_elses_from_being_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let sender = Sns::new();
    let published = Arc::new(Published {
        certificate: Some(sender.certificate.clone()),
        ..Published::default()
    });
    let door = Door::open_fetching(&sns(), journal.clone(), published.clone()).await;
    let good = sender.message("Notification", "m1");
    let forged = good.replace("Service-1.pem", "Service-2.pem");
    let answered = door.post("/in/sns", &[], forged.as_bytes()).await;
    assert_eq!(
        (answered.status, &*answered.code()),
        (503, "no-certificate")
    );
    let answered = door.post("/in/sns", &[], good.as_bytes()).await;
    assert_eq!(answered.json()["status"], "accepted");
    assert_eq!(published.asked.load(Ordering::Relaxed), 2);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_certificate_a_request_is_told_to_come_again_and_is_not_looked_for_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let published = Arc::new(Published::default());
    let door = Door::open_fetching(&sns(), journal.clone(), published.clone()).await;
    let sender = Sns::new();
    for number in 0..5 {
        let body = sender.message("Notification", &format!("m{number}"));
        let answered = door.post("/in/sns", &[], body.as_bytes()).await;
        assert_eq!(
            (answered.status, &*answered.code()),
            (503, "no-certificate")
        );
    }
    assert_eq!(published.asked.load(Ordering::Relaxed), 1);
    // Elsewhere it is not looked for at all.
    let body = sender
        .message("Notification", "m9")
        .replace("sns.eu-west-1.amazonaws.com/Simple", "evil.example/Simple");
    let answered = door.post("/in/sns", &[], body.as_bytes()).await;
    assert_eq!((answered.status, &*answered.code()), (401, "not-verified"));
    assert_eq!(published.asked.load(Ordering::Relaxed), 1);
    assert!(stored(&journal).await.is_empty());
    assert!(door.close().await);
}
