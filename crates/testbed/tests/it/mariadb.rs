//! The MariaDB server does to its clients what the faults it stands for would do.

use mysql_async::prelude::Queryable as _;
use testbed::mariadb::{Options, Server};
use testbed::{DEADLINE, Result, until};

async fn app(server: &Server) -> mysql_async::Result<mysql_async::Conn> {
    mysql_async::Conn::from_url(server.url()).await
}

#[tokio::test]
async fn committed_rows_survive_a_kill_and_an_orderly_stop() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    server
        .execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        .await?;
    server.stop_immediate().await?;
    assert!(app(&server).await.is_err(), "a killed server took a client");
    server.start().await?;
    assert_eq!(server.rows::<i32>("SELECT n FROM t").await?, [1]);
    assert!(
        server.log_tail().contains("crash recovery"),
        "{}",
        server.log_tail()
    );
    server.stop().await?;
    assert!(
        app(&server).await.is_err(),
        "a stopped server took a client"
    );
    server.start().await?;
    assert_eq!(server.rows::<i32>("SELECT n FROM t").await?, [1]);
    Ok(())
}

#[tokio::test]
async fn read_only_holds_for_the_account_of_the_tests_and_its_sessions() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    server.execute("CREATE TABLE t (n int)").await?;
    let mut client = app(&server).await?;
    client.query_drop("INSERT INTO t VALUES (1)").await?;
    server.set_read_only(true).await?;
    let refused = client.query_drop("INSERT INTO t VALUES (2)").await;
    assert!(
        matches!(&refused, Err(mysql_async::Error::Server(error)) if error.code == 1290),
        "{refused:?}"
    );
    server.set_read_only(false).await?;
    client.query_drop("INSERT INTO t VALUES (3)").await?;
    Ok(())
}

#[tokio::test]
async fn a_paused_server_answers_when_it_is_resumed() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    let mut client = app(&server).await?;
    server.pause().await?;
    let answer = tokio::spawn(async move { client.ping().await.is_ok() });
    assert!(!answer.is_finished(), "a paused server answered");
    server.resume()?;
    assert!(answer.await.unwrap_or(false));
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_directory() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let (url, socket) = (server.url(), server.socket());
    assert!(socket.exists());
    drop(server);
    assert!(!socket.exists());
    until(
        "nobody answers",
        DEADLINE,
        async || match mysql_async::Conn::from_url(&url).await {
            Ok(_) => Err("a client was taken".to_owned()),
            Err(_) => Ok(()),
        },
    )
    .await
}

#[tokio::test]
async fn settings_reach_the_server() -> Result<()> {
    let options = Options::default().with_setting("max-allowed-packet", "2M");
    let server = Server::start_new(options).await?;
    let packet = server.rows::<u64>("SELECT @@max_allowed_packet").await?;
    assert_eq!(packet, [2 << 20]);
    Ok(())
}
