//! A notification socket: its handshake, and the task that writes, beats and listens until it ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::answer::{Answer, Body, Refusal};
use super::outbox::{Item, Socket};
use super::state::Cloud;
use super::topic;

const HEARTBEAT: Duration = Duration::from_secs(30);
/// From `socket_closing` to the end.
const CLOSING: Duration = Duration::from_secs(60);
/// How long the client has to answer a close frame.
const FAREWELL: Duration = Duration::from_secs(5);
/// Items that are written before the client is listened to again.
const BATCH: usize = 256;
/// The longest message of a client, in bytes.
const MESSAGE: usize = 512_000;

/// Answers the handshake of `/channels/{id}`, and lets the socket run.
pub(super) fn handshake(cloud: &Arc<Cloud>, request: &mut Request<Incoming>) -> Response<Body> {
    match upgrade(cloud, request) {
        Ok(response) => response,
        Err(refusal) => {
            let context = cloud.state().ids.uuid().to_string();
            refusal.into_answer(&context).into_response()
        }
    }
}

fn upgrade(cloud: &Arc<Cloud>, request: &mut Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
    let has = |name: &str, word: &str| {
        header(name).is_some_and(|it| it.split(',').any(|it| it.trim().eq_ignore_ascii_case(word)))
    };
    if request.method() != "GET" || !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err(Refusal::bad_request("Expected a WebSocket handshake."));
    }
    if header("sec-websocket-version") != Some("13") {
        let refusal = Refusal::new(426, "bad.request", "Only WebSocket version 13 is spoken.");
        return Err(refusal.header("sec-websocket-version", &13));
    }
    let key = header("sec-websocket-key").filter(|it| it.len() == 24);
    let key = key.ok_or_else(|| Refusal::bad_request("Expected a Sec-WebSocket-Key."))?;
    let accept = derive_accept_key(key.as_bytes());

    let id = request.uri().path().trim_start_matches("/channels/");
    let socket = {
        let mut state = cloud.state();
        let now = cloud.clock.instant();
        let socket = state.channels.connect(id, now);
        let socket = socket.ok_or_else(Refusal::not_found)?;
        state.book.opened(socket.number, id, cloud.clock.now());
        socket
    };
    cloud.spawn(run(Arc::clone(cloud), socket, hyper::upgrade::on(request)));

    let mut response = Answer::empty(101).into_response();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(HeaderName::from_static("sec-websocket-accept"), accept);
    }
    Ok(response)
}

type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// How a socket comes to its end.
enum End {
    /// A close frame, for the client to answer.
    Frame(u16, String),
    /// The client closed it.
    Client,
    /// Without a word.
    Silent(&'static str),
}

async fn run(cloud: Arc<Cloud>, socket: Arc<Socket>, upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else {
        return gone(&cloud, &socket, "the client left during the handshake");
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .max_message_size(Some(MESSAGE));
    let stream = TokioIo::new(upgraded);
    let mut stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let end = tokio::select! {
        biased;
        why = socket.is_cut() => End::Silent(why),
        () = overdue(&socket) => End::Silent("closed, while the client did not read"),
        end = Session::new(&cloud, &socket, &mut stream).run() => end,
    };
    match end {
        End::Silent(why) => gone(&cloud, &socket, why),
        End::Client => {
            gone(&cloud, &socket, "the client closed it");
            // The answer to its close frame, which a client need not wait for.
            let _answered = timeout(FAREWELL, stream.flush()).await;
        }
        End::Frame(code, reason) => {
            gone(&cloud, &socket, "closed by a close frame");
            let frame = CloseFrame {
                code: code.into(),
                reason: reason.into(),
            };
            let farewell = async {
                stream.close(Some(frame)).await?;
                while stream.next().await.is_some_and(|it| it.is_ok()) {}
                Ok::<_, tungstenite::Error>(())
            };
            // A client that is gone, or never answers, has no use for more.
            let _heard = timeout(FAREWELL, farewell).await;
        }
    }
}

/// Resolves when the socket should have been closed in order, and was not: the client does not read.
async fn overdue(socket: &Socket) {
    socket.is_doomed().await;
    tokio::time::sleep(CLOSING + Duration::from_secs(1)).await;
}

fn gone(cloud: &Cloud, socket: &Socket, how: &'static str) {
    socket.closed();
    let mut state = cloud.state();
    state.channels.disconnected(socket);
    state.book.closed(socket.number, cloud.clock.now(), how);
    drop(state);
    cloud.written.notify_waiters();
}

struct Session<'a> {
    cloud: &'a Cloud,
    socket: &'a Socket,
    stream: &'a mut Stream,
    beats: Interval,
    beating: bool,
    close_at: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(cloud: &'a Cloud, socket: &'a Socket, stream: &'a mut Stream) -> Self {
        let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            cloud,
            socket,
            stream,
            beats,
            beating: true,
            close_at: None,
        }
    }

