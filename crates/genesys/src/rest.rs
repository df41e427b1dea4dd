//! HTTP over whatever [`Dial`] opens: one request, one answer, within limits.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::dial::{Dial, Place, Stream};

/// An answer must be there within this, connecting included.
const LIMIT: Duration = Duration::from_secs(30);

/// The largest answer: a page of conversations has some megabytes.
const ANSWER: usize = 64 << 20;

/// Idle connections are closed before the other side does it.
const IDLE: Duration = Duration::from_secs(30);

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Sends requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    client: Client<Connector, Full<Bytes>>,
}

impl Rest {
    pub(crate) fn new(dial: Arc<dyn Dial>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(Connector { dial });
        Self { client }
    }

    /// Sends one request and reads its answer whole. Dropping the call gives the request up; it may have arrived.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let exchange = async {
            let answer = self.client.request(request).await;
            let (head, body) = answer.map_err(|error| in_words(&error))?.into_parts();
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        let answer = tokio::time::timeout(LIMIT, exchange).await;
        answer.unwrap_or_else(|_| Err(format!("nothing within {} s", LIMIT.as_secs())))
    }
}

/// The innermost error says what happened.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// What hyper asks for connections.
#[derive(Debug, Clone)]
struct Connector {
    dial: Arc<dyn Dial>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Link;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = Arc::clone(&self.dial);
        Box::pin(async move {
            let place = Place::of(&uri).ok_or_else(|| io::Error::other("no place in the URI"))?;
            Ok(Link(TokioIo::new(dial.dial(&place).await?)))
        })
    }
}

/// A connection as hyper wants it.
struct Link(TokioIo<Box<dyn Stream>>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
