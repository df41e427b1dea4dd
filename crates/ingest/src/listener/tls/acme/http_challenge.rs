//! The answers to an authority that asks by plain HTTP whether a domain is ours (HTTP-01; RFC 8555, 8.3), and the port
//! that answers nothing else.
//!
//! What an order under way is to show is told to whoever asks: it is of no use to anybody else. A webhook is refused and
//! not redirected, because a sender that followed would go on showing its events to everybody on the way. The port is as
//! well guarded as that of ingest, with limits of its own: who holds it takes nothing from senders.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::super::Tls;
use crate::answer::{self, Answer};
use crate::limits::Limits;
use crate::listener::{Connection, Front, Handler, Listener, Proxies};
use crate::metrics::{AtTheConnection, Metrics};

/// Where an authority looks (RFC 8555, 8.3).
const PATH: &str = "/.well-known/acme-challenge/";

/// An authority asks from a handful of addresses, once for each domain.
const LIMITS: Limits = Limits {
    connections: 1_000,
    connections_per_address: 16,
    header_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(10),
    min_body_rate: 512,
    header_bytes: 8 << 10,
    in_flight_bytes: 16 << 20,
    streams: 8,
    dedup_keys: 0,
};

/// What is to be answered at present, by token: one for each domain at most.
#[derive(Debug, Default)]
pub(in super::super) struct HttpChallenges(Mutex<HashMap<String, Bytes>>);

impl HttpChallenges {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answer(&self, token: &str, proof: &str) {
        let proof = Bytes::copy_from_slice(proof.as_bytes());
        self.all().insert(token.into(), proof);
    }

    /// Nothing is to be answered any more.
    pub(super) fn clear(&self) {
        self.all().clear();
    }

    fn of(&self, token: &str) -> Option<Bytes> {
        self.all().get(token).cloned()
    }
}

/// What answers at the port.
struct Port {
    tls: Arc<Tls>,
    refusals: AtTheConnection,
}

impl Port {
    fn answer(&self, method: &Method, path: &str) -> Answer {
        let Some(token) = path.strip_prefix(PATH) else {
            self.refusals.plain_http.inc();
            let detail = "this port answers certificate authorities alone: send events by https";
            return answer::problem(StatusCode::BAD_REQUEST, "https-expected", detail);
        };
        if method != Method::GET && method != Method::HEAD {
            let detail = "a challenge is fetched: use GET";
            return answer::problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        }
        match self.tls.http_challenges().and_then(|all| all.of(token)) {
            Some(proof) => answer::text(StatusCode::OK, proof),
            None => {
                let detail = "no order that is under way has this token";
                answer::problem(StatusCode::NOT_FOUND, "no-such-challenge", detail)
            }
        }
    }
}

impl Handler for Port {
    async fn handle(connection: Arc<Connection<Self>>, request: Request<Incoming>) -> Answer {
        let mut answer = connection
            .handler
            .answer(request.method(), request.uri().path());
        // Nobody has more than one thing to ask here.
        if request.version() < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }
}

impl Tls {
    /// Answers an authority's HTTP-01 challenges at a bound socket, and refuses all else.
    /// Must be called within a tokio runtime, and before the listener that TLS is of: that one begins to fetch.
    ///
    /// # Errors
    /// When the socket does not know its address: it is not bound.
    pub fn answer_challenges(
        self: &Arc<Self>,
        socket: TcpListener,
        proxies: Arc<Proxies>,
        metrics: &Metrics,
    ) -> io::Result<Listener> {
        let port = Port {
            tls: Arc::clone(self),
            refusals: metrics.at_the_connection(),
        };
        let front = Front { tls: None, proxies };
        Listener::start(socket, &LIMITS, front, metrics, Arc::new(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_for_until_its_order_is_over() {
        let challenges = HttpChallenges::default();
        challenges.answer("token", "token.thumbprint");
        assert_eq!(challenges.of("token").unwrap(), "token.thumbprint");
        assert_eq!(challenges.of("toke"), None);
        challenges.clear();
        assert_eq!(challenges.of("token"), None);
    }
}
