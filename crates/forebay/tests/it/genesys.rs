//! The real binary against the testbed's Genesys Cloud: what was heard and what was missed is at the destination once, and
//! the commands say what there is and what is wrong.
//!
//! The cloud's clock is months off this machine's, so every gap here has its time corrected as well.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::genesys::Command;
use testbed::moto::{ACCOUNT, Moto};
use testbed::process::Forebay;
use testbed::{GenesysCloud, Result, http, until};

use crate::rig;

const SECRET: &str = "the-secret-of-an-oauth-client";
const TOPIC: &str = "v2.users.0b2f1c1e-3c5d-4f67-8a9b-0123456789ab.presence";

fn config(cloud: &GenesysCloud) -> String {
    format!(
        r#"
[sources.gc]
type = "genesys-notifications"
endpoint = "{}"
client_id = "id"
client_secret = "{SECRET}"
topics = ["{TOPIC}"]
backfill = true
[destinations.db]
type = "sqlite"
path = "events.db"
[routes.all]
from = ["gc"]
to = "db"
"#,
        cloud.url()
    )
}

/// How often each conversation is at the destination, and how many gaps are.
fn delivered(forebay: &mut Forebay) -> (BTreeMap<u64, u32>, u32) {
    let path = forebay.launch().dir().join("events.db");
    let table = rusqlite::Connection::open(path).unwrap();
    // Before the first delivery there is no table.
    let Ok(mut bodies) = table.prepare("SELECT CAST(body AS TEXT) FROM webhook_events") else {
        return (BTreeMap::new(), 0);
    };
    let rows = bodies.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let (mut found, mut gaps) = (BTreeMap::new(), 0);
    for body in rows {
        let body: Value = serde_json::from_str(&body.unwrap()).unwrap();
        gaps += u32::from(body.get("gap").is_some());
        let record = body.get("eventBody").unwrap_or(&body);
        if let Some(n) = record["n"].as_u64() {
            *found.entry(n).or_default() += 1;
        }
    }
    (found, gaps)
}

/// A conversation: told of on the topic, and known to the analytics.
async fn happens(cloud: &GenesysCloud, n: u64) {
    let start = cloud.now();
    let record = json!({"conversationId": format!("c{n}"), "conversationStart": format!("{start:.3}"), "n": n});
    cloud.conversation(record.clone()).unwrap();
    cloud.emit(TOPIC, &record).await;
}

async fn listens(cloud: &GenesysCloud) -> Result<()> {
    until("it listens", rig::LONG, async || {
        let channels = cloud.channels();
        let mut channels = channels.iter();
        match channels.any(|one| one.socket.is_some() && !one.topics.is_empty()) {
            true => Ok(()),
            false => Err(format!("{:?}", cloud.requests().last())),
        }
    })
    .await
}

