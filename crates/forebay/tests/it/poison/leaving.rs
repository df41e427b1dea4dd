//! Thousands of dead letters leave while their target comes and goes and Forebay is killed: each arrives.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;
use testbed::Result;
use testbed::endpoint::Endpoint;
use testbed::moto::{ACCOUNT, Moto};
use testbed::proxy::{Mode, Proxy};
use testbed::{mariadb, rabbitmq, redis};

use super::targets::until_waiting;
use super::{cli, route, until};
use crate::crash::{dice, rounds};
use crate::rig::{self, count};

/// A target that can be taken away and comes back with what it had.
trait Target: Sized {
    /// Whether it tells a repeat, so that none arrives.
    const TELLS_REPEATS: bool;

    async fn start() -> Result<Self>;
    /// The keys of its section.
    fn keys(&self) -> String;
    async fn away(&mut self) -> Result<()>;
    async fn back(&mut self) -> Result<()>;
    /// The event's id of each letter that it has.
    async fn ids(&self) -> Result<Vec<String>>;
}

async fn all_leave<T: Target>(letters: u64) -> Result<()> {
    let mut target = T::start().await?;
    let refusing = "[destinations.db]\ntype = \"sqlite\"\npath = \"refusing.db\"\nstatement = \"INSERT INTO t VALUES ($id)\"\n";
    let ops = format!("[destinations.ops]\n{}\n", target.keys());
    let keys = "dead_letter = { to = [\"ops\"] }";
    let launch = rig::forebay([refusing.to_owned(), ops, route(keys)].concat());
    let table = rusqlite::Connection::open(launch.dir().join("refusing.db")).unwrap();
    table
        .execute_batch("CREATE TABLE t (id TEXT CHECK (id = 'never'))")
        .unwrap();
    drop(table);
    target.away().await?;
    let mut forebay = launch.start().await?;
    let (how_many, url) = (letters.to_string(), forebay.ingest(""));
    let send = [
        "send", "--source", "in", "--url", &url, "--count", &how_many,
    ];
    cli(&forebay, &send).await?;
    until(&forebay, "dead", letters).await?;
    until_waiting(&forebay, letters).await?;
    let mut dice = dice(rounds(4));
    for round in 0..rounds(4) {
        target.back().await?;
        tokio::time::sleep(Duration::from_millis(dice.random_range(50..800))).await;
        if round % 2 == 0 {
            target.away().await?;
            forebay.kill9().await?;
        } else {
            forebay.kill9().await?;
            target.away().await?;
        }
        forebay.start().await?;
    }
    target.back().await?;
    until_waiting(&forebay, 0).await?;
    let ids = target.ids().await?;
    let different: BTreeSet<&String> = ids.iter().collect();
    let repeats = (ids.len() - different.len()) as u64;
    println!(
        "{letters} letters left through {} kills: {repeats} repeats",
        rounds(4)
    );
    assert_eq!(different.len() as u64, letters);
    let most = if T::TELLS_REPEATS {
        0
    } else {
        u64::from(rounds(4)) * 2100
    };
    assert!(repeats <= most, "{repeats} repeats");
    let status = forebay.status().await?;
    assert_eq!(
        count(&status, "r", "dead"),
        letters,
        "they are kept for 30 days"
    );
    rig::assert_balanced(&forebay).await
}

/// The id in an envelope.
fn id(envelope: &[u8]) -> String {
    let envelope: Value = serde_json::from_slice(envelope).unwrap();
    envelope["forebay-event-id"].as_str().unwrap().to_owned()
}

struct Http(Endpoint);

impl Target for Http {
    const TELLS_REPEATS: bool = false;

    async fn start() -> Result<Self> {
        Ok(Self(Endpoint::start().await?))
    }

    fn keys(&self) -> String {
        format!(
            "type = \"http\"\nurl = \"{}\"\nconcurrency = 4",
            self.0.url()
        )
    }

    async fn away(&mut self) -> Result<()> {
        self.0.stop().await;
        Ok(())
    }

    async fn back(&mut self) -> Result<()> {
        self.0.start_again().await
    }

