//! The listener on a real socket: its limits, its token, and its end.

use std::sync::Arc;
use std::time::Duration;

use admin::{Access, AdminServer, Limits, ServeError};
use domain::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fakes::{World, event, id, route};

/// No wait of a test that passes takes this long.
const DEADLINE: Duration = Duration::from_secs(60);

struct Server {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    world: Arc<World>,
}

async fn serve(token: Option<&str>, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = token.map(|token| Secret::new(token.into()));
    let access = Access::new(address, token.as_ref()).unwrap();
    let world = Arc::new(World::default());
    world.routes.lock().unwrap().push(route("r", &["a"]));
    world.events.lock().unwrap().push(event(1, "a", "x"));
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(AdminServer::serve_within(
        limits,
        listener,
        access,
        world.ports(),
        shutdown.clone(),
    ));
    Server {
        address,
        shutdown,
        serving,
        world,
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request that ends its connection, and gives what comes back.
    async fn ask(&self, path: &str, headers: &str) -> String {
        let mut stream = self.connect().await;
        let head = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }
}

/// What comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut text)).await;
    // A reset instead of an end is an end, too.
    let _ = read.expect("the server neither answers nor closes");
    String::from_utf8(text).unwrap()
}

async fn ended(server: Server) {
    let ended = tokio::time::timeout(DEADLINE, server.serving).await;
    ended.expect("the server does not end").unwrap().unwrap();
}

#[tokio::test]
async fn a_token_opens_everything_and_without_it_only_the_probes_answer() {
    let server = serve(Some("s3cret"), Limits::default()).await;
    let host = "host: forebay.example\r\n";
    let bearer = "host: forebay.example\r\nauthorization: Bearer s3cret\r\n";
    for path in [
        "/",
        "/metrics",
        "/api/v1/status",
        "/api/openapi.json",
        "/nothing",
    ] {
        let answer = server.ask(path, host).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        assert!(
            answer.contains("www-authenticate: Bearer"),
            "{path}: {answer}"
        );
        assert!(
            answer.contains("\"code\":\"unauthorized\""),
            "{path}: {answer}"
        );
        assert!(!server.ask(path, bearer).await.starts_with("HTTP/1.1 401"));
    }
    for path in ["/healthz", "/readyz"] {
        assert!(server.ask(path, host).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn rules_made_for_loopback_are_refused_elsewhere() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let access = Access::new("127.0.0.1:1".parse().unwrap(), None).unwrap();
    let ports = Arc::new(World::default()).ports();
    let served = AdminServer::serve(listener, access, ports, CancellationToken::new()).await;
    let error = served.unwrap_err();
    assert!(matches!(error, ServeError::Open(_)), "{error}");
    assert!(error.to_string().contains("server.admin_token"), "{error}");
}

#[tokio::test]
async fn told_to_end_it_answers_what_is_under_way_and_takes_no_more() {
    let server = serve(None, Limits::default()).await;
    *server.world.stuck.lock().unwrap() = true;
    let mut stream = server.connect().await;
    let head = format!(
        "GET /api/v1/events/{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        id(1)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    server.world.waiting().await;
    server.shutdown.cancel();
    assert!(
        rest(&mut idle).await.ends_with("\r\n\r\nok\n"),
        "an idle connection is closed"
    );
    server.world.free();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let address = server.address;
    ended(server).await;
    assert!(
        TcpStream::connect(address).await.is_err(),
        "it still listens"
    );
}

#[tokio::test]
async fn what_does_not_end_by_the_deadline_is_cut() {
    let limits = Limits {
        drain: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = serve(None, limits).await;
    *server.world.stuck.lock().unwrap() = true;
    let mut stream = server.connect().await;
    let head = format!(
        "GET /api/v1/events/{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        id(1)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    server.world.waiting().await;
    server.shutdown.cancel();
    assert_eq!(rest(&mut stream).await, "", "cut, not answered");
    ended(server).await;
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_is_cut_and_makes_room() {
    let limits = Limits {
        connections: 1,
        header_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = serve(None, limits).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HTT").await.unwrap();
    let mut silent = server.connect().await;
    let answer = server.ask("/healthz", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!rest(&mut slow).await.contains("200 OK"));
    assert!(!rest(&mut silent).await.contains("200 OK"));
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let server = serve(None, Limits::default()).await;
    let large = format!("host: localhost\r\nx-large: {}\r\n", "x".repeat(300_000));
    let answer = server.ask("/healthz", &large).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let fits = format!("host: localhost\r\nx-large: {}\r\n", "x".repeat(30_000));
    assert!(server.ask("/healthz", &fits).await.contains("200 OK"));
}

/// More than the system keeps for a client that reads nothing.
const LARGE: usize = 48 << 20;

/// A listener that lets one request at a time read events: a large one, and a small one behind it.
async fn with_a_large_event(limits: Limits) -> Server {
    let limits = Limits {
        looking_back: 1,
        ..limits
    };
    let server = serve(None, limits).await;
    let large = vec![b'x'; LARGE];
    *server.world.events.lock().unwrap() = vec![event(1, "a", large), event(2, "a", "y")];
    server
}

/// Asks for an event, and does not read what comes.
async fn ask_for(server: &Server, seq: u64) -> TcpStream {
    let mut stream = server.connect().await;
    let id = id(seq);
    let head =
        format!("GET /api/v1/events/{id} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// What was read is in memory until the client has taken it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_to_read_events_lasts_until_the_client_has_taken_the_answer() {
    let long = Duration::from_hours(1);
    let server = with_a_large_event(Limits {
        write_timeout: long,
        request_timeout: long,
        ..Limits::default()
    })
    .await;
    let mut slow = ask_for(&server, 1).await;
    let mut begun = [0; 12];
    slow.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let mut next = ask_for(&server, 2).await;
    // Time enough to be answered, for whoever does not wait for a turn.
    for _ in 0..20 {
        assert!(server.ask("/healthz", "").await.starts_with("HTTP/1.1 200"));
    }
    let answered = next.try_read(&mut begun).map_err(|error| error.kind());
    assert_eq!(answered, Err(std::io::ErrorKind::WouldBlock));
    assert!(rest(&mut slow).await.len() > LARGE);
    assert!(rest(&mut next).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_and_makes_room() {
    let server = with_a_large_event(Limits {
        write_timeout: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let mut slow = ask_for(&server, 1).await;
    let mut begun = [0; 12];
    slow.read_exact(&mut begun).await.unwrap();
    let mut next = ask_for(&server, 2).await;
    assert!(rest(&mut next).await.starts_with("HTTP/1.1 200"));
    assert!(rest(&mut slow).await.len() < LARGE, "it was cut");
}
