//! The story that Forebay grew from, whole: the database is down for good, what came in is in SQS, and comes back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testbed::Result;
use testbed::moto::{ACCOUNT, Moto};
use testbed::postgres::{Options, Server};
use testbed::process::Forebay;

use super::{cli, post, to_postgres, until};
use crate::rig::{self, TABLE};

/// As somebody reads a dead-letter queue with boto3; what is read is there again after a second.
const READ: &str = r#"
import boto3, json
sqs = boto3.client("sqs")
while got := sqs.receive_message(QueueUrl=URL, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=1).get("Messages"):
    for m in got: print(json.dumps([m["Body"], {k: v["StringValue"] for k, v in m["MessageAttributes"].items()}]))
"#;

fn ops(moto: &Moto) -> String {
    format!(
        "[destinations.ops-dlq]\ntype = \"sqs\"\nqueue_url = \"{}{ACCOUNT}/dlq\"\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\naccess_key_id = \"test\"\nsecret_access_key = \"test\"\n",
        moto.url(),
        moto.url()
    )
}

async fn queue(moto: &Moto) -> Result<String> {
    let make = "import boto3\nboto3.client('sqs').create_queue(QueueName='dlq', Attributes={'MessageRetentionPeriod': '1209600', 'VisibilityTimeout': '1'})";
    moto.python(make).await?;
    Ok(format!("URL = '{}{ACCOUNT}/dlq'\n", moto.url()))
}

/// What lies in the queue, by the event's id: body and attributes.
async fn read(moto: &Moto, url: &str) -> Result<BTreeMap<String, (String, Value)>> {
    let printed = moto.python(&format!("{url}{READ}")).await?;
    let messages = printed.lines().map(|line| {
        let (body, attributes): (String, Value) = serde_json::from_str(line).unwrap();
        let id = attributes["forebay-event-id"].as_str().unwrap().to_owned();
        (id, (body, attributes))
    });
    Ok(messages.collect())
}

