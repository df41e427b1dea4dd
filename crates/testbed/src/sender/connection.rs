//! One keep-alive connection of a sender: post, look at the answer, next.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use uuid::Uuid;

use super::{Report, Shared};
use crate::judge::BodyHash;
use crate::{Error, Result, http};

/// How long to leave a server alone that did not take a connection: a closed port answers at once, and
/// a sender that asked it again at once would only burn the processor that the test needs.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// What became of one request.
enum Answer {
    /// A 2xx, with the id and whether it was of a repeat.
    Acked { id: Uuid, duplicate: bool },
    /// Any other status.
    Refused(StatusCode),
    /// None.
    Nothing,
}

/// Sends until there is no further payload.
pub(super) async fn run(shared: Arc<Shared>) -> Report {
    let mut report = Report::default();
    let mut connection = None;
    while let Some(body) = shared.next_payload().await {
        let hash = BodyHash::of(&body);
        shared.judge.sending(hash);
        report.sent += 1;
        for retry in 0..=shared.sender.retries {
            if retry > 0 {
                tokio::time::sleep(shared.sender.retry_pause).await;
            }
            match attempt(&shared, &mut connection, body.clone()).await {
                Answer::Acked { id, duplicate } => {
                    shared.judge.acked(id, hash);
                    report.acked += 1;
                    report.duplicates += u64::from(duplicate);
                    break;
                }
                Answer::Refused(status) => {
                    *report.refused.entry(status.as_u16()).or_default() += 1;
                    if !(status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS) {
                        break;
                    }
                }
                Answer::Nothing => {
                    report.unanswered += 1;
                    connection = None;
                }
            }
        }
    }
    report
}

/// One request over the connection, which is opened first where there is none.
async fn attempt(
    shared: &Shared,
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    body: Bytes,
) -> Answer {
    let whole = async {
        let mut open = match connection.take() {
            Some(open) if !open.is_closed() => open,
            _ => http::connect(&shared.uri, shared.sender.tls.as_ref()).await?,
        };
        let answer = exchange(shared, &mut open, body).await?;
        Ok::<_, Error>((open, answer))
    };
    match tokio::time::timeout(shared.sender.timeout, whole).await {
        Ok(Ok((open, answer))) => {
            *connection = Some(open);
            answer
        }
        Ok(Err(_lost)) => {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            Answer::Nothing
        }
        Err(_late) => Answer::Nothing,
    }
}

async fn exchange(
    shared: &Shared,
    connection: &mut SendRequest<Full<Bytes>>,
    body: Bytes,
) -> Result<Answer> {
    let mut request = Request::post(http::path(&shared.uri))
        .header(HOST, http::host(&shared.uri)?)
        .header(CONTENT_TYPE, "application/json");
    if let Some(key) = &shared.key {
        let signature = STANDARD.encode(aws_lc_rs::hmac::sign(key, &body));
        request = request.header("X-Hub-Signature-256", format!("sha256={signature}"));
    }
    let broken = |error: &dyn std::fmt::Display| Error::Http(error.to_string());
    let request = request
        .body(Full::new(body))
        .map_err(|error| broken(&error))?;
    connection.ready().await.map_err(|error| broken(&error))?;
    let response = connection
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let status = response.status();
    // The 2xx is believed only with the whole answer: it has the id that the judge asks for.
    let answer = response
        .into_body()
        .collect()
        .await
        .map_err(|error| broken(&error))?
        .to_bytes();
    if !status.is_success() {
        return Ok(Answer::Refused(status));
    }
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    let field = |name: &str| answer.get(name).and_then(serde_json::Value::as_str);
    let id = field("id").and_then(|id| Uuid::parse_str(id).ok());
    // A 2xx without an id is an acknowledgement all the same. The nil id is at no destination, so the
    // judge will call it missing instead of overlooking it.
    Ok(Answer::Acked {
        id: id.unwrap_or(Uuid::nil()),
        duplicate: field("status") == Some("duplicate"),
    })
}
