//! A client's connection with what hyper leaves to us: a deadline for the head of a request that covers
//! protocol detection and idleness too, one for a client that does not read its answer, a share of the
//! memory for what is half read, and a lingering close, so that an answer given before the whole request
//! was read is not lost to a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport::Transport;
use super::wire::{Odd, Wire};
use crate::answer::{Answer, BrokenOff};
use crate::budget::{ConnectionShare, Full};
use crate::deadline::Deadline;
use crate::metrics::AtTheConnection;

/// Said to a client whose request's head did not arrive in time.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\n\
content-length: 137\r\nconnection: close\r\n\r\n\
{\"code\":\"head-too-slow\",\"detail\":\"the request's head did not arrive in time\",\"status\":408,\"title\":\"Request Timeout\",\"type\":\"about:blank\"}";

/// Said to a client whose head had not come when the listener stopped.
const STOPPING: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
content-length: 154\r\nretry-after: 2\r\nconnection: close\r\n\r\n\
{\"code\":\"shutting-down\",\"detail\":\"the process is stopping; nothing was stored, try again\",\"status\":503,\"title\":\"Service Unavailable\",\"type\":\"about:blank\"}";

/// Said to a client whose half head does not fit beside the others'.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
content-length: 143\r\nretry-after: 2\r\nconnection: close\r\n\r\n\
{\"code\":\"busy\",\"detail\":\"too much is under way; nothing was stored, try again\",\"status\":503,\"title\":\"Service Unavailable\",\"type\":\"about:blank\"}";

/// Said to a client whose head has a line that another reader might not take for one. As hyper answers what it
/// cannot read.
const UNREADABLE: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How long a head may take to come once the listener stops: it was on its way, or somebody holds it back.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// Stands for the length of a body that its head does not say.
const UNKNOWN: u64 = u64::MAX;

/// The most that is read at once: so much may come behind a request in one read without being counted.
/// It is also what hyper's buffer takes at first, and what every connection may hold for nothing.
const READ: usize = 8 << 10;

/// A lingering close reads on for so long, and so much, and throws it away.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 << 20;

/// So many requests of a connection may be given up by the client, beyond those that it let be answered: who
/// resets every stream as soon as it is taken has work done for nothing.
const GIVEN_UP: u32 = 200;

/// What the handler's side knows of a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests being answered.
    in_flight: AtomicU32,
    /// Requests begun so far.
    begun: AtomicU64,
    /// The length of the last one's body.
    length: AtomicU64,
    /// The last answer may have left a body unread.
    unread: AtomicBool,
    /// Requests that were given up before their answer, beyond those that were answered.
    given_up: AtomicU32,
}

impl Activity {
    /// A request's head has arrived; it says how long the body is, or does not.
    pub(super) fn begin(self: &Arc<Self>, length: Option<u64>) -> Answering {
        let length = length.unwrap_or(UNKNOWN);
        self.length.store(length, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.unread.store(true, Ordering::Relaxed);
        Answering {
            activity: Arc::clone(self),
            answered: false,
        }
    }

    fn is_a_waste(&self) -> bool {
        self.given_up.load(Ordering::Relaxed) > GIVEN_UP
    }
}

/// A request being answered.
#[derive(Debug)]
pub(super) struct Answering {
    activity: Arc<Activity>,
    answered: bool,
}

impl Answering {
    /// An answer that is no error comes after the whole body was read.
    pub(super) fn answered(mut self, answer: &Answer) {
        self.answered = answer.extensions().get::<BrokenOff>().is_none();
        if answer.status().is_success() {
            self.activity.unread.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Activity {
            in_flight,
            given_up,
            ..
        } = &*self.activity;
        in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            given_up.fetch_add(1, Ordering::Relaxed);
        } else if given_up.load(Ordering::Relaxed) > 0 {
            let order = Ordering::Relaxed;
            let _none_left = given_up.fetch_update(order, order, |count| count.checked_sub(1));
        }
    }
}

/// Why what was read is not passed on.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Full,
    Odd(Odd),
}

/// How far closing is.
#[derive(Debug)]
enum Closing {
    Open,
    Lingering { left: usize },
    Done,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: Transport,
    activity: Arc<Activity>,
    /// Requests that had begun when the present wait for a head did.
    waiting_since: u64,
    /// Bytes of a head that is not complete.
    head_begun: bool,
    wire: Wire,
    /// What was read and is not passed on yet: it is of a later head than the one that a request is being made of.
    ahead: Vec<u8>,
    /// What `wire` holds beyond the first [`READ`], with `ahead`.
    share: ConnectionShare,
    head: Deadline,
    last_head: Deadline,
    /// The listener stops.
    stopped: Arc<AtomicBool>,
    write: Deadline,
    closing: Closing,
    linger: Deadline,
    refusals: Arc<AtTheConnection>,
}

impl Guarded {
    pub(super) fn new(
        stream: Transport,
        activity: Arc<Activity>,
        head_timeout: Duration,
        stopped: Arc<AtomicBool>,
        share: ConnectionShare,
        refusals: Arc<AtTheConnection>,
    ) -> Self {
        Self {
            stream,
            activity,
            waiting_since: 0,
            head_begun: false,
            wire: Wire::new(),
            ahead: Vec::new(),
            share,
            head: Deadline::new(head_timeout),
            last_head: Deadline::new(LAST_HEAD.min(head_timeout)),
            stopped,
            write: Deadline::new(head_timeout),
            closing: Closing::Open,
            linger: Deadline::new(LINGER),
            refusals,
        }
    }

    /// Takes note of requests that have begun.
    fn note_begun(&mut self) {
        let begun = self.activity.begun.load(Ordering::Relaxed);
        if begun != self.waiting_since {
            self.waiting_since = begun;
            self.head_begun = false;
            self.head.disarm();
            let length = self.activity.length.load(Ordering::Relaxed);
            self.wire.begun((length != UNKNOWN).then_some(length));
            // It can only have become less, which always fits.
            let fits = self.hold();
            debug_assert!(fits.is_ok(), "less than before always fits");
        }
    }

    /// Called when there is nothing to read: ready when the client has had its time for a head.
    fn poll_head_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.activity.in_flight.load(Ordering::Relaxed) > 0 {
            self.head.disarm();
            self.last_head.disarm();
            return Poll::Pending;
        }
        let stopped = self.stopped.load(Ordering::Relaxed);
        let (deadline, says) = match stopped {
            true => (&mut self.last_head, STOPPING),
            false => (&mut self.head, TOO_SLOW),
        };
        ready!(deadline.poll(context));
        if self.head_begun && self.wire.is_http1() {
            // Nothing else is being written while no request is in flight. Best effort.
            self.stream.say(context, says);
            if !stopped {
                self.refusals.head_too_slow.inc();
            }
        }
        Poll::Ready(())
    }

    /// Passes on as many of these bytes, the next of the connection, as may be. What came from the client is `fresh`.
    fn note_read(&mut self, bytes: &[u8], fresh: bool) -> Result<usize, Refusal> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.head_begun = true;
        let waiting = self.is_waiting();
        let passed = self.wire.read(bytes, waiting).map_err(Refusal::Odd)?;
        if fresh && passed < bytes.len() {
            self.ahead = bytes[passed..].to_vec();
        } else if passed == self.ahead.len() {
            // An idle connection keeps no room for it.
            self.ahead = Vec::new();
        } else if !fresh {
            self.ahead.drain(..passed);
        }
        self.hold().map_err(|Full| Refusal::Full)?;
        Ok(passed)
    }

    /// No request is under way.
    fn is_waiting(&self) -> bool {
        self.activity.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Counts it, and tells the client why where that is possible. Best effort: the end of the stream, or an error,
    /// comes after it.
    fn refuse(&mut self, context: &mut Context<'_>, refusal: Refusal) {
        let (says, counter): (&[u8], _) = match refusal {
            Refusal::Full => (BUSY, &self.refusals.busy),
            Refusal::Odd(Odd::BareLf) => (UNREADABLE, &self.refusals.unreadable),
            Refusal::Odd(Odd::Busy) => (b"", &self.refusals.too_many_frames),
        };
        counter.inc();
        // While a request is under way its answer comes first.
        if self.wire.is_http1() && self.is_waiting() {
            self.stream.say(context, says);
        }
    }

    /// Makes the share what is held.
    fn hold(&mut self) -> Result<(), Full> {
        let held = self.wire.held() + self.ahead.len() as u64;
        self.share.resize(held.saturating_sub(READ as u64))
    }

    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let more = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..more]);
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() <= READ {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(READ));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    /// Passes a write's result on, but not a wait that takes too long.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write.disarm();
            return written;
        }
        ready!(self.write.poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_linger(&mut self, context: &mut Context<'_>, mut left: usize) -> Poll<()> {
        let mut scratch = [0; 8 << 10];
        while left > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    left = left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    self.closing = Closing::Lingering { left };
                    return self.linger.poll(context);
                }
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        this.note_begun();
        if this.activity.is_a_waste() {
            this.refusals.too_many_given_up.inc();
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let fresh = this.ahead.is_empty();
        if let Poll::Ready(read) = this.poll_stream(context, buffer) {
            let refusal = match this.note_read(&buffer.filled()[before..], fresh) {
                Ok(passed) => {
                    buffer.set_filled(before + passed);
                    return Poll::Ready(read);
                }
                Err(refusal) => refusal,
            };
            this.refuse(context, refusal);
            if !this.wire.is_http1() {
                return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
            }
            // As with a head that comes too late: the end of the stream, for hyper.
            buffer.set_filled(before);
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_head_deadline(context));
        // The end of the stream, for hyper.
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.note_begun();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.bounded(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match this.closing {
                Closing::Open => {
                    // Within TLS a last word is written, which has the time of any other.
                    let shut = Pin::new(&mut this.stream).poll_shutdown(context);
                    ready!(this.bounded(context, shut))?;
                    let unread = this.activity.unread.load(Ordering::Relaxed);
                    let begun = this.activity.begun.load(Ordering::Relaxed);
                    let half_a_head = this.head_begun && begun == this.waiting_since;
                    this.closing = if unread || half_a_head {
                        Closing::Lingering { left: LINGER_BYTES }
                    } else {
                        Closing::Done
                    };
                }
                Closing::Lingering { left } => {
                    ready!(this.poll_linger(context, left));
                    this.closing = Closing::Done;
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raw_answers_say_their_own_length() {
        for (raw, status) in [(TOO_SLOW, 408), (BUSY, 503), (STOPPING, 503)] {
            let text = std::str::from_utf8(raw).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("content-length: {}\r\n", body.len())),
                "{}",
                body.len()
            );
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["status"], status);
        }
    }
}
