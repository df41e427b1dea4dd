//! A stand-in for the `forebay` binary, for the testbed's own tests alone.
//!
//! It has the same outside as far as the testbed looks at it: flags, ports, `/readyz`, `/metrics`,
//! `/api/v1/status`, acknowledgements that are synced first, exit codes. And it can be told to lie, so
//! that the judge can be seen to notice. The configuration is one word: `honest`, `lossy` (every tenth
//! event is acknowledged and not stored), `altering`, `doubling`, `inventing`, or `broken`, which exits
//! with code 2.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
struct Server {
    mode: String,
    log: Mutex<Log>,
    failed: Notify,
}

/// Where events are kept: a line each, id and body in base64.
#[derive(Debug)]
struct Log {
    file: File,
    accepted: usize,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) != Some("serve") {
        let url = std::env::var("FOREBAY_ADMIN_URL").unwrap_or_default();
        println!("{} {url}", args.get(1..).unwrap_or_default().join(" "));
        return Ok(ExitCode::from(3));
    }
    let flags: HashMap<&str, &str> = args
        .get(2..)
        .unwrap_or_default()
        .chunks_exact(2)
        .filter_map(|pair| Some((pair.first()?.as_str(), pair.get(1)?.as_str())))
        .collect();
    let flag = |name: &str| {
        flags
            .get(name)
            .copied()
            .ok_or_else(|| format!("{name} is missing"))
    };
    let mode = std::fs::read_to_string(flag("--config")?)?;
    eprintln!("mode {mode}, greeting {:?}", std::env::var("GREETING").ok());
    if mode == "broken" {
        return Ok(ExitCode::from(2));
    }
    let data = flag("--data-dir")?;
    std::fs::create_dir_all(data)?;
    let path = format!("{data}/log");
    let accepted = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .count();
    let file = File::options().create(true).append(true).open(path)?;
    let log = Mutex::new(Log { file, accepted });
    let server = Arc::new(Server {
        mode,
        log,
        failed: Notify::new(),
    });
    // Before it is ready: who sees it ready may terminate it.
    let mut terminated = signal(SignalKind::terminate())?;
    for listener in ["--listen", "--admin"] {
        let listener = TcpListener::bind(flag(listener)?.parse::<SocketAddr>()?).await?;
        tokio::spawn(listen(listener, Arc::clone(&server)));
    }
    tokio::select! {
        _ = terminated.recv() => Ok(ExitCode::SUCCESS),
        () = server.failed.notified() => Ok(ExitCode::FAILURE),
    }
}

async fn listen(listener: TcpListener, server: Arc<Server>) {
    while let Ok((stream, _)) = listener.accept().await {
        let server = Arc::clone(&server);
        let service = service_fn(move |request| answer(Arc::clone(&server), request));
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::POST, _) => {
            let signature = request.headers().get("x-hub-signature-256").cloned();
            let body = request.into_body().collect().await?.to_bytes();
            let expected = testbed::sender::genesys_signature(b"secret", &body);
            if signature.is_some_and(|signature| signature != expected.as_str()) {
                (StatusCode::UNAUTHORIZED, String::new())
            } else {
                server.accept(&body)
            }
        }
        (_, "/api/v1/status") => (
            StatusCode::OK,
            format!(r#"{{"accepted":{}}}"#, server.accepted()),
        ),
        (_, "/metrics") => {
            let accepted = server.accepted();
            (
                StatusCode::OK,
                format!("forebay_events_accepted_total{{source=\"default\"}} {accepted}\n"),
            )
        }
        (_, "/readyz") => (StatusCode::OK, String::new()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    Ok(Response::builder()
        .status(status)
        .body(Full::new(Bytes::from(text)))?)
}

impl Server {
    fn accepted(&self) -> usize {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .accepted
    }

    fn accept(&self, body: &[u8]) -> (StatusCode, String) {
        let id = Uuid::new_v4();
        match self.store(id, body) {
            Ok(()) => (
                StatusCode::OK,
                format!(r#"{{"id":"{id}","status":"accepted"}}"#),
            ),
            Err(error) => {
                eprintln!("cannot sync: {error}");
                self.failed.notify_one();
                (StatusCode::SERVICE_UNAVAILABLE, String::new())
            }
        }
    }

    fn store(&self, id: Uuid, body: &[u8]) -> std::io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.accepted += 1;
        let line = |id: Uuid, body: &[u8]| format!("{id} {}\n", STANDARD.encode(body));
        let own = line(id, body);
        let lines = match (self.mode.as_str(), log.accepted % 10) {
            ("lossy", 0) => String::new(),
            ("altering", 0) => line(id, &body.to_ascii_uppercase()),
            ("doubling", 0) => own.repeat(2),
            ("inventing", 0) => own + &line(Uuid::new_v4(), b"made up"),
            _ => own,
        };
        log.file.write_all(lines.as_bytes())?;
        log.file.sync_data()
    }
}
