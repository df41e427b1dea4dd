//! Tests of the fake itself, which keep it honest. All run in memory under a paused clock, but for one over TCP.

mod analytics;
mod api;
mod open_messaging;
mod sockets;
mod subscriptions;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::GenesysCloud;

/// What the cloud answered.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// A cloud and one who calls it.
struct Caller {
    cloud: GenesysCloud,
    token: String,
}

impl Caller {
    /// Of a client with all permissions, logged in.
    async fn new() -> Self {
        let cloud = GenesysCloud::in_memory();
        let _client = cloud.client("id", "secret");
        Self::of(&cloud, "id").await
    }

    /// Logged in as this client, whose secret is `secret`.
    async fn of(cloud: &GenesysCloud, id: &str) -> Self {
        let token = login(cloud, id, "secret")
            .await
            .text("access_token")
            .to_owned();
        let cloud = cloud.clone();
        Self { cloud, token }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        self.try_call(method, path, body).await.unwrap()
    }

    /// `None` when the connection breaks without an answer.
    async fn try_call(&self, method: &str, path: &str, body: Value) -> Option<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        send(&self.cloud, request, body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, body).await
    }

    /// A new channel's id.
    async fn channel(&self) -> String {
        let reply = self
            .post("/api/v2/notifications/channels", Value::Null)
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.text("id").to_owned()
    }

    async fn subscribe(&self, channel: &str, topics: &[&str]) -> Reply {
        let body: Vec<Value> = topics.iter().map(|id| json!({ "id": id })).collect();
        self.post(&subscriptions(channel), body.into()).await
    }

    async fn head(&self, channel: &str) -> u16 {
        let path = format!("/api/v2/notifications/channels/{channel}");
        self.call("HEAD", &path, Value::Null).await.status
    }

    /// A channel with a socket and these topics.
    async fn listening(&self, topics: &[&str]) -> (String, Socket) {
        let channel = self.channel().await;
        self.subscribe(&channel, topics).await;
        let socket = Socket::open(&self.cloud, &channel).await.unwrap();
        (channel, socket)
    }
}

fn subscriptions(channel: &str) -> String {
    format!("/api/v2/notifications/channels/{channel}/subscriptions")
}

async fn login(cloud: &GenesysCloud, id: &str, secret: &str) -> Reply {
    let basic = STANDARD.encode(format!("{id}:{secret}"));
    let request = Request::builder()
        .method("POST")
        .uri("/oauth/token")
        .header("host", "localhost")
        .header("authorization", format!("Basic {basic}"))
        .header("content-type", "application/x-www-form-urlencoded");
    send(cloud, request, "grant_type=client_credentials".to_owned())
        .await
        .unwrap()
}

async fn send(
    cloud: &GenesysCloud,
    request: hyper::http::request::Builder,
    body: String,
) -> Option<Reply> {
    let (mut sender, connection) = handshake(TokioIo::new(cloud.connect())).await.ok()?;
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let driven = tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    driven.abort();
    Some(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// What came over a socket.
#[derive(Debug, PartialEq)]
enum Came {
    Frame(Value),
    /// A frame that is no JSON text.
    Other(Message),
    /// A close frame.
    Closed(u16),
    /// The end without one, or a fault of the protocol.
    Broken,
    /// Nothing, for as long as was waited.
    Nothing,
}

impl Came {
    fn topic(&self) -> &str {
        match self {
            Self::Frame(frame) => frame["topicName"].as_str().unwrap_or_default(),
            _ => "",
        }
    }
}

/// A client's end of a notification socket.
struct Socket(WebSocketStream<DuplexStream>);

impl Socket {
    /// Or the status of the refusal.
    async fn open(cloud: &GenesysCloud, channel: &str) -> Result<Self, u16> {
        let uri = format!("ws://localhost/channels/{channel}");
        match client_async(uri, cloud.connect()).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn say(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// The next thing that is no heartbeat, within 10 min.
    async fn next(&mut self) -> Came {
        loop {
            match self.within(Duration::from_secs(600)).await {
                Came::Frame(frame) if frame["eventBody"]["message"] == "WebSocket Heartbeat" => {}
                other => return other,
            }
        }
    }

    /// The next thing.
    async fn within(&mut self, time: Duration) -> Came {
        let Ok(read) = tokio::time::timeout(time, self.0.next()).await else {
            return Came::Nothing;
        };
        match read {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text)
                .map_or_else(|_| Came::Other(Message::Text(text)), Came::Frame),
            Some(Ok(Message::Close(frame))) => Came::Closed(frame.map_or(0, |it| it.code.into())),
            Some(Ok(other)) => Came::Other(other),
            Some(Err(_)) | None => Came::Broken,
        }
    }
}
