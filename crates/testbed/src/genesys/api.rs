//! A connection's requests: faults first, then login, sockets' handshakes, and the API with its limits.

use std::sync::Arc;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{DATE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Answer, Body, Refusal, Said};
use super::fault::Fault;
use super::query::{Call, Caller};
use super::rate::{self, Standing};
use super::state::Cloud;
use super::{analytics, notifications, open_messaging, socket};

/// The largest body of a request, in bytes.
const BODY: usize = 512_000;

/// The connection is to break instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct Cut;

/// Serves one connection to its end.
pub(super) async fn connection<S>(cloud: Arc<Cloud>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| answer(Arc::clone(&cloud), request));
    // A connection that breaks is the client's to notice.
    let _ended = http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(cloud: Arc<Cloud>, mut request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    let fault = {
        let mut state = cloud.state();
        let target = request.uri().path_and_query();
        let target = target.map_or(path.as_str(), |it| it.as_str());
        state.remember(format!("{method} {target}"));
        state.faults.take(&method, &path)
    };
    match fault {
        Some(Fault::Cut) => return Err(Cut),
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Late(delay)) => tokio::time::sleep(delay).await,
        _ => {}
    }
    let mut response = if path.starts_with("/channels/") && forced(fault).is_none() {
        socket::handshake(&cloud, &mut request)
    } else {
        let context = cloud.state().ids.uuid().to_string();
        let answer = match read(&cloud, request).await {
            Some(Ok(call)) => handled(&cloud, &call, fault, &context),
            Some(Err(refusal)) => refusal.into_answer(&context),
            None => return Err(Cut),
        };
        let answer = answer.header("inin-correlation-id", &context);
        answer.into_response()
    };
    if fault == Some(Fault::CutAfterwards) {
        return Err(Cut);
    }
    if fault == Some(Fault::Garbage) {
        *response.body_mut() = "<html>bad gateway".into();
    }
    let date = cloud.clock.now();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(DATE, date);
    }
    Ok(response)
}

/// The call, read to its end; `None` when the client went away before that.
async fn read(cloud: &Cloud, request: Request<Incoming>) -> Option<Result<Call, Refusal>> {
    let (head, body) = request.into_parts();
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > BODY {
        return Some(Err(Refusal::too_large(BODY)));
    }
    let body = match Limited::new(body, BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Some(Err(Refusal::too_large(BODY)));
        }
        Err(_) => return None,
    };
    let query = head.uri.query().unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes());
    Some(Ok(Call {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: pairs.into_owned().collect(),
        headers: head.headers,
        body,
        now: cloud.clock.instant(),
    }))
}

/// What a fault makes of the answer, when it is one that answers.
fn forced(fault: Option<Fault>) -> Option<Said> {
    match fault? {
        Fault::TooManyRequests(wait) => Some(Err(rate::refusal(wait))),
        Fault::Status(status) => Some(Err(Refusal::forced(status))),
        Fault::Garbage => Some(Ok(Answer::empty(200))),
        Fault::Cut | Fault::CutAfterwards | Fault::Silent | Fault::Late(_) => None,
    }
}

fn handled(cloud: &Cloud, call: &Call, fault: Option<Fault>, context: &str) -> Answer {
    if call.path == "/oauth/token" && call.method == "POST" {
        return match forced(fault) {
            Some(said) => said.unwrap_or_else(|refusal| refusal.into_answer(context)),
            None => {
                let mut state = cloud.state();
                let state = &mut *state;
                state.clients.login(call, &mut state.ids)
            }
        };
    }
    let admitted = admitted(cloud, call);
    let standing = admitted.as_ref().ok().map(|(_, standing)| *standing);
    let said = match (forced(fault), admitted) {
        (Some(said), _) => said,
        (None, Err(refusal)) => Err(refusal),
        (None, Ok((caller, standing))) => {
            standing.check().and_then(|()| route(cloud, call, &caller))
        }
    };
    let answer = said.unwrap_or_else(|refusal| refusal.into_answer(context));
    match standing {
        Some(standing) => standing.put(answer),
        None => answer,
    }
}

/// Whose call it is, and how the token stands after it.
fn admitted(cloud: &Cloud, call: &Call) -> Result<(Caller, Standing), Refusal> {
    let token = call.authorization("Bearer").ok_or_else(Refusal::no_token)?;
    let mut state = cloud.state();
    let caller = state.clients.caller(token, call.now)?;
    let standing = state.rate.count(token, call.now);
    Ok((caller, standing))
}

fn route(cloud: &Cloud, call: &Call, caller: &Caller) -> Said {
    let path = call.path.strip_prefix("/api/v2/");
    let parts: Vec<&str> = path.ok_or_else(Refusal::not_found)?.split('/').collect();
    match parts.as_slice() {
        ["notifications", rest @ ..] => notifications::handle(cloud, call, caller, rest),
        ["analytics", "conversations", "details", rest @ ..] => {
            analytics::handle(cloud, call, caller, rest)
        }
        [
            "conversations",
            "messaging",
            "integrations",
            "open",
            rest @ ..,
        ] => open_messaging::handle(cloud, call, caller, rest),
        _ => Err(Refusal::not_found()),
    }
}
