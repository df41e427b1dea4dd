//! The proxy does what it says, and each fault looks to the client as the real one would.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testbed::postgres::{Options, Server};
use testbed::proxy::{Mode, Proxy, Trigger};
use testbed::{DEADLINE, Result, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};

/// A server that answers every connection with what it is sent.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    addr
}

async fn ask(stream: &mut TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(question).await?;
    let mut answer = vec![0; question.len()];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut answer)).await;
    read.map_err(|_| ErrorKind::TimedOut)??;
    Ok(answer)
}

#[tokio::test]
async fn passing_changes_nothing_and_counts() -> Result<()> {
    let proxy = Proxy::start(echo().await).await?;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let question: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut from, mut to) = stream.split();
    let send = async {
        to.write_all(&question).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(send, from.read_to_end(&mut answer));
    read.unwrap();
    assert!(answer == question, "bytes were changed");
    let counts = proxy.counts();
    assert_eq!((counts.accepted, counts.cuts), (1, 0));
    assert_eq!((counts.to_server, counts.to_client), (800_000, 800_000));
    Ok(())
}

#[tokio::test]
async fn refusing_closes_the_port_and_resets_what_exists() -> Result<()> {
    let proxy = Proxy::start(echo().await).await?;
    let mut before = TcpStream::connect(proxy.addr()).await.unwrap();
    ask(&mut before, b"hello").await.unwrap();
    proxy.set(Mode::Refuse).await?;
    let existing = ask(&mut before, b"hello").await.unwrap_err();
    assert!(matches!(
        existing.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    ));
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    proxy.set(Mode::Pass).await?;
    let mut after = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut after, b"hello").await.unwrap(), b"hello");
    Ok(())
}

#[tokio::test]
async fn resetting_accepts_and_resets() -> Result<()> {
    let proxy = Proxy::start(echo().await).await?;
    proxy.set(Mode::Reset).await?;
    // The reset may come before connect returns or after, as over a real network.
    let failure = match TcpStream::connect(proxy.addr()).await {
        Ok(mut stream) => stream.read_u8().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(failure.kind(), ErrorKind::ConnectionReset);
    until(
        "the connection is counted",
        DEADLINE,
        async || match proxy.counts().accepted {
            1 => Ok(()),
            other => Err(other.to_string()),
        },
    )
    .await
}

#[tokio::test]
async fn hanging_swallows_everything_and_resets_on_leaving() -> Result<()> {
    let proxy = Proxy::start(echo().await).await?;
    let mut before = TcpStream::connect(proxy.addr()).await.unwrap();
    ask(&mut before, b"hello").await.unwrap();
    proxy.set(Mode::Hang).await?;
    let mut during = TcpStream::connect(proxy.addr()).await.unwrap();
    for stream in [&mut before, &mut during] {
        stream.write_all(b"anyone?").await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
        assert!(
            answer.is_err(),
            "a hung connection said something: {answer:?}"
        );
    }
    proxy.set(Mode::Pass).await?;
    for stream in [&mut before, &mut during] {
        let end = stream.read_u8().await.unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    }
    let mut after = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut after, b"hello").await.unwrap(), b"hello");
    Ok(())
}

#[tokio::test]
async fn delaying_delays_each_way() -> Result<()> {
    let proxy = Proxy::start(echo().await).await?;
    proxy.set(Mode::Delay(Duration::from_millis(100))).await?;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let start = Instant::now();
    assert_eq!(ask(&mut stream, b"hello").await.unwrap(), b"hello");
    assert!(
        start.elapsed() >= Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn severing_resets_once() -> Result<()> {
    let proxy = Proxy::start(echo().await).await?;
    let mut before = TcpStream::connect(proxy.addr()).await.unwrap();
    ask(&mut before, b"hello").await.unwrap();
    proxy.sever().await?;
    assert_eq!(
        before.read_u8().await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let mut after = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut after, b"hello").await.unwrap(), b"hello");
    Ok(())
}

#[tokio::test]
async fn a_trigger_on_bytes_cuts_before_they_are_passed_on() -> Result<()> {
    let proxy = Proxy::start(echo().await).await?;
    proxy.cut_when(Trigger::bytes(|piece| piece.starts_with(b"secret")))?;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut stream, b"hello").await.unwrap(), b"hello");
    let cut = ask(&mut stream, b"secret").await.unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.counts().cuts, 1);
    let mut next = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut next, b"secret").await.unwrap(), b"secret");
    assert_eq!(proxy.counts().cuts, 1);
    assert!(
        proxy.cut_when(Trigger::complete("COMMIT")).is_err(),
        "it could never fire"
    );
    Ok(())
}

