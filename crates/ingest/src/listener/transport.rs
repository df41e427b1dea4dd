//! What a connection's bytes come over: the socket itself, or TLS upon it. Whoever reads sees them in plain.
//!
//! TLS keeps what it has of a message until it is whole; that is counted here, and taken of the memory for what
//! connections have half read. A handshake under way is no other thing than half a head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::budget::ConnectionShare;

/// What every connection may hold for nothing: about a record of TLS.
const FREE: usize = 16 << 10;

/// The most of a connection's bytes that may make nothing: a message of a handshake has 64 KiB at most, and a chain of
/// certificates is one.
const MOST: usize = 128 << 10;

/// The connection.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<Counted>>),
}

impl Transport {
    /// Says something without waiting for whether it is heard. Nothing else is being written.
    pub(super) fn say(&mut self, context: &mut Context<'_>, text: &[u8]) {
        match self {
            Self::Plain(stream) => drop(stream.try_write(text)),
            Self::Tls(stream) => {
                if Pin::new(&mut *stream).poll_write(context, text).is_ready() {
                    drop(Pin::new(stream).poll_flush(context));
                }
            }
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => {
                ready!(Pin::new(&mut *stream).poll_read(context, buffer))?;
                stream.get_mut().0.made_something();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A socket whose bytes are counted until TLS has made something of them.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    pending: usize,
    /// What is pending beyond [`FREE`].
    share: ConnectionShare,
}

impl Counted {
    pub(super) const fn new(stream: TcpStream, share: ConnectionShare) -> Self {
        Self {
            stream,
            pending: 0,
            share,
        }
    }

    /// The handshake is done, or something was read in plain.
    pub(super) fn made_something(&mut self) {
        self.pending = 0;
        let fits = self.share.resize(0);
        debug_assert!(fits.is_ok(), "less than before always fits");
    }

    fn count(&mut self, read: usize) -> io::Result<()> {
        self.pending += read;
        let beyond = self.pending.saturating_sub(FREE);
        if self.pending > MOST || self.share.resize(beyond as u64).is_err() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        Poll::Ready(self.count(read))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
