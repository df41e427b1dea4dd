//! Queues that are read, once or all the time, as `status` and `dlq import` show them.

use testbed::redis::{Options, Server};
use testbed::{DEADLINE, Result};

use super::json;
use crate::rig;

/// A destination `ops` that is a list of the server's, and a source that posts go to.
fn config(server: &Server, more: &str) -> String {
    format!(
        "[sources.in]\ntype = \"http\"\nverify = {{ scheme = \"none\" }}\n[destinations.db]\ntype = \"sqlite\"\n[destinations.ops]\ntype = \"redis\"\nurl = \"{}\"\nlist = \"ops\"\n[routes.r]\nfrom = [\"in\"]\nto = \"db\"\n{more}",
        server.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_runs_is_seen_and_ended_from_elsewhere() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    for n in 0..40 {
        let body = format!("{{\"n\":{n}}}");
        server.execute(&["RPUSH", "ops", &body]).await?;
    }
    let forebay = rig::forebay(config(&server, "")).start().await?;
    let import = [
        "dlq", "import", "--from", "ops", "--source", "in", "--rate", "1",
    ];
    let meanwhile = async {
        let runs = |status: &serde_json::Value| status["imports"][0]["fresh"].as_u64() > Some(0);
        forebay
            .status_until("it has taken something", DEADLINE, runs)
            .await?;
        let shown = forebay.cli(&["status"]).await?;
        assert!(shown.stdout.contains("import 1 from ops runs"), "{shown:?}");
        let listed = json(&forebay, &["dlq", "import", "--status"]).await?;
        assert_eq!(listed[0]["status"], "running");
        let another = forebay.cli(&import).await?;
        let words = "import 1 reads it already; `forebay dlq import --status` lists";
        assert!(another.stderr.contains(words), "{another:?}");
        forebay.cli(&["dlq", "import", "--cancel", "1"]).await
    };
    let (ended, cancelled) = tokio::join!(forebay.cli(&import), meanwhile);
    let (ended, cancelled) = (ended?, cancelled?);
    let words = "import 1 is ended; it had taken";
    assert!(cancelled.stdout.contains(words), "{cancelled:?}");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the import was ended"), "{ended:?}");
    let again = forebay.cli(&["dlq", "import", "--cancel", "1"]).await?;
    let words = "import 1 had ended before (cancelled";
    assert!(again.stdout.contains(words), "{again:?}");
    let unknown = forebay.cli(&["dlq", "import", "--status", "9"]).await?;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there is no import 9"));
    let status = forebay.status().await?;
    assert_eq!(status["imports"], serde_json::json!([]), "it has ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_none_is_in_the_status_and_ends_an_import_at_once() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    server.execute(&["SET", "ops", "no list"]).await?;
    let source = format!(
        "[sources.jobs]\ntype = \"redis\"\nurl = \"{}\"\nlist = \"ops\"\n[routes.jobs]\nfrom = [\"jobs\"]\nto = \"db\"\n",
        server.url()
    );
    let forebay = rig::forebay(config(&server, &source)).start().await?;
    let away = |status: &serde_json::Value| status["queues"][0]["last_error"].is_string();
    forebay
        .status_until("the queue cannot be read", DEADLINE, away)
        .await?;
    let shown = forebay.cli(&["status"]).await?;
    let words = "source jobs is not being read: redis WRONGTYPE: ops is there and is no list";
    assert!(shown.stdout.contains(words), "{shown:?}");
    let import = ["dlq", "import", "--from", "ops", "--source", "in"];
    let failed = forebay.cli(&import).await?;
    assert_eq!(
        (failed.code, failed.stdout.as_str()),
        (Some(1), ""),
        "{failed:?}"
    );
    let words = "nothing was imported: redis WRONGTYPE";
    assert!(failed.stderr.contains(words), "{failed:?}");
    Ok(())
}