    async fn run(mut self) -> End {
        let mut more = false;
        loop {
            let expires = self.expires();
            let (at, close_at) = (Instant::now(), self.close_at);
            tokio::select! {
                biased;
                read = self.stream.next() => if let Some(end) = self.heard(read) {
                    return end;
                },
                () = sleep_until(close_at.unwrap_or(at)), if close_at.is_some() => {
                    return End::Frame(1000, "socket closing".to_owned());
                }
                () = sleep_until(expires.unwrap_or(at)), if expires.is_some() => {
                    // It ends this socket too, through its buffer.
                    self.cloud.state().channels.purge(Instant::now());
                }
                _ = self.beats.tick(), if self.beating => {
                    let body = json!({ "message": "WebSocket Heartbeat" });
                    let frame = topic::system_frame("channel.metadata", &body);
                    self.socket.push(Item::Message(Message::Text(frame)));
                }
                () = self.socket.woken(), if !more => {}
                () = std::future::ready(()), if more => {}
            }
            match self.write().await {
                Ok((None, left)) => more = left,
                Ok((Some(end), _)) => return end,
                Err(_) => return End::Silent("the client is gone"),
            }
        }
    }

    /// When the channel ends; `None` when it is gone and this socket has not been told.
    fn expires(&self) -> Option<Instant> {
        let state = self.cloud.state();
        state
            .channels
            .find(&self.socket.channel)
            .map(|it| it.expires)
    }

    fn heard(&self, read: Option<Result<Message, tungstenite::Error>>) -> Option<End> {
        match read {
            Some(Ok(Message::Text(text))) => {
                let reply = reply(self.cloud, &self.socket.channel, &text);
                self.socket
                    .push(Item::Message(Message::text(reply.to_string())));
                None
            }
            Some(Ok(Message::Close(_))) => Some(End::Client),
            Some(Ok(_)) => None,
            Some(Err(_)) | None => Some(End::Silent("the client is gone")),
        }
    }

    /// Writes a batch of items out. Says whether one of them is the end, and whether more wait.
    async fn write(&mut self) -> Result<(Option<End>, bool), tungstenite::Error> {
        let (items, more) = self.socket.take(BATCH);
        let (frames, bytes) = (items.len(), items.iter().map(Item::bytes).sum());
        if frames == 0 {
            return Ok((None, false));
        }
        let mut numbers = Vec::new();
        let mut end = None;
        for item in items {
            match item {
                Item::Event { number, text } => {
                    self.stream.feed(Message::Text(text)).await?;
                    numbers.push(number);
                }
                Item::Message(message) => self.stream.feed(message).await?,
                Item::Raw(raw) => {
                    self.flush(&mut numbers).await?;
                    self.stream.get_mut().write_all(&raw).await?;
                    self.stream.get_mut().flush().await?;
                }
                Item::Heartbeats(on) => {
                    self.beating = on;
                    self.beats.reset();
                }
                Item::CloseInAMinute => self.close_at = Some(Instant::now() + CLOSING),
                Item::End(code, reason) => end = Some(End::Frame(code, reason)),
                Item::Break => end = Some(End::Silent("broken off")),
                Item::Hang => {
                    self.flush(&mut numbers).await?;
                    self.socket.hang();
                    std::future::pending::<()>().await;
                }
            }
        }
        self.flush(&mut numbers).await?;
        self.socket.done(frames, bytes);
        self.cloud.written.notify_waiters();
        Ok((end, more))
    }

    /// What was fed is on the connection, and the book says so.
    async fn flush(&mut self, numbers: &mut Vec<u64>) -> Result<(), tungstenite::Error> {
        self.stream.flush().await?;
        if !numbers.is_empty() {
            let mut state = self.cloud.state();
            state.book.written(self.socket.number, numbers);
            numbers.clear();
        }
        Ok(())
    }
}

/// What the cloud says to a client's message.
fn reply(cloud: &Cloud, channel: &str, text: &str) -> Value {
    let bad = |status: &str| json!({ "result": "400", "status": status });
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return bad("malformed message");
    };
    let of = |name: &str| message.get(name);
    let mut reply = match of("message").and_then(Value::as_str) {
        Some("ping") => {
            return json!({ "topicName": "channel.metadata", "eventBody": { "message": "pong" } });
        }
        Some("subscribe") => match topics(of("topics")) {
            Some(topics) => cloud.subscribe_in_band(channel, &topics),
            None => bad("topics must be a list of texts"),
        },
        _ => bad("unknown message"),
    };
    if let (Some(id), Some(fields)) = (of("correlationId"), reply.as_object_mut()) {
        fields.insert("correlationId".to_owned(), id.clone());
    }
    reply
}

fn topics(list: Option<&Value>) -> Option<Vec<String>> {
    let texts = list?.as_array()?.iter();
    texts.map(|it| it.as_str().map(str::to_owned)).collect()
}
