//! A CHECK constraint: one bad row among five hundred, and five hundred bad rows at once.

use testbed::Result;
use testbed::postgres::{Options, Server};

use super::{cli, dead_letters, post, to_postgres, until};
use crate::rig::{self, TABLE};

const CONSTRAINT: &str = "ALTER TABLE webhook_events ADD CONSTRAINT amount_is_positive
    CHECK ((body ->> 'amount')::int > 0)";

fn body(n: u64, amount: i64) -> String {
    format!("{{\"n\":{n},\"amount\":{amount}}}")
}

/// A server whose table refuses amounts that are not positive, with one good row in it, and Forebay before it.
async fn with_constraint(options: Options) -> Result<(Server, testbed::process::Forebay)> {
    let server = Server::start_new(options).await?;
    let forebay = rig::forebay(to_postgres(&server.url(), "")).start().await?;
    post(&forebay, body(0, 1)).await?;
    until(&forebay, "delivered", 1).await?;
    server.execute(CONSTRAINT).await?;
    Ok((server, forebay))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_among_five_hundred_is_alone_in_the_dead_letters_and_comes_back() -> Result<()>
{
    let (server, forebay) = with_constraint(Options::default()).await?;
    cli(&forebay, &["routes", "pause", "r"]).await?;
    let mut bad = String::new();
    for n in 1..=500 {
        let id = post(&forebay, body(n, if n == 250 { -1 } else { 5 })).await?;
        if n == 250 {
            bad = id;
        }
    }
    cli(&forebay, &["routes", "resume", "r"]).await?;
    until(&forebay, "delivered", 500).await?;
    until(&forebay, "dead", 1).await?;
    rig::assert_balanced(&forebay).await?;

    let letters = dead_letters(&forebay).await?;
    let [letter] = &*letters else {
        panic!("{letters:?}")
    };
    assert_eq!(letter["id"], bad.as_str());
    assert_eq!(
        (&letter["reason"], &letter["code"]),
        (&"rejected".into(), &"sqlstate 23514".into())
    );
    let error = letter["error"].as_str().unwrap();
    assert!(error.contains("amount_is_positive"), "{error}");
    assert!(!error.contains("-1"), "no value of the row: {error}");

    // As long as the constraint is there, it only comes back to where it was.
    cli(&forebay, &["dlq", "redrive", "--all"]).await?;
    until(&forebay, "parked", 0).await?;
    until(&forebay, "dead", 1).await?;
    server
        .execute("ALTER TABLE webhook_events DROP CONSTRAINT amount_is_positive")
        .await?;
    cli(&forebay, &["dlq", "redrive", "--all"]).await?;
    until(&forebay, "delivered", 501).await?;
    assert_eq!(server.count(TABLE).await?, 501);
    let found = format!("SELECT count(*) FROM webhook_events WHERE id = '{bad}'");
    assert_eq!(server.text(&found).await?, "1");
    assert!(dead_letters(&forebay).await?.is_empty());
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_bad_events_in_a_batch_are_all_dead_in_a_bounded_number_of_statements()
-> Result<()> {
    let options = Options::default().with_setting("log_statement", "all");
    let (server, forebay) = with_constraint(options).await?;
    cli(&forebay, &["routes", "pause", "r"]).await?;
    for n in 1..=500 {
        post(&forebay, body(n, 0)).await?;
    }
    let before = statements(&server);
    cli(&forebay, &["routes", "resume", "r"]).await?;
    until(&forebay, "dead", 500).await?;
    let spent = statements(&server) - before;
    println!("{spent} statements for 500 bad rows");
    // Three splits of the batch, then row by row: a savepoint, the row, and back to the savepoint.
    assert!(spent < 500 * 4 + 100, "{spent} statements");
    assert_eq!(server.count(TABLE).await?, 1);
    rig::assert_balanced(&forebay).await?;

    let groups = cli(&forebay, &["dlq", "list", "--group", "--json"]).await?;
    assert_eq!(groups.stdout.lines().count(), 1, "{}", groups.stdout);
    server
        .execute("ALTER TABLE webhook_events DROP CONSTRAINT amount_is_positive")
        .await?;
    cli(&forebay, &["dlq", "redrive", "--route", "r"]).await?;
    until(&forebay, "delivered", 501).await?;
    assert_eq!(server.count(TABLE).await?, 501);
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_event_is_delivered_as_edited_and_its_history_has_what_it_was() -> Result<()> {
    let (server, forebay) = with_constraint(Options::default()).await?;
    let bad = post(&forebay, body(1, -7)).await?;
    until(&forebay, "dead", 1).await?;
    let shown = cli(&forebay, &["dlq", "show", &bad, "--body"]).await?;
    assert_eq!(shown.stdout, body(1, -7), "the body and nothing else");
    let file = forebay.data_dir().parent().unwrap().join("edited");
    std::fs::write(&file, body(1, 7)).unwrap();
    let file = file.to_str().unwrap();
    let note = "the sign was wrong";
    let empty = ["dlq", "redrive", &bad, "--body", "/dev/null"];
    let empty = forebay.cli(&empty).await?;
    assert_eq!(empty.code, Some(2), "{empty:?}");
    assert!(empty.stderr.contains("--allow-empty-body"), "{empty:?}");
    let edit = [
        "dlq",
        "redrive",
        &bad,
        "--body",
        file,
        "--note",
        note,
        "--by",
        "night watch",
    ];
    cli(&forebay, &edit).await?;
    until(&forebay, "delivered", 2).await?;
    let stored = format!("SELECT body FROM webhook_events WHERE id = '{bad}'");
    assert_eq!(server.text(&stored).await?, body(1, 7));
    let history = cli(&forebay, &["dlq", "history", &bad]).await?;
    assert!(
        history.stdout.contains(note) && history.stdout.contains(&body(1, -7)),
        "{}",
        history.stdout
    );
    assert!(history.stdout.contains("by night watch"), "{history:?}");
    let shown = cli(&forebay, &["events", "show", &bad]).await?;
    let words = "on route r it was edited";
    assert!(shown.stdout.contains(words), "{shown:?}");
    let good = post(&forebay, body(2, 1)).await?;
    until(&forebay, "delivered", 3).await?;
    let never = cli(&forebay, &["dlq", "history", &good]).await?;
    assert!(never.stderr.contains("was never edited"), "{never:?}");
    let unknown = "01890000-0000-7000-8000-000000000000";
    let unknown = forebay.cli(&["dlq", "history", unknown]).await?;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    // It is no dead letter any more, and one that is none cannot be edited.
    let again = forebay
        .cli(&["dlq", "redrive", &bad, "--body", file])
        .await?;
    assert_ne!(again.code, Some(0));
    assert!(again.stderr.contains("is not dead"), "{}", again.stderr);
    let nothing = forebay.cli(&["dlq", "redrive", "--body", file]).await?;
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    rig::assert_balanced(&forebay).await
}

/// How many statements the server has logged.
fn statements(server: &Server) -> usize {
    let text = std::fs::read_to_string(server.dir().join("log")).unwrap();
    let ran = |line: &&str| line.contains("LOG:  statement:") || line.contains("LOG:  execute");
    let lines = text.lines().filter(ran).count();
    assert!(lines > 0, "the server logs no statements");
    lines
}
