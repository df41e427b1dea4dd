//! The Redis server loses and keeps what the faults it stands for would.

use std::time::Duration;

use testbed::redis::{Options, Sentinel, Server};
use testbed::{DEADLINE, Result, until};

#[tokio::test]
async fn a_killed_server_keeps_what_is_in_its_append_only_file() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    let url = server.url();
    for word in ["one", "two"] {
        server.execute(&["RPUSH", "list", word]).await?;
    }
    server.kill().await?;
    assert!(
        server.ask::<usize>(&["LLEN", "list"]).await.is_err(),
        "a killed server answered"
    );
    server.start().await?;
    assert_eq!(server.list("list").await?, [b"one", b"two"]);
    server.stop().await?;
    server.start().await?;
    assert_eq!(server.ask::<usize>(&["LLEN", "list"]).await?, 2);
    assert_eq!(server.url(), url);
    Ok(())
}

/// What proves that a test which kills a server sees a loss when there is one.
#[tokio::test]
async fn a_killed_server_without_the_file_has_lost_everything() -> Result<()> {
    let mut server = Server::start_new(Options::default().without_append_only_file()).await?;
    server.execute(&["RPUSH", "list", "one"]).await?;
    server.kill().await?;
    server.start().await?;
    assert_eq!(server.ask::<usize>(&["LLEN", "list"]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_paused_server_answers_nothing_until_resumed() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    server.pause().await?;
    let ping = ["PING"];
    let asked = tokio::time::timeout(Duration::from_millis(300), server.ask::<String>(&ping)).await;
    assert!(asked.is_err(), "a paused server answered");
    server.resume()?;
    assert_eq!(server.ask::<String>(&ping).await?, "PONG");
    Ok(())
}

#[tokio::test]
async fn a_password_is_asked_for_and_a_stream_is_read_by_its_fields() -> Result<()> {
    let server = Server::start_new(Options::default().with_password("secret")).await?;
    let add = ["XADD", "stream", "*", "a", "1", "b", ""];
    server.execute(&add).await?;
    let entry = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), vec![])];
    assert_eq!(server.stream("stream").await?, [entry.to_vec()]);
    assert!(server.url().contains(":secret@"));
    Ok(())
}

#[tokio::test]
async fn a_replica_copies_its_master_and_a_sentinel_knows_where_that_is() -> Result<()> {
    let master = Server::start_new(Options::default()).await?;
    let replica = Server::start_new(Options::default().replica_of(&master)).await?;
    let sentinel = Sentinel::start_new(&master, "shop").await?;
    master.execute(&["RPUSH", "list", "one"]).await?;
    until("the replica has it", DEADLINE, async || {
        let list = replica.list("list").await;
        let list = list.map_err(|error| error.to_string())?;
        (list == [b"one"]).then_some(()).ok_or(format!("{list:?}"))
    })
    .await?;
    let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop"];
    let place: (String, u16) = sentinel.ask(&question).await?;
    assert_eq!(place, ("127.0.0.1".to_owned(), master.addr().port()));
    Ok(())
}
