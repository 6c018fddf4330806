use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A client's stream that ends with an error when the client takes nothing for longer than it is given: what is sent to it
/// holds descriptors and memory meanwhile.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    pub(crate) stream: S,
    patience: Option<Duration>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Without `patience`, the client may take as long as it likes.
    pub(crate) fn new(stream: S, patience: Option<Duration>) -> Self {
        Self { stream, patience, stalled: None }
    }

    fn timed<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(patience) = self.patience.filter(|_| polled.is_pending()) else {
            self.stalled = None;
            return polled;
        };
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.timed(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.timed(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.timed(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_for_a_minute_is_cut_off() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let sent = Paced::new(ours, Some(MINUTE)).write_all(&[0; 17]).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut patient = Paced::new(ours, None);
        assert!(tokio::time::timeout(60 * MINUTE, patient.write_all(&[0; 17])).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_each_minute_is_served() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let sending = tokio::spawn(async move { Paced::new(ours, Some(MINUTE)).write_all(&[0; 26]).await });
        for _ in 0..10 {
            tokio::time::sleep(MINUTE * 9 / 10).await;
            theirs.read_u8().await.unwrap();
        }
        sending.await.unwrap().unwrap();
    }
}
