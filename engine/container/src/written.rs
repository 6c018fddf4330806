//! What a thread writes, as a stream.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;

/// Bytes of one piece.
const PIECE: usize = 256 << 10;
/// Pieces between the disk and who takes them.
const AHEAD: usize = 8;

/// What `write` writes, piece by piece as it is taken, and at last its error. Dropping the stream ends the writing.
///
/// The thread is its own: those of the pool that may block are few, and this one waits for a client, which may take all the
/// time it wants.
///
/// # Errors
/// Those of starting a thread.
pub fn written(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let (to, from) = mpsc::channel(AHEAD);
    let work = move || {
        let mut pieces = Pieces { to, piece: Vec::with_capacity(PIECE) };
        if let Err(error) = write(&mut pieces).and_then(|()| pieces.flush()) {
            let _ = pieces.to.blocking_send(Err(error)); // nobody takes it any more
        }
    };
    std::thread::Builder::new().name("written".to_owned()).spawn(work)?;
    Ok(stream::unfold(from, |mut from| async { Some((from.recv().await?, from)) }).boxed())
}

struct Pieces {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.to.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_arrives_in_pieces_and_the_error_after_it() {
        let stream = written(|to| {
            (0..100_000_u32).try_for_each(|n| to.write_all(&n.to_le_bytes()))?;
            Err(io::Error::other("the disk is on fire"))
        });
        let pieces: Vec<_> = stream.unwrap().collect().await;
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.as_ref().map_or(0, Bytes::len)).collect();
        assert_eq!(lengths, [PIECE, 0], "an error is no end, and what came before it is of no use");
        let told = pieces[1].as_ref().unwrap_err().to_string();
        assert_eq!(told, "the disk is on fire");
        let whole = written(|to| to.write_all(&[7; PIECE + 1])).unwrap();
        let whole: Vec<_> = whole.map(|piece| piece.unwrap().len()).collect().await;
        assert_eq!(whole, [PIECE, 1]);
    }

    /// A container's start needs such a thread.
    #[test]
    fn who_does_not_read_keeps_no_thread_that_others_need() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let _unread = written(|to| io::copy(&mut io::repeat(7), to).map(drop)).unwrap();
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
    }
}
