//! Dead letters that went to a RabbitMQ queue come back from it.

use rusqlite::Connection;
use testbed::Result;
use testbed::rabbitmq::{Options, Server};

use super::targets::until_waiting;
use super::thread::import;
use super::{cli, route, until};
use crate::rig;

#[tokio::test(flavor = "multi_thread")]
async fn letters_come_back_from_a_rabbitmq_queue_and_are_in_the_table_once() -> Result<()> {
    const LETTERS: u64 = 300;
    let mut broker = Server::start_new(Options::default()).await?;
    broker.declare_quorum("dead").await?;
    let ops = |name: &str, keys: &str| {
        let url = broker.url();
        format!("[destinations.{name}]\ntype = \"rabbitmq\"\nurl = \"{url}\"\n{keys}\n")
    };
    let config = [
        "[destinations.db]\ntype = \"sqlite\"\npath = \"refusing.db\"\nstatement = \"INSERT INTO t VALUES ($id) ON CONFLICT (id) DO NOTHING\"\n",
        &ops("ops-dlq", "routing_key = \"dead\""),
        &ops("blind", "exchange = \"amq.fanout\""),
        &route("dead_letter = { to = [\"ops-dlq\"] }"),
    ];
    let launch = rig::forebay(config.concat());
    let path = launch.dir().join("refusing.db");
    let execute = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    execute("CREATE TABLE t (id TEXT PRIMARY KEY CHECK (id = 'never'))");
    let mut forebay = launch.start().await?;
    let (how_many, url) = (LETTERS.to_string(), forebay.ingest(""));
    let send = [
        "send", "--source", "in", "--url", &url, "--count", &how_many,
    ];
    cli(&forebay, &send).await?;
    until(&forebay, "dead", LETTERS).await?;
    until_waiting(&forebay, 0).await?;

    // Nobody knows which queue the exchange fills.
    let blind = forebay.cli(&["dlq", "import", "--from", "blind"]).await?;
    assert_ne!(blind.code, Some(0));
    assert!(blind.stderr.contains("`queue`"), "{}", blind.stderr);

    // Some come back while the broker, and Forebay, are killed.
    execute("DROP TABLE t; CREATE TABLE t (id TEXT PRIMARY KEY)");
    let slowly = ["dlq", "import", "--from", "ops-dlq", "--rate", "50"];
    let (interrupted, _) = tokio::join!(forebay.cli(&slowly), async {
        forebay
            .status_until("some are back", rig::LONG, |status| {
                status["routes"][0]["delivered"]
                    .as_u64()
                    .is_some_and(|n| n > 0)
            })
            .await
            .unwrap();
        broker.kill().await.unwrap();
    });
    assert_ne!(interrupted?.code, Some(0), "the broker was killed");
    forebay.kill9().await?;
    forebay.start().await?;
    broker.start().await?;
    testbed::until("the rest comes back", rig::LONG, async || {
        let output = forebay.cli(&["dlq", "import", "--from", "ops-dlq"]).await;
        match output {
            Ok(output) if output.code == Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    assert_eq!(
        import(&forebay, &[]).await?,
        [0, 0, 0],
        "the queue is empty"
    );
    until(&forebay, "delivered", LETTERS).await?;
    let count: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, LETTERS as i64);
    assert_eq!(broker.take_all("dead").await?, vec![]);
    rig::assert_balanced(&forebay).await
}