async fn cli(forebay: &Forebay, args: &[&str]) -> Result<Vec<Value>> {
    let args = [&["genesys"], args, &["--json"]].concat();
    let output = forebay.cli(&args).await?;
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    let lines = output.stdout.lines().map(serde_json::from_str);
    Ok(lines.map(|line| line.expect("JSON")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_nobody_listened_is_there_once_after_the_backfills() -> Result<()> {
    let cloud = GenesysCloud::start().await?;
    let _client = cloud.client("id", SECRET);
    cloud.job_times(Duration::ZERO, Duration::ZERO);
    let mut forebay = rig::forebay(config(&cloud)).spawn()?;
    forebay.ready().await?;
    listens(&cloud).await?;
    let mut n = 0;
    for round in 0..4 {
        for _ in 0..100 {
            happens(&cloud, n).await;
            n += 1;
        }
        match round {
            0 => forebay.kill9().await?,
            1 => {
                cloud.command_all(&Command::Reset);
            }
            2 => {
                forebay.terminate()?;
                forebay.wait().await?;
            }
            _ => {}
        }
        for _ in 0..50 {
            happens(&cloud, n).await;
            n += 1;
        }
        if matches!(round, 0 | 2) {
            forebay.spawn()?;
            forebay.ready().await?;
        }
        listens(&cloud).await?;
    }
    until("every gap is told of and filled", rig::LONG, async || {
        let gaps = cli(&forebay, &["gaps"])
            .await
            .map_err(|error| error.to_string())?;
        let backfills = cli(&forebay, &["backfill", "--status"]).await;
        let backfills = backfills.map_err(|error| error.to_string())?;
        let open = gaps
            .iter()
            .any(|gap| gap["to"].is_null() || gap["announced"] == false);
        let running = backfills.iter().any(|one| one["status"] != "done");
        match (gaps.len() >= 3, open, running) {
            (true, false, false) => Ok(()),
            _ => Err(format!("{gaps:?} {backfills:?}")),
        }
    })
    .await?;
    until("all of it is delivered", rig::LONG, async || {
        let status = forebay.status().await.map_err(|error| error.to_string())?;
        match rig::count(&status, "all", "pending") {
            0 => Ok(()),
            more => Err(more.to_string()),
        }
    })
    .await?;
    let gaps = cli(&forebay, &["gaps"]).await?;
    let (found, told) = delivered(&mut forebay);
    let missing: Vec<u64> = (0..n).filter(|n| !found.contains_key(n)).collect();
    assert_eq!(missing, [0; 0], "{gaps:#?}");
    assert!(found.values().all(|times| *times == 1), "{found:?}");
    assert_eq!(told as usize, gaps.len(), "each gap is an event");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_s_backfill_brings_the_conversations_of_the_stretch() -> Result<()> {
    let cloud = GenesysCloud::start().await?;
    let _client = cloud.client("id", SECRET);
    cloud.job_times(Duration::ZERO, Duration::ZERO);
    let from = cloud.now();
    for n in 0..250 {
        let start = cloud.now();
        let record = json!({"conversationId": format!("c{n}"), "conversationStart": format!("{start:.3}"), "n": n});
        cloud.conversation(record).unwrap();
    }
    // Its end is not in it.
    let moment = domain::SignedDuration::from_millis(10);
    let to = cloud.now().saturating_add(moment).unwrap();
    let mut forebay = rig::forebay(config(&cloud)).spawn()?;
    forebay.ready().await?;
    let (from, to) = (from.to_string(), to.to_string());
    let begun = cli(&forebay, &["backfill", "--from", &from, "--to", &to]).await?;
    let id = begun[0]["id"].to_string();
    until("it is done", rig::LONG, async || {
        let now = cli(&forebay, &["backfill", "--status", &id]).await;
        let now = now.map_err(|error| error.to_string())?;
        match now[0]["status"] == "done" {
            true => Ok(()),
            false => Err(now[0].to_string()),
        }
    })
    .await?;
    until(
        "all of it is delivered",
        rig::LONG,
        async || match delivered(&mut forebay).0.len() {
            250 => Ok(()),
            some => Err(some.to_string()),
        },
    )
    .await?;
    // There is nothing to end any more, and that is said.
    let ended = forebay
        .cli(&["genesys", "backfill", "--cancel", &id])
        .await?;
    assert!(ended.stdout.contains("is done"), "{ended:?}");
    for (args, told) in [
        (["--from", &to, "--to", &from], "`from` must be before `to`"),
        (
            ["--from", &from, "--to", "2999-01-01T00:00:00Z"],
            "must not lie in the future",
        ),
    ] {
        let args = [&["genesys", "backfill"][..], &args[..]].concat();
        let refused = forebay.cli(&args).await?;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_is_wrong_and_never_the_secret() -> Result<()> {
    let cloud = GenesysCloud::start().await?;
    cloud.allow_loopback_webhooks();
    let client = cloud.client("id", "another-secret-than-that");
    let mut forebay = rig::forebay(config(&cloud)).spawn()?;
    forebay.ready().await?;
    let file = forebay.launch().dir().join("forebay.toml");
    let file = file.to_str().unwrap().to_owned();
    let run = async |args: &[&str]| {
        let args = [&["genesys"], args, &["--config", &file]].concat();
        let output = forebay.cli(&args).await?;
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(!all.contains(SECRET), "{all}");
        Ok::<_, testbed::Error>((output.code, all))
    };
    let (code, told) = run(&["token"]).await?;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("secret is not the right one"), "{told}");
    until("status says so as well", rig::LONG, async || {
        let status = forebay
            .cli(&["status"])
            .await
            .map_err(|error| error.to_string())?;
        match status.stdout.contains("secret is not the right one") {
            true => Ok(()),
            false => Err(status.stdout),
        }
    })
    .await?;
    let client = client.secret(SECRET);
    let (code, told) = run(&["token"]).await?;
    assert_eq!(
        (code, told.contains("are right")),
        (Some(0), true),
        "{told}"
    );
    let _client = client.without_permission("analytics:conversationDetail:view");
    let (code, told) = run(&["check"]).await?;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("topics: ok, all 1 are known"), "{told}");
    assert!(
        told.contains("backfill: WRONG") && told.contains("analytics:conversationDetail:view"),
        "{told}"
    );
    assert!(told.contains("clock: WRONG"), "{told}");
    let (code, told) = run(&["topics", "presence"]).await?;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("v2.users.{id}.presence"), "{told}");
    listens(&cloud).await
}

#[tokio::test(flavor = "multi_thread")]
async fn integrations_are_made_listed_and_changed_by_the_real_api() -> Result<()> {
    let cloud = GenesysCloud::start().await?;
    let _client = cloud.client("id", SECRET);
    let mut forebay = rig::forebay(config(&cloud)).spawn()?;
    forebay.ready().await?;
    let dir = forebay.launch().dir().to_owned();
    let file = dir.join("forebay.toml");
    let file = file.to_str().unwrap().to_owned();
    std::fs::write(dir.join("short"), "hunter2").unwrap();
    std::fs::write(dir.join("long"), "a-secret-of-more-than-sixteen-letters\n").unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (short, long) = (path("short"), path("long"));
    let run = async |args: &[&str]| {
        let args = [
            &["genesys", "open-messaging"],
            args,
            &["--config", &file, "--json"],
        ]
        .concat();
        forebay.cli(&args).await
    };
    let url = "https://hooks.example.com/webhook/gc";
    let refused = run(&[
        "create",
        "--name",
        "n",
        "--url",
        url,
        "--secret-file",
        &short,
    ])
    .await?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("at least 16") && !refused.stderr.contains("hunter2"),
        "{refused:?}"
    );
    let made = run(&[
        "create",
        "--name",
        "n",
        "--url",
        url,
        "--secret-file",
        &long,
    ])
    .await?;
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).expect("JSON");
    let id = made["id"].as_str().unwrap().to_owned();
    let moved = "https://hooks.example.com/in/genesys";
    let changed = run(&["update", &id, "--url", moved]).await?;
    assert_eq!(changed.code, Some(0), "{changed:?}");
    let listed = run(&["list"]).await?;
    let listed: Value = serde_json::from_str(&listed.stdout).expect("one line of JSON");
    assert_eq!(listed["outboundNotificationWebhookUrl"], moved);
    let nobody = run(&["update", "nobody", "--name", "x"]).await?;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(
        nobody.stderr.contains("there is no such thing"),
        "{nobody:?}"
    );
    Ok(())
}

/// EventBridge gives an event to an API destination and to a queue, to the queue twice.
#[tokio::test(flavor = "multi_thread")]
async fn what_eventbridge_carries_is_taken_out_of_its_envelope_and_known_by_its_id() -> Result<()> {
    let moto = Moto::start().await?;
    let queue = format!("{}{ACCOUNT}/q", moto.url());
    let envelope = |n: u32| {
        json!({
            "version": "0", "id": format!("e{n}"), "detail-type": "v2.users.{id}.presence",
            "source": "aws.partner/genesys.com/cloud/org/x", "account": "1", "time": "2026-01-31T12:00:00Z",
            "region": "eu-central-1", "resources": [], "detail": {"topicName": TOPIC, "n": n},
        })
        .to_string()
    };
    let (one, two) = (envelope(1), envelope(2));
    let fill = format!(
        "import boto3\nsqs = boto3.client('sqs')\nsqs.create_queue(QueueName='q')\nfor body in ['{one}', '{two}', '{one}']:\n    sqs.send_message(QueueUrl='{queue}', MessageBody=body)"
    );
    moto.python(&fill).await?;
    let config = format!(
        r#"
[sources.q]
type = "sqs"
queue_url = "{queue}"
region = "us-east-1"
endpoint_url = "{}"
access_key_id = "test"
secret_access_key = "test"
unwrap = "eventbridge"
[sources.posted]
type = "http"
verify = {{ scheme = "eventbridge", secrets = ["the-key-of-the-connection"] }}
unwrap = "eventbridge"
[destinations.db]
type = "sqlite"
path = "events.db"
[routes.all]
from = ["q", "posted"]
to = "db"
when = 'type == "v2.users.{{id}}.presence" && body.topicName == "{TOPIC}"'
"#,
        moto.url()
    );
    let mut forebay = rig::forebay(config).start().await?;
    let headers = [
        ("x-api-key", "the-key-of-the-connection"),
        ("content-type", "application/json"),
    ];
    let mut said = Vec::new();
    for _ in 0..2 {
        let answer =
            http::post(&forebay.ingest("/in/posted"), &headers, envelope(3).into()).await?;
        let answer: Value = serde_json::from_str(&answer.text()).expect("JSON");
        said.push(answer["status"].clone());
    }
    assert_eq!(said, ["accepted", "duplicate"]);
    until("all three are there", rig::LONG, async || {
        let found = delivered(&mut forebay).0;
        match found == BTreeMap::from([(1, 1), (2, 1), (3, 1)]) {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    })
    .await?;
    let listed = forebay.cli(&["sources", "list", "--json"]).await?;
    let queue = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let queue = queue
        .into_iter()
        .find(|one| one["name"] == "q")
        .expect("the queue");
    assert_eq!(
        (&queue["accepted"], &queue["duplicates"]),
        (&json!(2), &json!(1))
    );
    Ok(())
}

/// Receipts carry the id of the message that they speak of.
#[tokio::test(flavor = "multi_thread")]
async fn open_messaging_posts_are_taken_and_receipts_that_share_an_id_are_events_of_their_own()
-> Result<()> {
    let cloud = GenesysCloud::start().await?;
    cloud.allow_loopback_webhooks();
    let _client = cloud.client("id", SECRET);
    let mut forebay = rig::forebay(
        [
            rig::GENESYS,
            "[destinations.db]\ntype = \"sqlite\"\npath = \"events.db\"\n",
            rig::ROUTE,
        ]
        .concat(),
    )
    .start()
    .await?;
    let options = genesys::AccountOptions {
        endpoint: Some(cloud.url()),
        client_id: "id".into(),
        client_secret: Some(domain::Secret::new(SECRET.into())),
        ..genesys::AccountOptions::default()
    };
    let dial = std::sync::Arc::new(genesys::Network::new(None).unwrap());
    let clock = std::sync::Arc::new(domain::SystemClock);
    let client = genesys::Client::new(&options.validate().unwrap(), dial, clock).unwrap();
    let wanted = genesys::open_messaging::Wanted {
        name: Some("n".into()),
        url: Some(forebay.ingest("/webhook/gc")),
        secret: Some(domain::Secret::new(rig::SECRET.into())),
    };
    let made = genesys::open_messaging::create(&client, &wanted)
        .await
        .unwrap();
    let body = |n: u64, kind: &str, status: &str| {
        json!({
            "id": "m1", "channel": {"id": "ch", "time": "2026-01-31T12:00:00.000Z"}, "type": kind, "status": status, "n": n,
        })
    };
    for event in [
        body(1, "Text", ""),
        body(2, "Receipt", "Delivered"),
        body(3, "Receipt", "Read"),
        // A retry of the first.
        body(1, "Text", ""),
    ] {
        cloud.send_message(&made.id, event).await?;
    }
    until("all three are there", rig::LONG, async || {
        let found = delivered(&mut forebay).0;
        match found == BTreeMap::from([(1, 1), (2, 1), (3, 1)]) {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    })
    .await?;
    // Down for a moment: the cloud tries again, and nothing is lost.
    forebay.kill9().await?;
    let sending = cloud.send_message(&made.id, body(4, "Receipt", "Failed"));
    let (sent, ()) = tokio::join!(sending, async {
        forebay.spawn().unwrap();
        forebay.ready().await.unwrap();
    });
    let sent = sent?;
    assert!(sent.is_delivered(), "{sent:?}");
    Ok(())
}
