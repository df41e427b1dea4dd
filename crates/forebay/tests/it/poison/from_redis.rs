//! Dead letters that went to a Redis list or stream come back from it.

use rusqlite::Connection;
use testbed::Result;
use testbed::redis::{Options, Server};

use super::targets::until_waiting;
use super::thread::import;
use super::{cli, route, until};
use crate::rig;

async fn come_back(kind: &str) -> Result<()> {
    const LETTERS: u64 = 300;
    let mut server = Server::start_new(Options::default()).await?;
    let ops = format!(
        "[destinations.ops-dlq]\ntype = \"redis\"\nurl = \"{}\"\n{kind} = \"dead\"\n",
        server.url()
    );
    let config = [
        "[destinations.db]\ntype = \"sqlite\"\npath = \"refusing.db\"\nstatement = \"INSERT INTO t VALUES ($id) ON CONFLICT (id) DO NOTHING\"\n",
        &ops,
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

    // Some come back while the server, and Forebay, are killed.
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
        server.kill().await.unwrap();
    });
    assert_ne!(interrupted?.code, Some(0), "the server was killed");
    forebay.kill9().await?;
    forebay.start().await?;
    server.start().await?;
    let slowly = ["dlq", "import", "--from", "ops-dlq", "--rate", "100"];
    let (interrupted, _) = tokio::join!(forebay.cli(&slowly), async {
        forebay
            .status_until("more are back", rig::LONG, |status| {
                status["routes"][0]["delivered"]
                    .as_u64()
                    .is_some_and(|n| n > LETTERS / 2)
            })
            .await
            .unwrap();
    });
    // Whatever became of that one: the next process finds what it had taken.
    drop(interrupted);
    forebay.kill9().await?;
    forebay.start().await?;
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
        "nothing is left there"
    );
    until(&forebay, "delivered", LETTERS).await?;
    let count: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, LETTERS as i64);
    if kind == "stream" {
        assert_eq!(server.ask::<u64>(&["XLEN", "dead"]).await?, 0);
    } else {
        let lists: Vec<String> = server.ask(&["KEYS", "*"]).await?;
        assert_eq!(lists, Vec::<String>::new());
    }
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_come_back_from_a_redis_list_and_are_in_the_table_once() -> Result<()> {
    come_back("list").await
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_come_back_from_a_redis_stream_and_are_in_the_table_once() -> Result<()> {
    come_back("stream").await
}
