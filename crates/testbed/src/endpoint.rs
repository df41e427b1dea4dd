//! An HTTP endpoint that answers as the test says and keeps what it got.
//!
//! HTTP/1.1 on a free port of its own. It can go away and come back on the same port.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Result;
use crate::error::Doing;
use crate::port::Lease;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its headers, names in lower case, in the order they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Bytes,
}

impl Received {
    /// The first value of a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// What the endpoint does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers with this status and these headers.
    Status(u16, Vec<(String, String)>),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
}

impl Answer {
    /// A status alone.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Status(status, Vec::new())
    }
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

struct Shared {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
}

/// The endpoint. Dropping it ends it.
pub struct Endpoint {
    port: Lease,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Endpoint {
    /// One that answers 200 to everything.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let mut endpoint = Self {
            port: Lease::take()?,
            shared: Arc::new(Shared {
                script: Mutex::new(Box::new(|_| Answer::status(200))),
                received: Mutex::default(),
            }),
            tasks: JoinSet::new(),
        };
        endpoint.start_again().await?;
        Ok(endpoint)
    }

    /// Comes back on the same port.
    ///
    /// # Errors
    ///
    /// When somebody else has the port.
    pub async fn start_again(&mut self) -> Result<()> {
        let addr = self.port.addr();
        let listener = TcpListener::bind(addr).await;
        let listener = listener.doing(|| format!("listen on {addr}"))?;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(serve(listener, shared));
        Ok(())
    }

    /// Goes away: its port refuses, and its connections are cut.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// From now on answers as `script` says.
    pub fn answer_with(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// Every request so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.addr())
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Ends with the set: so do all connections when this task is ended.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // A connection that broke off is the client's doing, or the script's.
    drop(served);
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> std::io::Result<Response<Full<Bytes>>> {
    let broken = || std::io::Error::other("closed as the test asked");
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| broken())?.to_bytes();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let received = Received {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: headers.collect(),
        body,
    };
    let answer = (lock(&shared.script))(&received);
    lock(&shared.received).push(received);
    match answer {
        Answer::Status(status, headers) => {
            let mut response = Response::new(Full::new(Bytes::from_static(b"answered")));
            *response.status_mut() = StatusCode::from_u16(status).map_err(|_| broken())?;
            for (name, value) in headers {
                let name = hyper::header::HeaderName::try_from(name).map_err(|_| broken())?;
                let value = hyper::header::HeaderValue::try_from(value).map_err(|_| broken())?;
                response.headers_mut().insert(name, value);
            }
            Ok(response)
        }
        Answer::Hang => std::future::pending().await,
        Answer::Close => Err(broken()),
    }
}
