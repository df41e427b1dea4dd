//! The honest sender: signed events at a steady rate, each on its hour, and how long each acknowledgement took.
//!
//! Threads and blocking sockets, because a runtime's timers are a millisecond coarse. A request that is late because the
//! answer before it was late counts from its hour; one whose thread was woken late counts from then, for that is this
//! machine's lateness and not the server's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use testbed::sender::genesys_signature;

use super::SECRET;

/// Of each of so many connections, a request after so long.
const CONNECTIONS: u32 = 8;
const INTERVAL: Duration = Duration::from_millis(20);

/// How long Genesys Cloud waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a stretch of time has shown.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// Of each acknowledgement.
    pub(crate) latencies: Vec<Duration>,
    /// Requests that got no 200.
    pub(crate) failed: usize,
}

impl Stretch {
    /// With what another one has shown.
    pub(crate) fn and(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.failed += other.failed;
    }

    /// The 99th percentile.
    pub(crate) fn p99(&mut self) -> Duration {
        self.latencies.sort_unstable();
        let at = self.latencies.len() * 99 / 100;
        self.latencies.get(at).copied().unwrap_or(PATIENCE)
    }
}

/// An event as Genesys Cloud signs it.
pub(crate) fn request(number: u64, secret: &str) -> Vec<u8> {
    let body = format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(1_000));
    let signature = genesys_signature(secret.as_bytes(), body.as_bytes());
    let head = format!(
        "POST /in/genesys HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into()
}

/// The sender, with its connections.
pub(crate) struct Honest {
    to: SocketAddr,
    streams: Vec<TcpStream>,
    sent: u64,
}

impl Honest {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let streams = (0..CONNECTIONS).map(|_| open(to));
        Self {
            to,
            streams: streams.collect(),
            sent: 0,
        }
    }

    /// Sends for so long.
    pub(crate) fn send_for(&mut self, time: Duration) -> Stretch {
        let each = u32::try_from(time.as_millis() / INTERVAL.as_millis()).unwrap();
        let begin = Instant::now() + INTERVAL;
        let (to, first) = (self.to, self.sent);
        self.sent += u64::from(CONNECTIONS * each);
        let mut all = Stretch::default();
        thread::scope(|scope| {
            let running: Vec<_> = (0..CONNECTIONS)
                .zip(&mut self.streams)
                .map(|(number, stream)| {
                    let begin = begin + INTERVAL * number / CONNECTIONS;
                    let first = first + u64::from(number * each);
                    scope.spawn(move || one(to, stream, begin, first..first + u64::from(each)))
                })
                .collect();
            for thread in running {
                let stretch = thread.join().unwrap();
                all.latencies.extend(stretch.latencies);
                all.failed += stretch.failed;
            }
        });
        all
    }
}

fn open(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn one(
    to: SocketAddr,
    stream: &mut TcpStream,
    mut due: Instant,
    numbers: std::ops::Range<u64>,
) -> Stretch {
    let mut stretch = Stretch::default();
    for number in numbers {
        let request = request(number, SECRET);
        let mut began = due;
        if let Some(rest) = due.checked_duration_since(Instant::now()) {
            thread::sleep(rest);
            began = Instant::now();
        }
        if exchange(stream, &request).is_some() {
            stretch.latencies.push(began.elapsed());
        } else {
            stretch.failed += 1;
            *stream = open(to);
        }
        due += INTERVAL;
    }
    stretch
}

/// `None`: anything but a 200.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<()> {
    stream.write_all(request).ok()?;
    let mut answer = [0; 4 << 10];
    let mut read = 0;
    // The whole answer is one JSON object.
    while !answer[..read].ends_with(b"}") {
        let more = stream.read(&mut answer[read..]).ok()?;
        read += more;
        (more > 0).then_some(())?;
    }
    answer.starts_with(b"HTTP/1.1 200 ").then_some(())
}
