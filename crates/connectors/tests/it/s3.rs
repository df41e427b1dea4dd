//! The contract on a bucket of S3, and what an object is made of, as boto3 reads it.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ports::{Delivery, Destination};
use serde_json::{Value, json};
use testbed::moto::Moto;
use testbed::proxy::{Mode, Proxy};

use crate::contract::{Served, Subject, contract, section};
use crate::events::{Bodies, as_dead, bodies, deliver_all, event, events, made};

/// Prints a line an object: its key, type and JSON, or its lines; the mark is left out.
const READER: &str = r#"
import boto3, gzip, json
bucket = boto3.resource("s3").Bucket(BUCKET)
for it in bucket.objects.all():
    got = it.get()
    text = got["Body"].read()
    if it.key.endswith(".gz"): text = gzip.decompress(text)
    if it.key.endswith(".forebay"): continue
    for line in text.splitlines():
        print(json.dumps({"key": it.key, "type": got["ContentType"], "is": json.loads(line)}))
"#;

pub(crate) const BUCKET: &str = "events";

/// A bucket behind a proxy: the server keeps everything in memory, so it is never ended.
pub(crate) struct S3 {
    pub(crate) moto: Moto,
    pub(crate) proxy: Proxy,
}

impl S3 {
    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> Arc<dyn Destination> {
        made(&section(self, &more))
    }

    /// Makes a bucket.
    pub(crate) async fn bucket(&self, name: &str) {
        let script = format!("import boto3\nboto3.client('s3').create_bucket(Bucket='{name}')");
        self.moto.python(&script).await.unwrap();
    }