    async fn ids(&self) -> Result<Vec<String>> {
        let received = self.0.received();
        let ids = received
            .iter()
            .filter_map(|one| one.header("forebay-event-id"));
        Ok(ids.map(str::to_owned).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_letters_reach_an_endpoint_that_comes_and_goes() -> Result<()> {
    all_leave::<Http>(10_000).await
}

struct Redis(redis::Server);

impl Target for Redis {
    const TELLS_REPEATS: bool = false;

    async fn start() -> Result<Self> {
        Ok(Self(
            redis::Server::start_new(redis::Options::default()).await?,
        ))
    }

    fn keys(&self) -> String {
        format!(
            "type = \"redis\"\nurl = \"{}\"\nlist = \"dead\"",
            self.0.url()
        )
    }

    async fn away(&mut self) -> Result<()> {
        self.0.kill().await
    }

    async fn back(&mut self) -> Result<()> {
        self.0.start().await
    }

    async fn ids(&self) -> Result<Vec<String>> {
        let list = self.0.list("dead").await?;
        Ok(list.iter().map(|one| id(one)).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_letters_reach_a_redis_that_is_killed() -> Result<()> {
    all_leave::<Redis>(10_000).await
}

struct Rabbitmq(rabbitmq::Server);

impl Target for Rabbitmq {
    const TELLS_REPEATS: bool = false;

    async fn start() -> Result<Self> {
        let server = rabbitmq::Server::start_new(rabbitmq::Options::default()).await?;
        server.declare_quorum("dead").await?;
        Ok(Self(server))
    }

    fn keys(&self) -> String {
        format!(
            "type = \"rabbitmq\"\nurl = \"{}\"\nrouting_key = \"dead\"",
            self.0.url()
        )
    }

    async fn away(&mut self) -> Result<()> {
        self.0.kill().await
    }

    async fn back(&mut self) -> Result<()> {
        self.0.start().await
    }

    async fn ids(&self) -> Result<Vec<String>> {
        let messages = self.0.take_all("dead").await?;
        Ok(messages.into_iter().map(|(id, _)| id).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_letters_reach_a_rabbitmq_that_is_killed() -> Result<()> {
    all_leave::<Rabbitmq>(10_000).await
}

struct Mariadb(mariadb::Server);

impl Target for Mariadb {
    const TELLS_REPEATS: bool = true;

    async fn start() -> Result<Self> {
        let options = mariadb::Options::default();
        Ok(Self(mariadb::Server::start_new(options).await?))
    }

    fn keys(&self) -> String {
        format!("type = \"mysql\"\nurl = \"{}\"", self.0.url())
    }

    async fn away(&mut self) -> Result<()> {
        self.0.stop_immediate().await
    }

    async fn back(&mut self) -> Result<()> {
        self.0.start().await
    }

    async fn ids(&self) -> Result<Vec<String>> {
        self.0.rows("SELECT id FROM webhook_events").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_letters_are_in_a_mariadb_that_is_killed_each_once() -> Result<()> {
    all_leave::<Mariadb>(10_000).await
}

/// moto keeps everything in memory, so it is cut off and not ended. It grows slow with the length of a queue.
struct Sqs(Moto, Proxy);

impl Target for Sqs {
    const TELLS_REPEATS: bool = false;

    async fn start() -> Result<Self> {
        let moto = Moto::start().await?;
        moto.python("import boto3\nboto3.client('sqs').create_queue(QueueName='dead')")
            .await?;
        let proxy = Proxy::start(moto.addr()).await?;
        Ok(Self(moto, proxy))
    }

    fn keys(&self) -> String {
        let place = format!("http://{}/", self.1.addr());
        format!(
            "type = \"sqs\"\nqueue_url = \"{place}{ACCOUNT}/dead\"\naccess_key_id = \"test\"\nsecret_access_key = \"test\""
        )
    }

    async fn away(&mut self) -> Result<()> {
        self.1.set(Mode::Refuse).await
    }

    async fn back(&mut self) -> Result<()> {
        self.1.set(Mode::Pass).await
    }

    async fn ids(&self) -> Result<Vec<String>> {
        let script = format!(
            "URL = '{}{ACCOUNT}/dead'\n{}",
            self.0.url(),
            r#"
import boto3
sqs = boto3.client("sqs")
while got := sqs.receive_message(QueueUrl=URL, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get("Messages"):
    for m in got: print(m["MessageAttributes"]["forebay-event-id"]["StringValue"])
    sqs.delete_message_batch(QueueUrl=URL, Entries=[{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(got)])
"#
        );
        let printed = self.0.python(&script).await?;
        Ok(printed.lines().map(str::to_owned).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_reach_an_sqs_that_is_cut_off_again_and_again() -> Result<()> {
    all_leave::<Sqs>(u64::from(rounds(500))).await
}
