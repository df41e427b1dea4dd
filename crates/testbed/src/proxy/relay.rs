//! One connection through the proxy: two directions, each read, judged and passed on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::trigger::{Verdict, Watch};
use super::wire::{Framer, Opening, opening};
use super::{Mode, Shared, State};

const PIECE: usize = 64 * 1024;

/// A socket that is reset when it is dropped, unless both sides had finished before.
pub(super) struct Socket {
    stream: TcpStream,
    finished: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            finished: false,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.finished {
            // Without it the peer would see an orderly end, which no crash and no cut cable gives it.
            let _gone_already = self.stream.set_zero_linger();
        }
    }
}

/// What makes a relay of a connection; one copy for each.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    pub(super) server: SocketAddr,
    pub(super) speaks_postgres: bool,
    pub(super) shared: Arc<Shared>,
}

/// A direction ended other than by its sender's finishing: a side is gone, or a trigger said so. Both
/// sockets are then reset.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Relay {
    /// Relays until both sides have finished or one is gone. Dropping the future resets both.
    pub(super) async fn run(self, client: TcpStream, state: watch::Receiver<State>) {
        let mut client = Socket::new(client);
        if state.borrow().mode == Mode::Hang {
            swallow(&mut client.stream).await;
            return;
        }
        let Ok(server) = TcpStream::connect(self.server).await else {
            return;
        };
        let mut server = Socket::new(server);
        let nodelay = client
            .stream
            .set_nodelay(true)
            .and(server.stream.set_nodelay(true));
        if nodelay.is_err() {
            return;
        }
        let relayed = self
            .both_ways(&mut client.stream, &mut server.stream, &state)
            .await;
        let finished = relayed.is_ok();
        client.finished = finished;
        server.finished = finished;
    }

    async fn both_ways(
        &self,
        client: &mut TcpStream,
        server: &mut TcpStream,
        state: &watch::Receiver<State>,
    ) -> Result<(), Broken> {
        let (mut from_client, to_client) = client.split();
        let (mut from_server, to_server) = server.split();
        let mut up = Way {
            to: to_server,
            state,
            passed: &self.shared.to_server,
        };
        let mut down = Way {
            to: to_client,
            state,
            passed: &self.shared.to_client,
        };
        let readable = self.speaks_postgres
            && open_session(&mut from_client, &mut up, &mut from_server, &mut down).await?;
        let upward = async {
            pump(&mut from_client, &mut up).await?;
            Ok(up.to.shutdown().await?)
        };
        let downward = async {
            if readable {
                self.pump_messages(&mut from_server, &mut down).await?;
            } else {
                self.pump_bytes(&mut from_server, &mut down).await?;
            }
            Ok(down.to.shutdown().await?)
        };
        tokio::try_join!(upward, downward).map(|((), ())| ())
    }

    async fn pump_bytes(&self, from: &mut ReadHalf<'_>, to: &mut Way<'_>) -> Result<(), Broken> {
        let mut buffer = vec![0; PIECE];
        while let Some(piece) = read(from, &mut buffer).await? {
            if self.shared.armed.cuts_before(piece) {
                return Err(Broken);
            }
            to.pass(piece).await?;
        }
        Ok(())
    }

    async fn pump_messages(&self, from: &mut ReadHalf<'_>, to: &mut Way<'_>) -> Result<(), Broken> {
        let mut buffer = vec![0; PIECE];
        let mut framer = Framer::default();
        let mut watch = Watch::default();
        let mut withheld = Vec::new();
        while let Some(piece) = read(from, &mut buffer).await? {
            if self.shared.armed.cuts_before(piece) {
                return Err(Broken);
            }
            framer.feed(piece);
            let mut ready = Vec::new();
            while let Some(message) = framer.next() {
                match watch.see(&message, &self.shared.armed) {
                    Verdict::Pass => {
                        ready.append(&mut withheld);
                        ready.extend_from_slice(&message.0);
                    }
                    Verdict::Withhold => withheld.extend_from_slice(&message.0),
                    Verdict::Cut => {
                        to.pass(&ready).await?;
                        return Err(Broken);
                    }
                }
            }
            to.pass(&ready).await?;
        }
        Ok(())
    }
}

/// Where one direction's bytes go, as the mode of the moment says.
struct Way<'a> {
    to: WriteHalf<'a>,
    state: &'a watch::Receiver<State>,
    passed: &'a AtomicU64,
}

impl Way<'_> {
    async fn pass(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mode = self.state.borrow().mode;
        match mode {
            Mode::Hang => return Ok(()),
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::Pass | Mode::Refuse | Mode::Reset => {}
        }
        self.to.write_all(bytes).await?;
        self.passed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Passes on how a PostgreSQL session opens, up to where the server's messages begin. False when the
/// two agreed on encryption and nothing more can be read.
async fn open_session(
    from_client: &mut ReadHalf<'_>,
    up: &mut Way<'_>,
    from_server: &mut ReadHalf<'_>,
    down: &mut Way<'_>,
) -> Result<bool, Broken> {
    loop {
        let mut first = [0; 8];
        from_client.read_exact(&mut first).await?;
        up.pass(&first).await?;
        if opening(first) == Opening::Session {
            return Ok(true);
        }
        let mut answer = [0; 1];
        from_server.read_exact(&mut answer).await?;
        down.pass(&answer).await?;
        if answer != *b"N" {
            return Ok(false);
        }
    }
}

async fn pump(from: &mut ReadHalf<'_>, to: &mut Way<'_>) -> Result<(), Broken> {
    let mut buffer = vec![0; PIECE];
    while let Some(piece) = read(from, &mut buffer).await? {
        to.pass(piece).await?;
    }
    Ok(())
}

/// The next bytes, or `None` when the sender has finished.
async fn read<'b>(
    from: &mut ReadHalf<'_>,
    buffer: &'b mut [u8],
) -> Result<Option<&'b [u8]>, Broken> {
    let length = from.read(buffer).await?;
    Ok(buffer.get(..length).filter(|piece| !piece.is_empty()))
}

async fn swallow(client: &mut TcpStream) {
    let mut buffer = vec![0; PIECE];
    while matches!(client.read(&mut buffer).await, Ok(1..)) {}
}
