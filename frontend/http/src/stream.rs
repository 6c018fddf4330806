use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::hangup::Hangup;

/// How long a handed-over connection is read on after the last byte was written, so that bytes which nobody wants do
/// not turn the close into a reset that eats what the client has yet to read.
const LINGER: Duration = Duration::from_millis(500);

/// How long a client may take to agree on TLS.
const GREETING: Duration = Duration::from_secs(10);

/// A client's socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client that has arrived.
pub(crate) enum Arrived {
    Ready(Stream),
    /// It has to agree on TLS first.
    Greets(TlsAcceptor, TcpStream),
}

impl Arrived {
    /// The client's stream; `None` for one that does not agree in time.
    pub(crate) async fn greeted(self) -> Option<Stream> {
        match self {
            Self::Ready(stream) => Some(stream),
            Self::Greets(tls, stream) => {
                let agreed = tokio::time::timeout(GREETING, tls.accept(stream)).await.ok()?.ok()?;
                Some(Stream::Tls(Box::new(agreed)))
            }
        }
    }
}

/// A connection that a handler has taken over: bytes both ways. Shutting it down closes our direction alone.
#[derive(Debug)]
pub struct Upgraded {
    stream: Stream,
    early: Bytes,
}

impl Upgraded {
    /// `early` are bytes that the client sent behind its request.
    pub(crate) fn new(stream: Stream, early: Bytes) -> Self {
        Self { stream, early }
    }

    /// Resolves when the client has gone for good; a client that has only finished sending is still there.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let hangup = Hangup::of(&self.stream);
        async {
            match hangup {
                Ok(hangup) => hangup.wait().await,
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Ends the connection: closes our direction, then lets the client finish for a moment. Errors are the client's loss.
    pub async fn finish(mut self) {
        if self.shutdown().await.is_ok() {
            let mut waste = [0; 4096];
            let drain = async { while matches!(self.read(&mut waste).await, Ok(1..)) {} };
            let _ = tokio::time::timeout(LINGER, drain).await;
        }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            let length = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