async fn through(server: &Server, proxy: &Proxy) -> Result<Client> {
    let url = server.url_through(proxy.addr());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn an_explicit_commit_is_cut_after_it_was_done_and_before_it_is_told() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    server.execute("CREATE TABLE t (n int)").await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    proxy.cut_when(Trigger::complete("COMMIT"))?;

    let mut client = through(&server, &proxy).await?;
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO t VALUES (1)", &[]).await?;
    let unknown = transaction.commit().await.unwrap_err();
    assert!(
        unknown.code().is_none(),
        "the server's word came through: {unknown}"
    );
    assert_eq!(proxy.counts().cuts, 1);
    assert_eq!(server.count("t").await?, 1);

    let mut client = through(&server, &proxy).await?;
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO t VALUES (2)", &[]).await?;
    transaction.commit().await?;
    assert_eq!(server.count("t").await?, 2);
    Ok(())
}

#[tokio::test]
async fn an_implicit_commit_is_cut_once_it_is_certain() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    // The commit itself fails for 13: the INSERT completes, and only the end of the transaction errs.
    server
        .execute(
            "CREATE TABLE t (n int);
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN IF NEW.n = 13 THEN RAISE unique_violation; END IF; RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    let client = through(&server, &proxy).await?;
    let insert = client.prepare("INSERT INTO t VALUES ($1)").await?;
    proxy.cut_when(Trigger::committed("INSERT"))?;

    let refused = client.execute(&insert, &[&13]).await.unwrap_err();
    assert_eq!(
        refused.code().map(tokio_postgres::error::SqlState::code),
        Some("23505")
    );
    assert_eq!((proxy.counts().cuts, server.count("t").await?), (0, 0));

    let unknown = client.execute(&insert, &[&1]).await.unwrap_err();
    assert!(
        unknown.code().is_none(),
        "the server's word came through: {unknown}"
    );
    assert_eq!((proxy.counts().cuts, server.count("t").await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_copy_is_cut_once_it_is_committed() -> Result<()> {
    use futures_util::SinkExt as _;
    let server = Server::start_new(Options::default()).await?;
    server.execute("CREATE TABLE t (n int)").await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    proxy.cut_when(Trigger::committed("COPY"))?;
    let client = through(&server, &proxy).await?;
    let sink = client
        .copy_in::<_, bytes::Bytes>("COPY t FROM STDIN")
        .await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::from_static(b"1\n2\n")).await?;
    let unknown = sink.finish().await.unwrap_err();
    assert!(
        unknown.code().is_none(),
        "the server's word came through: {unknown}"
    );
    assert_eq!((proxy.counts().cuts, server.count("t").await?), (1, 2));
    Ok(())
}

#[tokio::test]
async fn a_session_that_offers_tls_first_is_still_watched() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    proxy.cut_when(Trigger::complete("SELECT"))?;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream
        .write_all(&[0, 0, 0, 8, 4, 210, 22, 47])
        .await
        .unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N');
    let startup = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    stream
        .write_all(&u32::try_from(startup.len() + 4).unwrap().to_be_bytes())
        .await
        .unwrap();
    stream.write_all(startup).await.unwrap();
    stream.write_all(b"Q\0\0\0\rSELECT 1\0").await.unwrap();
    let mut heard = Vec::new();
    let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut heard))
        .await
        .unwrap();
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.counts().cuts, 1);
    Ok(())
}
