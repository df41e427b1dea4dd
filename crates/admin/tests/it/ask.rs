//! Asking the listener's service in process.

use admin::{Access, AdminServer, Limits, Ports};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The answer as a problem with this status; gives its code and detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> (String, String) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        assert!(!problem["title"].as_str().unwrap().is_empty());
        let text = |name: &str| problem[name].as_str().unwrap().to_owned();
        (text("code"), text("detail"))
    }
}

/// The service, on loopback and without a token.
#[derive(Clone)]
pub(crate) struct Asker {
    router: axum::Router,
}

impl Asker {
    pub(crate) fn new(ports: Ports) -> Self {
        Self::with_limits(ports, Limits::default())
    }

    pub(crate) fn with_limits(ports: Ports, limits: Limits) -> Self {
        let access = Access::new("127.0.0.1:8081".parse().unwrap(), None).unwrap();
        Self {
            router: AdminServer::router(access, ports, limits),
        }
    }

    pub(crate) async fn request(&self, request: Request<Full<Bytes>>) -> Answer {
        let service = TowerToHyperService::new(self.router.clone());
        let (head, body) = Response::into_parts(service.call(request).await.unwrap());
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8081");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let body = Full::from(body.to_owned());
        self.request(request.body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// The JSON of a 200.
    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let answer = self.get(path).await;
            assert_eq!(answer.status, 200, "{place}: {path}: {answer:?}");
            answer.json()
        }
    }
}