    /// Everything in the bucket: `key`, `type` and what it `is`.
    pub(crate) async fn objects(&self) -> Vec<Value> {
        let script = format!("BUCKET = '{BUCKET}'\n{READER}");
        let printed = self.moto.python(&script).await.unwrap();
        let lines = printed.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The bytes of an object's event.
fn body(object: &Value) -> Vec<u8> {
    match object["body"].as_str() {
        Some(text) => text.into(),
        None => STANDARD
            .decode(object["body_base64"].as_str().unwrap())
            .unwrap(),
    }
}

pub(crate) fn at(address: SocketAddr, bucket: &str) -> Value {
    json!({
        "type": "s3",
        "bucket": bucket,
        "endpoint_url": format!("http://{address}"),
        "access_key_id": "test",
        "secret_access_key": "test",
    })
}

impl Subject for S3 {
    async fn start() -> Self {
        let moto = Moto::start().await.unwrap();
        let proxy = Proxy::start(moto.addr()).await.unwrap();
        let subject = Self { moto, proxy };
        subject.bucket(BUCKET).await;
        subject
    }

    fn section(&self) -> Value {
        at(self.proxy.addr(), BUCKET)
    }

    async fn arrived(&self) -> Bodies {
        let objects = self.objects().await;
        let id = |object: &Value| object["forebay-event-id"].as_str().unwrap().to_owned();
        let events = objects.iter().map(|object| &object["is"]);
        events.map(|object| (id(object), body(object))).collect()
    }

    async fn count(&self) -> usize {
        self.objects().await.len()
    }

    async fn stop(&mut self) {
        self.proxy.set(Mode::Refuse).await.unwrap();
    }

    async fn start_again(&mut self) {
        self.proxy.set(Mode::Pass).await.unwrap();
    }
}

impl Served for S3 {
    fn address(&self) -> SocketAddr {
        self.moto.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        at(address, BUCKET)
    }

    fn secret_section(address: SocketAddr) -> Value {
        let mut section = at(address, BUCKET);
        section["access_key_id"] = "hunter2".into();
        section["secret_access_key"] = "hunter2".into();
        section
    }
}

contract!(S3, served);

/// The same, as lines in compressed objects.
struct Lines(S3);

impl Subject for Lines {
    async fn start() -> Self {
        Self(S3::start().await)
    }

    fn section(&self) -> Value {
        section(&self.0, &json!({"gzip": true, "batch_max": 400}))
    }

    async fn arrived(&self) -> Bodies {
        self.0.arrived().await
    }

    async fn count(&self) -> usize {
        self.0.count().await
    }

    async fn stop(&mut self) {
        self.0.stop().await;
    }

    async fn start_again(&mut self) {
        self.0.start_again().await;
    }
}

mod lines {
    use super::Delivery;
    use super::{Lines, Value, json};
    use crate::contract::Subject as _;
    use crate::events::{bodies, deliver_all, events};

    #[tokio::test]
    async fn a_batch_arrives_whole() {
        crate::contract::a_batch_arrives_whole::<Lines>().await;
    }

    #[tokio::test]
    async fn every_body_arrives_byte_for_byte() {
        crate::contract::every_body_arrives_byte_for_byte::<Lines>().await;
    }

    #[tokio::test]
    async fn a_dead_letter_arrives_with_its_own_bytes() {
        crate::contract::a_dead_letter_arrives_with_its_own_bytes::<Lines>().await;
    }

    #[tokio::test]
    async fn an_absent_destination_is_unavailable_until_it_is_back() {
        crate::contract::an_absent_destination_is_unavailable_until_it_is_back::<Lines>().await;
    }

    /// The first event of both batches is the same, and so is their number.
    #[tokio::test]
    async fn a_batch_is_never_taken_for_another_that_begins_as_it_does() {
        let subject = Lines::start().await;
        let to = subject.0.made(json!({"batch_max": 400}));
        let all = events(3);
        let batch = |places: [usize; 2]| -> Vec<Delivery> {
            places.iter().map(|place| all[*place].clone()).collect()
        };
        for places in [[0, 1], [0, 2], [0, 1]] {
            deliver_all(&*to, &batch(places)).await;
        }
        assert_eq!(subject.arrived().await, bodies(&all));
        let objects = subject.0.objects().await;
        // Two objects of two lines: the third batch was there already.
        assert_eq!(objects.len(), 4);
        let kind = |object: &Value| object["type"].as_str().map(str::to_owned);
        assert_eq!(kind(&objects[0]).as_deref(), Some("application/x-ndjson"));
        assert!(!to.recognises_repeats());
    }
}

#[tokio::test]
async fn five_lines_of_boto3_read_a_dead_letter() {
    let subject = S3::start().await;
    let text = r#"{"conversationId": "c-1",  "text": "ä😀"}"#;
    let letter = as_dead(event(7, "/in/genesys", text.as_bytes()));
    let to = subject.made(json!({"prefix": "dlq"}));
    deliver_all(&*to, &[letter]).await;
    let script = format!(
        r#"
import boto3, json
for it in boto3.resource("s3").Bucket("{BUCKET}").objects.filter(Prefix="dlq/genesys-to-db/"):
    letter = json.load(it.get()["Body"])
    print(letter["forebay-reason"], letter["body"])
"#
    );
    let printed = subject.moto.python(&script).await.unwrap();
    assert_eq!(printed, format!("retries-exhausted {text}\n"));
}

#[tokio::test]
async fn an_event_and_a_letter_of_it_have_their_own_keys_and_say_what_they_are() {
    let subject = S3::start().await;
    let to = subject.made(json!({"prefix": "/a/b/"}));
    let live = event(7, "/in/genesys", b"\xff\x00");
    let letter = |redrives| {
        let mut letter = as_dead(live.clone());
        let mut envelope = (**letter.letter.as_ref().unwrap()).clone();
        envelope.redrives = redrives;
        letter.letter = Some(Arc::new(envelope));
        letter
    };
    deliver_all(&*to, &[live.clone(), letter(0), letter(1), letter(1)]).await;
    let id = live.stored.id.to_string();
    let objects = subject.objects().await;
    let keys: Vec<_> = objects.iter().map(|one| one["key"].clone()).collect();
    let expected = [
        format!("a/b/genesys-to-db/2026/03/01/13/{id}-0.json"),
        format!("a/b/genesys-to-db/2026/03/01/13/{id}-1.json"),
        format!("a/b/genesys/2026/03/01/12/{id}.json"),
    ];
    assert_eq!(keys, expected);
    assert!(objects.iter().all(|one| one["type"] == "application/json"));
    let expected = json!({
        "forebay-event-id": id,
        "forebay-source": "genesys",
        "forebay-received-at": "2026-03-01T12:00:00.123456Z",
        "forebay-attempt": 1,
        "content-type": "application/json",
        "body_base64": "/wA=",
    });
    assert_eq!(objects[2]["is"], expected);
    let letter = &objects[0]["is"];
    assert_eq!(letter["forebay-attempts"], 9);
    assert_eq!(letter["forebay-redrives"], 0);
    assert_eq!(letter["forebay-destination"], "events-db");
    assert_eq!(letter["forebay-error"], "http 500: \"ä\"\r\nX-Injected: 1");
}

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let subject = S3::start().await;
    let to = subject.made(json!({}));
    let mut again = event(7, "/in/genesys", b"{}");
    deliver_all(&*to, &[again.clone()]).await;
    again.attempt = 5;
    deliver_all(&*to, &[again]).await;
    let objects = subject.objects().await;
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["is"]["forebay-attempt"], 1);
}

#[tokio::test]
async fn a_compressed_object_says_so_in_its_key_and_its_type() {
    let subject = S3::start().await;
    let to = subject.made(json!({"gzip": true}));
    deliver_all(&*to, &events(2)).await;
    let objects = subject.objects().await;
    assert!(objects.iter().all(|one| one["type"] == "application/gzip"));
    assert!(objects[0]["key"].as_str().unwrap().ends_with(".json.gz"));
    assert_eq!(subject.arrived().await, bodies(&events(2)));
}

#[tokio::test]
async fn looking_at_a_bucket_leaves_one_mark_and_no_more() {
    let subject = S3::start().await;
    let to = subject.made(json!({"prefix": "p"}));
    for _ in 0..3 {
        to.probe().await.unwrap();
        assert_eq!(to.inspect().await.unwrap(), vec![]);
    }
    let script = format!(
        "import boto3\nprint([o.key for o in boto3.resource('s3').Bucket('{BUCKET}').objects.all()])"
    );
    let printed = subject.moto.python(&script).await.unwrap();
    assert_eq!(printed, "['p/.forebay']\n");
}
