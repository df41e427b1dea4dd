//! Sources that are queues, on real servers: everything that was put there is in the table once, whatever is killed on
//! the way, and the queue is empty.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use testbed::moto::{ACCOUNT, Moto};
use testbed::postgres::Server;
use testbed::process::Forebay;
use testbed::{Result, postgres, rabbitmq, redis};

use crate::rig::{self, TABLE};

/// The events of `q` go to the table.
const ROUTE: &str = "[routes.r]\nfrom = [\"q\"]\nto = \"db\"\n";

/// Whether the queue has an id for each message, by which it is known when it comes again after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    Given,
    None,
}

/// Each number that is in a body of the table.
async fn numbers(server: &Server, ids: Ids) -> Result<BTreeSet<u64>> {
    let rows = server
        .rows("SELECT body ->> 'n' FROM webhook_events", &[])
        .await?;
    let numbers = rows.iter().map(|row| {
        let number: String = row.get(0);
        number.parse().unwrap()
    });
    let numbers: BTreeSet<u64> = numbers.collect();
    if ids == Ids::Given {
        assert_eq!(numbers.len(), rows.len(), "each once");
    }
    Ok(numbers)
}

/// Waits until so many rows are there, killing Forebay now and then, and the database once.
async fn through_kills(
    forebay: &mut Forebay,
    server: &mut Server,
    wanted: u64,
    ids: Ids,
) -> Result<()> {
    for share in [4, 3, 2] {
        let enough = wanted / share;
        testbed::until("some are in the table", rig::LONG, async || {
            match server.count(TABLE).await {
                Ok(count) if count >= enough => Ok(()),
                Ok(count) => Err(format!("{count} of {enough}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        forebay.kill9().await?;
        if share == 3 {
            server.stop_immediate().await?;
            forebay.start().await?;
            forebay
                .status_until("events wait for the database", rig::LONG, |status| {
                    rig::count(status, "r", "pending") > 0
                })
                .await?;
            server.start().await?;
        } else {
            forebay.start().await?;
        }
    }
    testbed::until("all are in the table", rig::LONG, async || {
        match numbers(server, ids).await {
            Ok(there) if there.len() as u64 == wanted => Ok(()),
            Ok(there) => Err(format!("{} of {wanted}", there.len())),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    rig::drained(forebay, "r").await?;
    assert_eq!(numbers(server, ids).await?, (0..wanted).collect());
    rig::assert_balanced(forebay).await
}

/// Waits until nothing is left in a queue.
async fn empty(left: impl AsyncFn() -> Result<u64>) -> Result<()> {
    testbed::until("the queue is empty", rig::LONG, async || {
        match left().await {
            Ok(0) => Ok(()),
            Ok(count) => Err(format!("{count} are left")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

fn config(source: &str, server: &Server) -> String {
    [source, &rig::postgres(&server.url(), ""), ROUTE].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_into_sqs_is_in_the_table_once_through_kills_of_forebay_and_the_database()
-> Result<()> {
    const MESSAGES: u64 = 2_000;
    let (mut server, moto) = (
        Server::start_new(postgres::Options::default()).await?,
        Moto::start().await?,
    );
    let url = format!("{}{ACCOUNT}/q", moto.url());
    let fill = format!(
        "import boto3, json
sqs = boto3.client('sqs')
sqs.create_queue(QueueName='q')
for at in range(0, {MESSAGES}, 10):
    sqs.send_message_batch(QueueUrl='{url}', Entries=[dict(Id=str(n), MessageBody=json.dumps(dict(n=n)), MessageAttributes=dict(kind=dict(DataType='String', StringValue='order'))) for n in range(at, at + 10)])"
    );
    moto.python(&fill).await?;
    let source = format!(
        "[sources.q]\ntype = \"sqs\"\nqueue_url = \"{url}\"\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\naccess_key_id = \"test\"\nsecret_access_key = \"test\"\n",
        moto.url()
    );
    let mut forebay = rig::forebay(config(&source, &server)).start().await?;
    through_kills(&mut forebay, &mut server, MESSAGES, Ids::Given).await?;
    let left = "import boto3
a = boto3.client('sqs').get_queue_attributes(QueueUrl=URL, AttributeNames=['All'])['Attributes']
print(int(a['ApproximateNumberOfMessages']) + int(a['ApproximateNumberOfMessagesNotVisible']))";
    let left = format!("URL = '{url}'\n{left}");
    empty(async || Ok(moto.python(&left).await?.trim().parse().unwrap())).await?;
    let headers = server
        .text("SELECT headers::text FROM webhook_events LIMIT 1")
        .await?;
    assert!(
        headers.contains("kind") && headers.contains("order"),
        "{headers}"
    );
    let listed = forebay.cli(&["sources", "list", "--json"]).await?;
    let source: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(
        (&source["type"], &source["name"]),
        (&"sqs".into(), &"q".into())
    );
    assert!(
        source["reads"].as_str().unwrap().starts_with("queue q at"),
        "{source}"
    );
    Ok(())
}

/// Fills a key of Redis in one go.
async fn fill(redis: &redis::Server, words: impl Fn(u64) -> Vec<String>, count: u64) -> Result<()> {
    for n in 0..count {
        let words = words(n);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        redis.execute(&words).await?;
    }
    Ok(())
}

async fn from_redis(key: &str, ids: Ids, words: impl Fn(u64) -> Vec<String>) -> Result<()> {
    const MESSAGES: u64 = 2_000;
    let (mut server, redis) = (
        Server::start_new(postgres::Options::default()).await?,
        redis::Server::start_new(redis::Options::default()).await?,
    );
    fill(&redis, words, MESSAGES).await?;
    let source = format!(
        "[sources.q]\ntype = \"redis\"\nurl = \"{}\"\n{key} = \"events\"\n",
        redis.url()
    );
    let mut forebay = rig::forebay(config(&source, &server)).start().await?;
    through_kills(&mut forebay, &mut server, MESSAGES, ids).await?;
    let length = if key == "list" { "LLEN" } else { "XLEN" };
    empty(async || {
        let mut left: u64 = redis.ask(&[length, "events"]).await?;
        let others: Vec<String> = redis.ask(&["KEYS", "{events}:*"]).await?;
        for other in others {
            left += redis.ask::<u64>(&["LLEN", &other]).await?;
        }
        Ok(left)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_onto_a_redis_list_is_in_the_table_through_kills_though_some_of_it_twice()
-> Result<()> {
    from_redis("list", Ids::None, |n| {
        vec!["RPUSH".into(), "events".into(), format!("{{\"n\":{n}}}")]
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_to_a_redis_stream_is_in_the_table_once_through_kills() -> Result<()> {
    from_redis("stream", Ids::Given, |n| {
        let words = ["XADD", "events", "*", "kind", "order", "body"];
        let body = format!("{{\"n\":{n}}}");
        words.into_iter().map(str::to_owned).chain([body]).collect()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_to_a_rabbitmq_queue_is_in_the_table_once_through_kills() -> Result<()> {
    const MESSAGES: u64 = 2_000;
    let (mut server, broker) = (
        Server::start_new(postgres::Options::default()).await?,
        rabbitmq::Server::start_new(rabbitmq::Options::default()).await?,
    );
    broker.declare_quorum("q").await?;
    let messages = (0..MESSAGES).map(|n| format!("{{\"n\":{n}}}").into_bytes());
    broker.publish_all("q", messages.collect()).await?;
    let mut source = String::new();
    let _ = writeln!(
        source,
        "[sources.q]\ntype = \"rabbitmq\"\nurl = \"{}\"\nqueue = \"q\"",
        broker.url()
    );
    let mut forebay = rig::forebay(config(&source, &server)).start().await?;
    through_kills(&mut forebay, &mut server, MESSAGES, Ids::Given).await?;
    forebay.terminate()?;
    forebay.wait().await?;
    assert_eq!(
        broker.take_all("q").await?,
        [],
        "all of them were acknowledged"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_read_says_so_with_the_remedy_and_is_read_once_it_can() -> Result<()>
{
    let (server, redis) = (
        Server::start_new(postgres::Options::default()).await?,
        redis::Server::start_new(redis::Options::default()).await?,
    );
    redis.execute(&["SET", "events", "no list"]).await?;
    let source = format!(
        "[sources.q]\ntype = \"redis\"\nurl = \"{}\"\nlist = \"events\"\n",
        redis.url()
    );
    let forebay = rig::forebay(config(&source, &server)).start().await?;
    let trouble = async || {
        let listed = forebay.cli(&["sources", "list", "--json"]).await?;
        let source: Value = serde_json::from_str(&listed.stdout).unwrap();
        Ok::<_, testbed::Error>(source["last_error"].as_str().map(str::to_owned))
    };
    testbed::until(
        "the source says what is wrong",
        rig::LONG,
        async || match trouble().await {
            Ok(Some(why)) if why.contains("WRONGTYPE") && why.contains("`list`") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await?;
    redis.execute(&["DEL", "events"]).await?;
    redis.execute(&["RPUSH", "events", "{\"n\":0}"]).await?;
    testbed::until("it is read", rig::LONG, async || {
        match (numbers(&server, Ids::Given).await, trouble().await) {
            (Ok(numbers), Ok(None)) if numbers.len() == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}
