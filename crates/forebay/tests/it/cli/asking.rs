//! Commands that ask a running server: status, events, routes, sources.

use std::collections::BTreeMap;

use testbed::Result;
use testbed::process::{Forebay, Launch, Output, run};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::{config, data, json, send};
use crate::rig::{self, ROUTE_NAME, count};
use crate::wire::address;

#[tokio::test(flavor = "multi_thread")]
async fn every_listing_has_a_table_and_json_lines() -> Result<()> {
    let forebay = rig::forebay(config()).start().await?;
    let sent = send(&forebay, &["--count", "20"]).await?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    rig::drained(&forebay, ROUTE_NAME).await?;

    let status = json(&forebay, &["status"]).await?;
    assert_eq!(status.len(), 1);
    assert_eq!(count(&status[0], ROUTE_NAME, "delivered"), 20);
    let table = data(&forebay, &["status"]).await?;
    for word in ["ready", ROUTE_NAME, "passing", "20"] {
        assert!(table.contains(word), "no {word} in {table}");
    }

    let events = json(&forebay, &["events", "list"]).await?;
    assert_eq!(events.len(), 20);
    // In the journal's order, which several connections at once do not share with their clocks.
    let ids: Vec<&str> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
    let few = json(&forebay, &["events", "list", "--limit", "3"]).await?;
    assert_eq!(few, events[..3]);
    let delivered = [
        "events",
        "list",
        "--state",
        "delivered",
        "--source",
        "genesys",
    ];
    assert_eq!(json(&forebay, &delivered).await?.len(), 20);
    let pending = json(&forebay, &["events", "list", "--state", "pending"]).await?;
    assert_eq!(pending.len(), 0);
    let id = events[0]["id"].as_str().unwrap();
    assert!(data(&forebay, &["events", "list"]).await?.contains(id));

    let shown = json(&forebay, &["events", "show", id]).await?;
    assert_eq!(shown[0]["id"], id);
    assert_eq!(shown[0]["routes"][0]["state"], "delivered", "{}", shown[0]);
    let body: serde_json::Value = serde_json::from_str(shown[0]["body"].as_str().unwrap()).unwrap();
    let text = data(&forebay, &["events", "show", id]).await?;
    assert!(text.contains(body["id"].as_str().unwrap()), "{text}");
    let unknown = "01890000-0000-7000-8000-000000000000";
    let nothing = forebay.cli(&["events", "show", unknown]).await?;
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (Some(2), ""),
        "{nothing:?}"
    );

    let routes = json(&forebay, &["routes", "list"]).await?;
    assert_eq!(routes[0]["name"], ROUTE_NAME);
    assert!(
        data(&forebay, &["routes", "list"])
            .await?
            .contains("sqlite")
    );
    let sources = json(&forebay, &["sources", "list"]).await?;
    assert_eq!(
        (sources[0]["name"].as_str(), sources[0]["accepted"].as_u64()),
        (Some("genesys"), Some(20))
    );
    let table = data(&forebay, &["sources", "list"]).await?;
    assert!(
        table.contains("/webhook/gc") && table.contains("genesys-open-messaging"),
        "{table}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_what_comes_in_from_then_on() -> Result<()> {
    let forebay = rig::forebay(config()).start().await?;
    assert_eq!(send(&forebay, &[]).await?.code, Some(0));
    let args = ["events", "tail", "--count", "5", "--json"];
    let tail = forebay.cli(&args);
    // Tail says nothing when it has begun, so events are sent until it has seen enough.
    let sending = async {
        loop {
            send(&forebay, &[]).await?;
        }
    };
    let output = tokio::select! {
        output = tail => output?,
        failed = sending => return failed,
    };
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    let seqs: Vec<u64> = output
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(seqs.len(), 5);
    assert!(seqs.is_sorted_by(|a, b| a < b) && seqs[0] > 1, "{seqs:?}");
    Ok(())
}

