//! A kept blob as a stream, read by a thread that may block.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;

use crate::thread::in_a_thread;

const CHUNK: usize = 256 << 10;
/// Chunks between the disk and who takes them.
const AHEAD: usize = 8;

/// The file's bytes from `offset` to its end. Dropping the stream ends the reading.
pub(crate) fn read(path: PathBuf, offset: u64) -> BoxStream<'static, io::Result<Bytes>> {
    let (to, from) = mpsc::channel(AHEAD);
    let reading = in_a_thread("blob", move || {
        if let Err(error) = send(&path, offset, &to) {
            let _ = to.blocking_send(Err(error));
        }
    });
    match reading {
        Ok(_) => received(from),
        Err(error) => stream::once(async { Err(io::Error::other(error)) }).boxed(),
    }
}

/// What a thread sends, as a stream.
pub(crate) fn received<T: Send + 'static>(from: mpsc::Receiver<T>) -> BoxStream<'static, T> {
    stream::unfold(from, |mut from| async { Some((from.recv().await?, from)) }).boxed()
}

fn send(path: &PathBuf, offset: u64, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    loop {
        let mut buffer = vec![0; CHUNK];
        let read = file.read(&mut buffer)?;
        buffer.truncate(read);
        // Nobody wants the rest.
        if read == 0 || to.blocking_send(Ok(buffer.into())).is_err() {
            return Ok(());
        }
    }
}
