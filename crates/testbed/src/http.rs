//! One HTTP/1.1 request over one connection, for what a test asks a server.
//!
//! Plain HTTP to this machine only; no redirects, no pool. The sender, which needs speed, keeps connections of its own,
//! and may keep them within TLS.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::error::Doing;
use crate::{Error, Result, tls};

const TIMEOUT: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// When it is not JSON; the error shows the status and the body.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Http(format!("{error} in {}: {}", self.status, self.text())))
    }
}

/// GETs `url`, which must start with `http://`.
///
/// # Errors
///
/// When the server is not there, breaks off, or does not answer within 30 s. A status is no error.
pub async fn get(url: &str) -> Result<Response> {
    request(Method::GET, url, &[], Bytes::new()).await
}

/// POSTs `body` to `url` with these header fields.
///
/// # Errors
///
/// As [`get`].
pub async fn post(url: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Response> {
    request(Method::POST, url, headers, body).await
}

/// Any request.
///
/// # Errors
///
/// As [`get`].
pub async fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Response> {
    let uri: Uri = url
        .parse()
        .map_err(|error| Error::Http(format!("{error}: {url}")))?;
    let mut request = Request::builder()
        .method(method)
        .uri(path(&uri))
        .header(HOST, host(&uri)?);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(body))
        .map_err(|error| Error::Http(format!("{error}: {url}")))?;
    let whole = async {
        let mut connection = connect(&uri, None).await?;
        let answer = connection.send_request(request).await;
        let (parts, body) = answer.map_err(|error| failed(url, &error))?.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| failed(url, &error))?
            .to_bytes();
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    };
    tokio::time::timeout(TIMEOUT, whole)
        .await
        .map_err(|_late| Error::Http(format!("{url}: no answer in {}s", TIMEOUT.as_secs())))?
}

/// Opens a connection, within TLS if there is a client of it, which ends when the returned half is dropped.
pub(crate) async fn connect(
    uri: &Uri,
    tls: Option<&tls::Client>,
) -> Result<SendRequest<Full<Bytes>>> {
    let host = host(uri)?;
    let stream = TcpStream::connect(&host)
        .await
        .doing(|| format!("connect to {host}"))?;
    stream.set_nodelay(true).doing(|| "set TCP_NODELAY")?;
    match tls {
        None => begin(&host, stream).await,
        Some(tls) => begin(&host, tls.over(stream).await?).await,
    }
}

async fn begin(
    host: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| failed(host, &error))?;
    // Its error is told to the request in flight as well, so it is not lost here.
    tokio::spawn(async move { connection.await.is_ok() });
    Ok(sender)
}

/// `host:port` of a URL.
pub(crate) fn host(uri: &Uri) -> Result<String> {
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or_else(|| Error::Http(format!("not an http:// URL: {uri}")))?;
    Ok(format!(
        "{}:{}",
        authority.host(),
        authority.port_u16().unwrap_or(80)
    ))
}

/// Path and query of a URL.
pub(crate) fn path(uri: &Uri) -> &str {
    uri.path_and_query()
        .map_or("/", hyper::http::uri::PathAndQuery::as_str)
}

fn failed(url: &str, error: &hyper::Error) -> Error {
    Error::Http(format!("{url}: {error}"))
}
