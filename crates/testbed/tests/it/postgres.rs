//! The PostgreSQL server does to its clients what the faults it stands for would do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use testbed::postgres::{Options, Server};
use testbed::{DEADLINE, Result, until};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

#[tokio::test]
async fn committed_rows_survive_immediate_stop_and_kill() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    let url = server.url();
    server
        .execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        .await?;
    server.stop_immediate().await?;
    assert!(
        server.client().await.is_err(),
        "a stopped server took a connection"
    );
    server.start().await?;
    assert_eq!(server.count("t").await?, 1);

    server.execute("INSERT INTO t VALUES (2)").await?;
    server.kill().await?;
    assert!(
        server.client().await.is_err(),
        "a killed server took a connection"
    );
    server.start().await?;
    assert_eq!(server.count("t").await?, 2);
    assert!(
        server.log_tail().contains("not properly shut down"),
        "{}",
        server.log_tail()
    );

    server.stop_fast().await?;
    server.start().await?;
    assert_eq!(server.count("t").await?, 2);
    assert_eq!(server.url(), url);
    Ok(())
}

#[tokio::test]
async fn a_paused_server_answers_nothing_until_resumed() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    let client = server.client().await?;
    client.execute("SELECT 1", &[]).await?;
    server.pause().await?;

    let question = tokio::spawn(async move { client.query_one("SELECT 2 + 2", &[]).await });
    let newcomer = tokio::time::timeout(Duration::from_millis(300), server.client()).await;
    assert!(
        newcomer.is_err(),
        "a paused server answered a new connection"
    );
    assert!(!question.is_finished(), "a paused session answered");

    server.resume()?;
    let answer = tokio::time::timeout(DEADLINE, question)
        .await
        .unwrap()
        .unwrap()?;
    assert_eq!(answer.get::<_, i32>(0), 4);
    Ok(())
}

#[tokio::test]
async fn a_paused_server_can_be_killed_and_dropped() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    server.pause().await?;
    server.kill().await?;
    server.start().await?;
    server.pause().await?;
    let (addr, dir) = (server.addr(), server.dir().to_owned());
    drop(server);
    assert!(
        std::net::TcpStream::connect(addr).is_err(),
        "something still listens"
    );
    assert!(!dir.exists(), "the directory was left behind");
    Ok(())
}

#[tokio::test]
async fn existing_sessions_meet_read_only_as_25006() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    server.execute("CREATE TABLE t (n int)").await?;
    let client = server.client().await?;
    client.execute("INSERT INTO t VALUES (1)", &[]).await?;

    server.set_read_only(true).await?;
    let refused = client
        .execute("INSERT INTO t VALUES (2)", &[])
        .await
        .unwrap_err();
    assert_eq!(refused.code().map(SqlState::code), Some("25006"));

    server.set_read_only(false).await?;
    client.execute("INSERT INTO t VALUES (3)", &[]).await?;
    assert_eq!(server.count("t").await?, 2);
    Ok(())
}

#[tokio::test]
async fn settings_are_in_force() -> Result<()> {
    let options = Options::default()
        .without_fsync()
        .with_setting("application_name", "it's a test");
    let server = Server::start_new(options).await?;
    assert_eq!(server.text("SHOW fsync").await?, "off");
    assert_eq!(server.text("SHOW application_name").await?, "it's a test");
    let strict = Server::start_new(Options::default()).await?;
    assert_eq!(strict.text("SHOW fsync").await?, "on");
    assert_eq!(strict.text("SHOW synchronous_commit").await?, "on");
    assert_ne!(strict.port(), server.port());
    Ok(())
}

#[tokio::test]
async fn a_bad_setting_fails_the_start_and_shows_the_log() {
    let options = Options::default().with_setting("no_such_setting", "1");
    let start = Instant::now();
    let error = Server::start_new(options).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
    assert!(
        start.elapsed() < DEADLINE,
        "the failure was waited out instead of noticed"
    );
}

#[tokio::test]
async fn other_roles_need_their_password() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    server
        .execute("CREATE ROLE app LOGIN PASSWORD 'right'")
        .await?;
    let port = server.port();
    let url = |password: &str| format!("postgres://app:{password}@127.0.0.1:{port}/postgres");
    let refused = tokio_postgres::connect(&url("wrong"), NoTls)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code().map(SqlState::code), Some("28P01"));
    let (client, _connection) = tokio_postgres::connect(&url("right"), NoTls).await?;
    assert!(!client.is_closed());
    Ok(())
}

#[tokio::test]
async fn tls_is_offered_with_the_servers_own_ca() -> Result<()> {
    let server = Server::start_new(Options::default().with_tls()).await?;
    server
        .execute("CREATE ROLE app LOGIN PASSWORD 'right'")
        .await?;
    let url = format!(
        "postgres://app:right@localhost:{}/postgres?sslmode=require",
        server.port()
    );

    let trusting = connector(&std::fs::read(server.ca().unwrap()).unwrap());
    let (client, connection) = tokio_postgres::connect(&url, trusting).await?;
    tokio::spawn(connection);
    let row = client
        .query_one(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            &[],
        )
        .await?;
    assert!(row.get::<_, bool>(0));

    let other = Server::start_new(Options::default().with_tls()).await?;
    let distrusting = connector(&std::fs::read(other.ca().unwrap()).unwrap());
    assert!(
        tokio_postgres::connect(&url, distrusting).await.is_err(),
        "a stranger's CA was trusted"
    );
    let plain = url.replace("require", "disable");
    assert!(
        tokio_postgres::connect(&plain, NoTls).await.is_err(),
        "a role came in without TLS"
    );
    Ok(())
}

fn connector(ca: &[u8]) -> tokio_postgres_rustls::MakeRustlsConnect {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio_postgres_rustls::MakeRustlsConnect::new(config)
}

#[tokio::test]
async fn waiting_gives_up_with_what_it_saw_last() {
    let error = until("pigs fly", Duration::from_millis(20), async || {
        Err::<(), _>("they walk".to_owned())
    })
    .await
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("pigs fly") && error.contains("they walk"),
        "{error}"
    );
}
