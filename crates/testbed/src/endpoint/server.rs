//! The listener behind an endpoint: accepts, reads a request to its end, records it, and does as the script says.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::answer::Manner;
use super::{Answer, Desk, Received};
use crate::certificate::Files;
use crate::error::Doing;
use crate::{Error, Result};

const BACKLOG: u32 = 1024;

/// An accept loop with its connections, which end with it.
pub(super) struct Running {
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Running {
    pub(super) async fn start(
        addr: SocketAddr,
        desk: Arc<Desk>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self> {
        let listen = || {
            let socket = TcpSocket::new_v4()?;
            // Connections of an earlier run may still be closing on this port.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            socket.listen(BACKLOG)
        };
        let listener = listen().doing(|| format!("listen on {addr}"))?;
        let task = tokio::spawn(accept(listener, desk, tls.map(TlsAcceptor::from)));
        Ok(Self { task: Some(task) })
    }

    /// Returns when the port and all connections are closed.
    pub(super) async fn stop(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It was told to end: that it did is no news.
            let _ended = task.await;
        }
    }

    fn handle(&self) -> Option<AbortHandle> {
        self.task
            .as_ref()
            .map(tokio::task::JoinHandle::abort_handle)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = self.handle() {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that is gone again before it was accepted is not this server's trouble.
                let Ok((stream, _)) = accepted else { continue };
                let connection = {
                    let mut records = desk.records();
                    records.connections += 1;
                    records.connections - 1
                };
                let (desk, tls) = (Arc::clone(&desk), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, desk, connection).await,
                        // A client that does not trust this server says so to its own test.
                        Some(tls) => if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, desk, connection).await;
                        },
                    }
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn serve<S>(stream: S, desk: Arc<Desk>, connection: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { answer(request, &desk, connection).await }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is what tests look at from the other side.
    let _ended = server.serve_connection(TokioIo::new(stream), service).await;
}

/// A request that is whole and not yet answered.
struct UnderWay<'d>(&'d Desk);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.records().under_way -= 1;
    }
}

async fn answer(
    request: Request<Incoming>,
    desk: &Desk,
    connection: usize,
) -> io::Result<Response<BoxBody<Bytes, io::Error>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let (received, _under_way) = {
        let mut records = desk.records();
        let received = Received {
            number: records.received.len(),
            connection,
            version: head.version,
            method: head.method,
            path: crate::http::path(&head.uri).to_owned(),
            headers: head.headers,
            body,
        };
        records.received.push(received.clone());
        records.under_way += 1;
        records.most_under_way = records.most_under_way.max(records.under_way);
        (received, UnderWay(desk))
    };
    let script = {
        let script = desk.script.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&script)
    };
    let answer = script(&received);
    tokio::time::sleep(answer.delay).await;
    if let Some(gate) = &answer.gate {
        gate.passed().await;
    }
    match answer.manner {
        Manner::Hung => std::future::pending().await,
        Manner::Closed => Err(io::ErrorKind::ConnectionAborted.into()),
        Manner::Whole | Manner::Endless | Manner::Cut => response(answer),
    }
}

fn response(answer: Answer) -> io::Result<Response<BoxBody<Bytes, io::Error>>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let said = stream::iter([Ok(Frame::data(answer.body.clone()))]);
    let body = match answer.manner {
        Manner::Endless => BodyExt::boxed(StreamBody::new(said.chain(stream::pending()))),
        Manner::Cut => {
            // In a turn of its own: what stands before the break is to be seen.
            let broken = stream::once(async {
                tokio::task::yield_now().await;
                Err(io::ErrorKind::ConnectionAborted.into())
            });
            BodyExt::boxed(StreamBody::new(said.chain(broken)))
        }
        _ => Full::new(answer.body)
            .map_err(|never: Infallible| match never {})
            .boxed(),
    };
    response.body(body).map_err(io::Error::other)
}

/// A server's set-up that offers HTTP/2 before HTTP/1.1.
pub(super) fn tls(files: &Files) -> Result<Arc<rustls::ServerConfig>> {
    let failed = |what: &dyn std::fmt::Display| Error::Misuse(format!("cannot set up TLS: {what}"));
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
