//! Dead letters leave for their targets on real servers: with what became of them, through outages and kills.

use testbed::endpoint::{Answer, Endpoint};
use testbed::postgres::{Options, Server};
use testbed::process::Forebay;
use testbed::{DEADLINE, Result};

use super::{cli, dead_letters, post, route, to_postgres, until};
use crate::rig;

/// A destination `ops` at the endpoint.
fn ops(endpoint: &Endpoint) -> String {
    format!(
        "[destinations.ops]\ntype = \"http\"\nurl = \"{}\"\nconcurrency = 4\n",
        endpoint.url()
    )
}

/// Waits until so many dead letters of the route are with none of its targets yet.
pub(super) async fn until_waiting(forebay: &Forebay, wanted: u64) -> Result<()> {
    let what = format!("{wanted} dead letters wait for their target");
    let waiting = |status: &serde_json::Value| {
        let exports = status["routes"][0]["exports"].as_array().unwrap();
        exports
            .iter()
            .map(|one| one["pending"].as_u64().unwrap())
            .sum::<u64>()
    };
    forebay
        .status_until(&what, rig::LONG, |status| waiting(status) == wanted)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_constraint_refuses_goes_to_a_second_endpoint_and_can_still_come_back() -> Result<()>
{
    let (server, endpoint) = (
        Server::start_new(Options::default()).await?,
        Endpoint::start().await?,
    );
    let keys = "dead_letter = { to = [\"ops\"] }";
    let config = [to_postgres(&server.url(), keys), ops(&endpoint)].concat();
    let forebay = rig::forebay(config).start().await?;
    post(&forebay, "{\"amount\": 1}".into()).await?;
    until(&forebay, "delivered", 1).await?;
    server
        .execute("ALTER TABLE webhook_events ADD CONSTRAINT positive CHECK ((body ->> 'amount')::int > 0)")
        .await?;
    let bad = post(&forebay, "{\"amount\":  -1}".into()).await?;
    until_waiting(&forebay, 0).await?;
    until(&forebay, "dead", 1).await?;
    testbed::until("the endpoint has it", DEADLINE, async || {
        match endpoint.received().len() {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await?;
    let received = endpoint.received();
    let letter = &received[0];
    assert_eq!(&letter.body[..], b"{\"amount\":  -1}");
    for (name, value) in [
        ("forebay-event-id", &*bad),
        ("forebay-source", "in"),
        ("forebay-route", "r"),
        ("forebay-destination", "db"),
        ("forebay-reason", "rejected"),
        ("forebay-attempts", "1"),
        ("forebay-redrives", "0"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(letter.header(name), Some(value), "{name}");
    }
    let error = letter.header("forebay-error").unwrap();
    assert!(
        error.contains("23514") && error.contains("positive"),
        "{error}"
    );
    assert!(!error.contains("-1"), "{error}");
    let shown = cli(&forebay, &["dlq", "show", &bad]).await?.stdout;
    assert!(
        shown.contains("sent       to ops at ") && shown.contains("; kept here until "),
        "{shown}"
    );
    // It is a dead letter still, for as long as `keep` says, and comes back like any other.
    server
        .execute("ALTER TABLE webhook_events DROP CONSTRAINT positive")
        .await?;
    cli(&forebay, &["dlq", "redrive", "--all"]).await?;
    until(&forebay, "delivered", 2).await?;
    assert_eq!(endpoint.received().len(), 1);
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_endpoint_gets_what_the_first_answered_500_to_so_often_and_the_sender_saw_200_only()
-> Result<()> {
    let (first, second) = (Endpoint::start().await?, Endpoint::start().await?);
    first.answer_with(|_| Answer::status(500));
    let keys = "on_outage = \"retry\"\nretry = { max_retries = 3, retry_interval = \"1s\", backoff = \"fixed\", jitter = 0 }\ndead_letter = { to = [\"ops\"] }";
    let db = format!(
        "[destinations.db]\ntype = \"http\"\nurl = \"{}\"\n",
        first.url()
    );
    let config = [db, ops(&second), route(keys)].concat();
    let forebay = rig::forebay(config).start().await?;
    let id = post(&forebay, "{\"n\":1}".into()).await?;
    until(&forebay, "dead", 1).await?;
    until_waiting(&forebay, 0).await?;
    let received = second.received();
    assert_eq!((received.len(), first.received().len()), (1, 4));
    assert_eq!(received[0].header("forebay-event-id"), Some(&*id));
    assert_eq!(
        received[0].header("forebay-reason"),
        Some("retries-exhausted")
    );
    assert_eq!(received[0].header("forebay-attempts"), Some("4"));
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_every_target_has_go_when_keep_says_and_others_stay() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    // One of three is more than the endpoint takes.
    endpoint.answer_with(|request| match &request.body[..] {
        b"{\"n\":1}" => Answer::status(413),
        _ => Answer::status(200),
    });
    let refusing = "[destinations.db]\ntype = \"sqlite\"\npath = \"refusing.db\"\nstatement = \"INSERT INTO t VALUES ($id)\"\n";
    let keys = "dead_letter = { to = [\"ops\"], keep = \"1s\" }";
    let launch = rig::forebay([refusing.to_owned(), ops(&endpoint), route(keys)].concat());
    let table = rusqlite::Connection::open(launch.dir().join("refusing.db")).unwrap();
    table
        .execute_batch("CREATE TABLE t (id TEXT CHECK (id = 'never'))")
        .unwrap();
    drop(table);
    let forebay = launch.start().await?;
    for n in 0..3 {
        post(&forebay, format!("{{\"n\":{n}}}")).await?;
    }
    until(&forebay, "discarded", 2).await?;
    let letters = dead_letters(&forebay).await?;
    let [letter] = &*letters else {
        panic!("{letters:?}")
    };
    let refusal = &letter["not_exported"][0];
    assert_eq!(
        (&refusal["target"], &refusal["code"]),
        (&"ops".into(), &"http 413".into())
    );
    let shown = cli(&forebay, &["dlq", "show", letter["id"].as_str().unwrap()]).await?;
    assert!(
        shown.stdout.contains("not sent   to ops at "),
        "{}",
        shown.stdout
    );
    let status = cli(&forebay, &["status"]).await?;
    assert!(
        status
            .stdout
            .contains("r: 1 dead letter stays here because ops would not take it"),
        "{}",
        status.stdout
    );
    rig::assert_balanced(&forebay).await
}