/// Imports from the queue: what were letters, what was known, and what is fresh.
pub(super) async fn import(forebay: &Forebay, more: &[&str]) -> Result<[u64; 3]> {
    let args = [&["dlq", "import", "--from", "ops-dlq", "--json"], more].concat();
    let output = cli(forebay, &args).await?;
    let import: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(import["status"], "done");
    Ok(["redriven", "known", "fresh"].map(|name| import[name].as_u64().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_never_took_is_in_sqs_byte_for_byte_and_is_in_the_table_once_after_an_import()
-> Result<()> {
    const EVENTS: u64 = 120;
    let (mut server, moto) = (
        Server::start_new(Options::default()).await?,
        Moto::start().await?,
    );
    let url = queue(&moto).await?;
    let keys = "on_outage = { dead_letter_after = \"1s\" }\ndead_letter = { to = [\"ops-dlq\"] }";
    let config = [to_postgres(&server.url(), keys), ops(&moto)].concat();
    let forebay = rig::forebay(config).start().await?;
    server.stop_immediate().await?;
    let mut sent = BTreeMap::new();
    for n in 0..EVENTS {
        let body = format!("{{\"n\":  {n}, \"text\": \"ä\\u0000 {n}\"}}");
        // 200 to every one of them: the sender has nothing to try again.
        sent.insert(post(&forebay, body.clone()).await?, body);
    }
    forebay
        .status_until("all are in SQS", rig::LONG, |status| {
            let route = &status["routes"][0];
            route["dead"] == EVENTS && route["exports"][0]["pending"] == 0
        })
        .await?;

    let found = read(&moto, &url).await?;
    assert_eq!(found.keys().collect::<BTreeSet<_>>(), sent.keys().collect());
    for (id, (body, attributes)) in &found {
        assert_eq!(body, &sent[id]);
        for (name, value) in [
            ("forebay-source", "in"),
            ("forebay-route", "r"),
            ("forebay-reason", "outage"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(attributes[name], value, "{name}");
        }
        assert!(
            attributes["forebay-error"]
                .as_str()
                .unwrap()
                .contains("refused")
        );
    }

    // The database is back. Everything comes back from outside, and nothing twice.
    server.start().await?;
    assert_eq!(import(&forebay, &[]).await?, [EVENTS, 0, 0]);
    until(&forebay, "delivered", EVENTS).await?;
    assert_eq!(server.count(TABLE).await?, EVENTS);
    assert_eq!(
        import(&forebay, &[]).await?,
        [0, 0, 0],
        "the queue is empty"
    );

    // A copy of a letter that somebody kept comes in again: it is known, and counted.
    let (id, (body, _)) = found.first_key_value().unwrap();
    let again = format!(
        "{url}import boto3\nname = lambda v: {{'DataType': 'String', 'StringValue': v}}\nboto3.client('sqs').send_message(QueueUrl=URL, MessageBody={body:?}, MessageAttributes={{'forebay-event-id': name('{id}'), 'forebay-route': name('r'), 'forebay-source': name('in')}})\n"
    );
    moto.python(&again).await?;
    assert_eq!(import(&forebay, &[]).await?, [0, 1, 0]);
    // And what other software put there is a fresh event, of the source that is named.
    let foreign = format!(
        "{url}import boto3\nboto3.client('sqs').send_message(QueueUrl=URL, MessageBody='{{\"foreign\":1}}')\n"
    );
    moto.python(&foreign).await?;
    let unnamed = forebay.cli(&["dlq", "import", "--from", "ops-dlq"]).await?;
    assert_eq!(unnamed.code, Some(1));
    assert!(unnamed.stderr.contains("--source"), "{}", unnamed.stderr);
    assert_eq!(import(&forebay, &["--source", "in"]).await?, [0, 0, 1]);
    until(&forebay, "delivered", EVENTS + 1).await?;
    assert_eq!(server.count(TABLE).await?, EVENTS + 1);
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_from_what_cannot_be_read_is_refused_in_words() -> Result<()> {
    let moto = Moto::start().await?;
    queue(&moto).await?;
    let config = [
        "[destinations.db]\ntype = \"sqlite\"\n",
        &super::route(""),
        &ops(&moto),
    ]
    .concat();
    let forebay = rig::forebay(config).start().await?;
    for (from, source, words) in [
        ("db", None, "type sqlite, which cannot be read"),
        ("nowhere", None, "there is no destination nowhere"),
        ("ops-dlq", Some("nowhere"), "there is no source nowhere"),
    ] {
        let mut args = vec!["dlq", "import", "--from", from];
        args.extend(source.iter().flat_map(|source| ["--source", *source]));
        let output = forebay.cli(&args).await?;
        assert_ne!(output.code, Some(0), "{args:?}");
        assert!(output.stderr.contains(words), "{}", output.stderr);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_too_large_for_the_queue_is_in_the_bucket_and_the_queue_says_where() -> Result<()>
{
    let (mut server, moto) = (
        Server::start_new(Options::default()).await?,
        Moto::start().await?,
    );
    let make = "import boto3
boto3.client('sqs').create_queue(QueueName='dlq', Attributes={'MaximumMessageSize': '2048', 'VisibilityTimeout': '1'})
boto3.client('s3').create_bucket(Bucket='letters')";
    moto.python(make).await?;
    let url = format!("URL = '{}{ACCOUNT}/dlq'\n", moto.url());
    let bucket = format!(
        "[destinations.archive]\ntype = \"s3\"\nbucket = \"letters\"\nprefix = \"dlq\"\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\naccess_key_id = \"test\"\nsecret_access_key = \"test\"\n",
        moto.url()
    );
    let keys = "on_outage = { dead_letter_after = \"1s\" }\ndead_letter = { to = [\"ops-dlq\"] }";
    let config = [to_postgres(&server.url(), keys), ops(&moto), bucket].concat();
    let forebay = rig::forebay(config).start().await?;
    server.stop_immediate().await?;
    let large = format!("{{\"n\":1,\"text\":\"{}\"}}", "ä".repeat(4000));
    let id = post(&forebay, large.clone()).await?;
    let small = post(&forebay, "{\"n\":2}".into()).await?;
    forebay
        .status_until("both have left", rig::LONG, |status| {
            let route = &status["routes"][0];
            route["dead"] == 2 && route["exports"][0]["pending"] == 0
        })
        .await?;
    let found = read(&moto, &url).await?;
    assert_eq!(found[&small].0, "{\"n\":2}");
    let (body, attributes) = &found[&id];
    let place = attributes["forebay-body-at"].as_str().unwrap();
    assert!(
        place.starts_with("s3://letters/dlq/r/") && place.contains(&id),
        "{place}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["forebay-body-at"], place);
    let key = place.strip_prefix("s3://letters/").unwrap();
    let fetch = format!(
        "import boto3
print(boto3.client('s3').get_object(Bucket='letters', Key='{key}')['Body'].read().decode())"
    );
    let object: Value = serde_json::from_str(&moto.python(&fetch).await?).unwrap();
    assert_eq!(object["body"], large.as_str(), "byte for byte");
    assert_eq!(object["forebay-event-id"], id.as_str());
    // Both come back whole: their bodies never left state.
    server.start().await?;
    assert_eq!(import(&forebay, &[]).await?, [2, 0, 0]);
    until(&forebay, "delivered", 2).await?;
    assert_eq!(server.count(TABLE).await?, 2);
    // What is not known here any more is not taken for an event with a place for a body.
    let strange = format!(
        "{url}import boto3\nname = lambda v: {{'DataType': 'String', 'StringValue': v}}\nboto3.client('sqs').send_message(QueueUrl=URL, MessageBody='{{}}', MessageAttributes={{'forebay-event-id': name('01a21284-a1d9-7517-a88d-9a9e67b71269'), 'forebay-route': name('r'), 'forebay-source': name('in'), 'forebay-body-at': name('s3://letters/x')}})\n"
    );
    moto.python(&strange).await?;
    let refused = forebay.cli(&["dlq", "import", "--from", "ops-dlq"]).await?;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("s3://letters/x"),
        "{}",
        refused.stderr
    );
    rig::assert_balanced(&forebay).await
}