/// `forebay events tail | head -1`, and then no event for a long time.
#[tokio::test(flavor = "multi_thread")]
async fn tail_ends_when_nobody_reads_it_any_more() -> Result<()> {
    let mut forebay = rig::forebay(config()).start().await?;
    let mut tail = tokio::process::Command::new(env!("CARGO_BIN_EXE_forebay"));
    tail.args(["events", "tail", "--admin-url", &forebay.admin("")])
        .current_dir(forebay.launch().dir())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    let mut tail = tail.spawn().unwrap();
    let mut shown = BufReader::new(tail.stdout.take().unwrap()).lines();
    let sending = async {
        loop {
            send(&forebay, &[]).await?;
        }
    };
    tokio::select! {
        line = shown.next_line() => assert!(line.unwrap().is_some()),
        failed = sending => return failed,
    }
    drop(shown);
    let ended = tokio::time::timeout(testbed::DEADLINE, tail.wait()).await;
    let ended = ended.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_route_waits_across_restarts_until_it_is_resumed() -> Result<()> {
    let mut forebay = rig::forebay(config()).start().await?;
    let paused = forebay.cli(&["routes", "pause", ROUTE_NAME]).await?;
    assert_eq!(
        (paused.code, paused.stdout.as_str()),
        (Some(0), ""),
        "{paused:?}"
    );
    assert_eq!(send(&forebay, &["--count", "30"]).await?.code, Some(0));
    forebay.restart().await?;
    let status = json(&forebay, &["status"]).await?;
    assert_eq!(
        rig::route(&status[0], ROUTE_NAME)["paused"],
        true,
        "{}",
        status[0]
    );
    assert_eq!(
        count(&status[0], ROUTE_NAME, "pending"),
        30,
        "{}",
        status[0]
    );
    let listings: [&[&str]; 2] = [&["status"], &["routes", "list"]];
    for args in listings {
        let table = data(&forebay, args).await?;
        assert!(table.contains("passing, paused"), "{args:?}: {table}");
    }

    assert_eq!(
        forebay.cli(&["routes", "resume", ROUTE_NAME]).await?.code,
        Some(0)
    );
    let status = rig::drained(&forebay, ROUTE_NAME).await?;
    assert_eq!(count(&status, ROUTE_NAME, "delivered"), 30, "{status}");
    let nobody = forebay.cli(&["routes", "pause", "nobody"]).await?;
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
    for word in ["nobody", &forebay.admin("")] {
        assert!(nobody.stderr.contains(word), "no {word:?} in {nobody:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_asking_ends_with_3_and_says_where_it_asked() -> Result<()> {
    let mut forebay = Launch::start(rig::forebay(config())).await?;
    forebay.kill9().await?;
    let commands: [&[&str]; 14] = [
        &["status"],
        &["status", "--json"],
        &["events", "list"],
        &["events", "show", "01890000-0000-7000-8000-000000000000"],
        &["events", "tail"],
        &["dlq", "list"],
        &["dlq", "show", "01890000-0000-7000-8000-000000000000"],
        &["dlq", "redrive", "--all"],
        &["dlq", "purge", "--all", "--yes"],
        &["dlq", "export"],
        &["routes", "list"],
        &["routes", "pause", "a"],
        &["routes", "resume", "a"],
        &["sources", "list"],
    ];
    let admin = forebay.admin("");
    for args in commands {
        let output = forebay.cli(args).await?;
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (Some(3), ""),
            "{args:?}: {output:?}"
        );
        assert!(output.stderr.contains(&admin), "{args:?}: {output:?}");
        assert!(
            output.stderr.contains("--admin-url"),
            "{args:?}: {output:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_usage_and_names_what_there_is() -> Result<()> {
    let mut forebay = rig::forebay(config()).start().await?;
    let admin = forebay.admin("");
    let asked: [(&[&str], &[&str]); 4] = [
        (
            &["events", "list", "--source", "nope"],
            &[&admin, "there is genesys"],
        ),
        (
            &["events", "tail", "--source", "nope"],
            &[&admin, "there is genesys"],
        ),
        (
            &["events", "list", "--route", "nope"],
            &[&admin, "there is genesys-to-db"],
        ),
        (&["events", "list", "--state", "lost"], &["pending"]),
    ];
    let never_asked: [(&[&str], &[&str]); 3] = [
        (&["events", "list", "--limit", "0"], &["--limit"]),
        (&["events", "tail", "--count", "0"], &["--count"]),
        (&["dlq", "list", "--limit", "0"], &["--limit"]),
    ];
    for (args, words) in asked.iter().chain(&never_asked) {
        let output = forebay.cli(args).await?;
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (Some(2), ""),
            "{args:?}: {output:?}"
        );
        for word in *words {
            assert!(output.stderr.contains(word), "no {word:?} in {output:?}");
        }
    }
    // A source that has left the configuration may still be asked about.
    assert_eq!(send(&forebay, &[]).await?.code, Some(0));
    rig::drained(&forebay, ROUTE_NAME).await?;
    forebay.terminate()?;
    assert_eq!(forebay.wait().await?.code, Some(0), "{}", forebay.tail());
    let renamed = config()
        .replace("[sources.genesys]", "[sources.other]")
        .replace("from = [\"genesys\"]", "from = [\"other\"]")
        .replace("/webhook/gc", "/webhook/other");
    forebay.launch().set_config(renamed);
    forebay.start().await?;
    let left = json(&forebay, &["events", "list", "--source", "genesys"]).await?;
    assert_eq!(left.len(), 1, "{left:?}");
    Ok(())
}

/// A command without a word of where to ask, in the server's own directory.
async fn untold(forebay: &mut Forebay, args: &[&str]) -> Result<Output> {
    let dir = forebay.launch().dir().to_owned();
    run(env!("CARGO_BIN_EXE_forebay"), args, &BTreeMap::new(), &dir).await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_server_and_its_token_in_the_configuration_beside_them() -> Result<()> {
    const TOKEN: &str = "a-token-of-many-letters";
    let mut forebay = rig::forebay(config())
        .env("FOREBAY_SERVER_ADMIN_TOKEN", TOKEN)
        .start()
        .await?;
    let file = forebay.launch().dir().join("forebay.toml");
    let port = address(&forebay.admin("")).port();
    let listings: [&[&str]; 4] = [
        &["status"],
        &["events", "list"],
        &["routes", "list"],
        &["sources", "list"],
    ];
    // Of a wildcard address, and beside what the server would refuse.
    let beside = format!("[server]\nadmin = \"0.0.0.0:{port}\"\n");
    let whole = format!("{beside}admin_token = \"{TOKEN}\"\n[x]\ny = \"${{NOT_THERE}}\"\n");
    std::fs::write(&file, whole).unwrap();
    for args in listings {
        let output = untold(&mut forebay, args).await?;
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(0), ""),
            "{args:?}: {output:?}"
        );
    }
    // Told another way, the file's token goes nowhere.
    let told = forebay.cli(&["status"]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("FOREBAY_ADMIN_TOKEN"), "{told:?}");

    // Where it says nothing that helps, the default is asked, and that is said.
    std::fs::write(&file, "[server]\nadmin = \"here\"\n").unwrap();
    let lost = untold(&mut forebay, &["status"]).await?;
    for word in [
        "./forebay.toml:2: server.admin: ",
        "asking at 127.0.0.1:8081",
    ] {
        assert!(lost.stderr.contains(word), "no {word:?} in {lost:?}");
    }
    // Where nobody listens, the place that named it is named.
    std::fs::write(&file, "[server]\nadmin = \"127.0.0.1:1\"\n").unwrap();
    let nobody = untold(&mut forebay, &["status"]).await?;
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    for word in ["http://127.0.0.1:1/", "./forebay.toml:2", "refused"] {
        assert!(nobody.stderr.contains(word), "no {word:?} in {nobody:?}");
    }
    Ok(())
}

/// Answers every request with 200 and a page. Ends with the runtime.
async fn something_else() -> String {
    const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let _written = stream.write_all(PAGE).await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_forebay_is_not_taken_for_it() -> Result<()> {
    let url = something_else().await;
    let dir = tempfile::tempdir().unwrap();
    let env = BTreeMap::from([("FOREBAY_ADMIN_URL".to_owned(), url.clone())]);
    let commands: [&[&str]; 9] = [
        &["status"],
        &["status", "--json"],
        &["events", "list"],
        &["events", "tail"],
        &["dlq", "list", "--group"],
        &["dlq", "export"],
        &["routes", "list"],
        &["routes", "pause", "a"],
        &["sources", "list"],
    ];
    for args in commands {
        let output = run(env!("CARGO_BIN_EXE_forebay"), args, &env, dir.path()).await?;
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (Some(3), ""),
            "{args:?}: {output:?}"
        );
        assert!(
            output.stderr.contains(&url) && output.stderr.contains("--admin-url"),
            "{args:?}: {output:?}"
        );
    }
    Ok(())
}
