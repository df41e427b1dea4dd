//! Outbound messages of Open Messaging: signed, posted, and posted again as the real one does, until it gives up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

use super::open_messaging::Integration;
use super::state::Cloud;
use crate::{Error, Result};

const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(5);
/// The first and 5 more: with their timeouts and the pauses between them 85 s.
const ATTEMPTS: usize = 6;

/// A message that was sent, and how that went.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The integration.
    pub integration: String,
    /// The body, as it was sent.
    pub body: String,
    /// Each attempt in order: when it began, and how it ended.
    pub attempts: Vec<(Timestamp, Attempt)>,
}

impl Sent {
    /// Whether the receiver said 2xx. If not, the message is lost.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        let last = self.attempts.last();
        last.is_some_and(|(_, it)| matches!(it, Attempt::Answered(200..=299)))
    }
}

/// How an attempt to post a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// With this status.
    Answered(u16),
    /// With nothing, for 10 s.
    TimedOut,
    /// With a connection that could not be made, or broke. What Genesys does then is not documented: here it is tried
    /// again as after a 5xx.
    Broken(String),
}

impl Attempt {
    fn is_worth_another(&self) -> bool {
        match self {
            Self::Answered(status) => *status == 429 || *status >= 500,
            Self::TimedOut | Self::Broken(_) => true,
        }
    }
}

/// How connections to the receiver are made in memory.
#[derive(Clone)]
pub(super) struct Dial(pub(super) Arc<dyn Fn() -> DuplexStream + Send + Sync>);

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// Sends a message to an integration's webhook, to the end.
pub(super) async fn send(cloud: &Cloud, integration: &str, body: String) -> Result<Sent> {
    let mut sent = Sent {
        integration: integration.to_owned(),
        body,
        attempts: Vec::new(),
    };
    for number in 0..ATTEMPTS {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let (found, dial) = {
            let state = cloud.state();
            let found = state.integrations.find(integration).cloned();
            (found, state.dial.clone())
        };
        let Some(found) = found else {
            if number > 0 {
                break;
            }
            return Err(Error::Misuse(format!(
                "there is no integration {integration}"
            )));
        };
        let begun = cloud.clock.now();
        let posted = tokio::time::timeout(TIMEOUT, post(&found, &sent.body, dial)).await;
        let attempt = posted.unwrap_or(Ok(Attempt::TimedOut));
        let attempt = attempt.unwrap_or_else(|why| Attempt::Broken(why.to_string()));
        let again = attempt.is_worth_another();
        sent.attempts.push((begun, attempt));
        if !again {
            break;
        }
    }
    cloud.state().sent.push(sent.clone());
    Ok(sent)
}

type Why = Box<dyn std::error::Error + Send + Sync>;

async fn post(to: &Integration, body: &str, dial: Option<Dial>) -> Result<Attempt, Why> {
    let uri: Uri = to.url.parse()?;
    match dial {
        Some(dial) => exchange((dial.0)(), &uri, to, body).await,
        None if uri.scheme_str() == Some("http") => {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
            exchange(stream, &uri, to, body).await
        }
        None => Err("this fake has no TLS: give it a way by `post_messages_through`".into()),
    }
}

async fn exchange<S>(stream: S, uri: &Uri, to: &Integration, body: &str) -> Result<Attempt, Why>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let target = uri.path_and_query().map_or("/", |it| it.as_str());
    let authority = uri.authority().map_or("localhost", |it| it.as_str());
    let mut request = Request::post(target)
        .header("host", authority)
        .header("content-type", "application/json")
        .header("x-hub-signature-256", signature(&to.secret, body));
    for (name, value) in &to.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        Ok::<_, hyper::Error>(status)
    };
    tokio::pin!(answered, connection);
    // The connection is driven here, so that it ends with the attempt.
    let status = tokio::select! {
        status = &mut answered => status?,
        ended = &mut connection => {
            ended?;
            answered.await?
        }
    };
    Ok(Attempt::Answered(status))
}

/// `sha256=` and the HMAC-SHA256 of the body in base64.
fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    format!("sha256={}", STANDARD.encode(tag.as_ref()))
}
