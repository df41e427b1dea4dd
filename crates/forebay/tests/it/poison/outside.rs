//! Dead letters that somebody dealt with where they lay: mended in the queue, purged here, wanted back.

use rusqlite::Connection;
use testbed::Result;
use testbed::redis::{Options, Server};

use super::targets::until_waiting;
use super::thread::import;
use super::{cli, post, until};
use crate::rig::{self, count};

const ROUTES: &str = r#"
[sources.in]
type = "http"
verify = { scheme = "none" }
[destinations.db]
type = "sqlite"
path = "refusing.db"
statement = "INSERT INTO t VALUES ($id, $body) ON CONFLICT (id) DO NOTHING"
[destinations.audit]
type = "sqlite"
path = "audit.db"
[routes.r]
from = ["in"]
to = "db"
dead_letter = { to = ["ops-dlq"] }
[routes.audit]
from = ["in"]
to = "audit"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_comes_back_as_it_was_mended_outside_and_to_its_own_route_alone() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let ops = format!(
        "[destinations.ops-dlq]\ntype = \"redis\"\nurl = \"{}\"\nlist = \"dead\"\n",
        server.url()
    );
    let launch = rig::forebay([ROUTES, &ops].concat());
    let path = launch.dir().join("refusing.db");
    let execute = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    execute("CREATE TABLE t (id TEXT PRIMARY KEY CHECK (id = 'never'), body TEXT)");
    let forebay = launch.start().await?;
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(post(&forebay, format!("{{\"amount\":-{n}}}")).await?);
    }
    until(&forebay, "dead", 3).await?;
    until_waiting(&forebay, 0).await?;

    // The first is mended where it lies, the second is purged here; its copy stays there.
    let letters: Vec<String> = server.ask(&["LRANGE", "dead", "0", "-1"]).await?;
    let first = letters
        .iter()
        .position(|letter| letter.contains(&ids[0]))
        .unwrap();
    let mended = letters[first].replace("amount\\\":-1", "amount\\\":11");
    assert_ne!(mended, letters[first]);
    server
        .execute(&["LSET", "dead", &first.to_string(), &mended])
        .await?;
    cli(&forebay, &["dlq", "purge", &ids[1], "--yes"]).await?;

    execute("DROP TABLE t; CREATE TABLE t (id TEXT PRIMARY KEY, body TEXT)");
    assert_eq!(import(&forebay, &[]).await?, [2, 0, 1]);
    until(&forebay, "delivered", 3).await?;
    let body = |amount: i64| -> i64 {
        let sql =
            format!("SELECT count(*) FROM t WHERE CAST(body AS TEXT) = '{{\"amount\":{amount}}}'");
        let connection = Connection::open(&path).unwrap();
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!([11, -1, -2, -3].map(body), [1, 0, 1, 1]);
    let history = cli(&forebay, &["dlq", "history", &ids[0]]).await?.stdout;
    assert!(history.contains("outside"), "{history}");

    // The other route had all three when they came first.
    let status = forebay
        .status_until("nothing is pending", rig::LONG, |status| {
            count(status, "audit", "pending") == 0 && count(status, "audit", "accepted") == 4
        })
        .await?;
    assert_eq!(count(&status, "audit", "delivered"), 3);
    assert_eq!(count(&status, "audit", "discarded"), 1);
    rig::assert_balanced(&forebay).await
}
