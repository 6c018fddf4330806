use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// A raw stream to and from a program, as the shim speaks it: multiplexed frames without a terminal, plain bytes with
/// one. Asked for before the program runs, it waits for it: a read waits, a write waits, nothing is lost.
pub struct Attachment {
    inner: Inner,
    /// What has to have happened before the reader may learn of the end.
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

#[derive(Debug)]
enum Inner {
    Waiting(oneshot::Receiver<Joined>),
    Joined(Joined),
    /// The container was removed without ever being started.
    Never,
}

/// A connection to the shim, and what came over it already.
#[derive(Debug)]
pub(crate) struct Joined {
    pub stream: UnixStream,
    pub received: BytesMut,
}

impl Attachment {
    pub(crate) fn waiting(joined: oneshot::Receiver<Joined>) -> Self {
        Self { inner: Inner::Waiting(joined), until: None }
    }

    pub(crate) fn joined(joined: Joined) -> Self {
        Self { inner: Inner::Joined(joined), until: None }
    }

    /// The same, whose end is told only when `until` has resolved.
    pub(crate) fn until(self, until: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { until: Some(Box::pin(until)), ..self }
    }

    fn poll_joined(&mut self, context: &mut Context<'_>) -> Poll<Option<&mut Joined>> {
        if let Inner::Waiting(waiting) = &mut self.inner {
            self.inner = match ready!(Pin::new(waiting).poll(context)) {
                Ok(joined) => Inner::Joined(joined),
                Err(_) => Inner::Never,
            };
        }
        Poll::Ready(match &mut self.inner {
            Inner::Joined(joined) => Some(joined),
            Inner::Waiting(_) | Inner::Never => None,
        })
    }
}

impl AsyncRead for Attachment {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(joined) = ready!(self.poll_joined(context)) else { return Poll::Ready(Ok(())) };
        if joined.received.is_empty() {
            let before = into.filled().len();
            ready!(Pin::new(&mut joined.stream).poll_read(context, into))?;
            let ended = into.filled().len() == before && into.remaining() > 0;
            if let Some(until) = self.until.as_mut().filter(|_| ended) {
                ready!(until.as_mut().poll(context));
                self.until = None;
            }
            return Poll::Ready(Ok(()));
        }
        let take = joined.received.len().min(into.remaining());
        into.put_slice(&joined.received[..take]);
        joined.received.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Attachment {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_joined(context)) {
            Some(joined) => Pin::new(&mut joined.stream).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Joined(joined) => Pin::new(&mut joined.stream).poll_flush(context),
            // Nothing was written yet, so nothing is to be flushed.
            Inner::Waiting(_) | Inner::Never => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.poll_joined(context)) {
            Some(joined) => Pin::new(&mut joined.stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_before_the_start_arrives_and_the_end_too() {
        let (send, receive) = oneshot::channel();
        let mut attachment = Attachment::waiting(receive);
        let writer = tokio::spawn(async move {
            attachment.write_all(b"early").await.unwrap();
            attachment.shutdown().await.unwrap();
            let mut all = Vec::new();
            attachment.read_to_end(&mut all).await.unwrap();
            all
        });
        let (stream, mut shim) = UnixStream::pair().unwrap();
        send.send(Joined { stream, received: BytesMut::from(&b"first "[..]) }).unwrap();
        let mut stdin = Vec::new();
        shim.read_to_end(&mut stdin).await.unwrap();
        assert_eq!(stdin, b"early");
        shim.write_all(b"second").await.unwrap();
        drop(shim);
        assert_eq!(writer.await.unwrap(), b"first second");
    }

    #[tokio::test]
    async fn the_end_is_told_only_when_the_code_is_known() {
        let (stream, shim) = UnixStream::pair().unwrap();
        drop(shim);
        let (known, code) = oneshot::channel::<()>();
        let joined = Joined { stream, received: BytesMut::new() };
        let mut attachment = Attachment::joined(joined).until(async { drop(code.await) });
        let reader = tokio::spawn(async move { attachment.read_to_end(&mut Vec::new()).await });
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        known.send(()).unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn an_attachment_to_what_never_starts_ends() {
        let (send, receive) = oneshot::channel();
        let mut attachment = Attachment::waiting(receive);
        drop(send);
        assert_eq!(attachment.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert!(attachment.write_all(b"x").await.is_err());
    }
}
