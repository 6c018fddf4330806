//! The compressed bytes of a layer on their one way through: kept, hashed, counted, handed to the decoder.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tare_model::{HasKind, Kind};
use tare_oci::image::Descriptor;
use tokio::sync::mpsc::Receiver;

use super::Budget;
use crate::content::{Content, Partial, Writeback, discard, from_hash};
use crate::progress::{LayerState, Reporter};
use crate::{Error, Result};

const CHUNK: usize = 256 << 10;
const MAGIC: usize = 4;
/// Bytes that are still fetched to know whether a layer that cannot be unpacked is damaged or was made so.
const WORTH_KNOWING: u64 = 4 << 20;

/// Where a layer's compressed bytes come from.
pub(crate) enum Source {
    /// A blob that is here already.
    Kept(File),
    /// A registry; what an earlier pull brought is read from its file first.
    Download { partial: Partial, resumed: File, network: Receiver<Result<Bytes>> },
}

/// A layer's compressed bytes, as a reader for a thread that may block.
pub(crate) struct Intake {
    descriptor: Descriptor,
    content: Content,
    /// Read to its end before the network.
    file: Option<File>,
    network: Option<Receiver<Result<Bytes>>>,
    partial: Option<Partial>,
    writeback: Writeback,
    chunk: Bytes,
    hash: Context,
    received: u64,
    taken: Arc<AtomicU64>,
    /// That of all layers, where the bytes count for it.
    budget: Option<Arc<Budget>>,
    reporter: Reporter,
    failure: Option<Error>,
}

impl Intake {
    pub(crate) fn new(descriptor: Descriptor, content: Content, source: Source, reporter: Reporter) -> Self {
        let (file, partial, network) = match source {
            Source::Kept(file) => (file, None, None),
            Source::Download { partial, resumed, network } => (resumed, Some(partial), Some(network)),
        };
        let writeback = Writeback::from(partial.as_ref().map_or(0, |partial| partial.length));
        Self {
            descriptor,
            content,
            file: Some(file),
            network,
            partial,
            writeback,
            chunk: Bytes::new(),
            hash: Context::new(&SHA256),
            received: 0,
            taken: Arc::default(),
            budget: None,
            reporter,
            failure: None,
        }
    }

    /// Has its bytes counted for all layers together.
    pub(crate) fn counted(self, budget: Arc<Budget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Counts the bytes that were handed on.
    pub(crate) fn taken(&self) -> Arc<AtomicU64> {
        self.taken.clone()
    }

    /// How error messages call the layer.
    pub(crate) fn layer(&self) -> String {
        self.descriptor.digest.short()
    }

    /// The first four bytes, without taking them; fewer only where there are no more.
    pub(crate) fn magic(&mut self) -> io::Result<Vec<u8>> {
        while self.chunk.len() < MAGIC {
            let head = std::mem::take(&mut self.chunk);
            let more = self.next_chunk()?;
            if !head.is_empty() {
                self.chunk = [head, std::mem::take(&mut self.chunk)].concat().into();
            }
            if !more {
                break;
            }
        }
        Ok(self.chunk[..self.chunk.len().min(MAGIC)].to_vec())
    }

    /// Reads what the decoder left, checks size and digest, and gives a download its name among the blobs.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.drain()?;
        self.verify().inspect_err(|_| self.discard())?;
        let Some(partial) = self.partial.take() else { return Ok(()) };
        self.content.commit(&partial, &self.descriptor.digest)?;
        self.reporter.tell(LayerState::DownloadComplete);
        Ok(())
    }

    /// The error that is at the root of `error`: a lost connection or a wrong digest explains a decoder's complaint, and
    /// never the other way round. What can be used again is kept. Where much is still to come, it is not asked for.
    pub(crate) fn blame(&mut self, error: Error) -> Error {
        if let Some(failure) = self.failure.take() {
            // Bytes that cannot be right are not kept, nor is anything on a disk that is full.
            if matches!(failure, Error::Size { .. }) || failure.kind() == Kind::Exhausted {
                self.discard();
            }
            return failure;
        }
        if !matches!(error.kind(), Kind::Corrupt | Kind::InvalidInput) {
            self.discard();
            return error;
        }
        if self.descriptor.size.saturating_sub(self.received) > WORTH_KNOWING {
            self.discard();
            return error;
        }
        match self.drain().and_then(|()| self.verify()) {
            Err(cause @ (Error::Digest { .. } | Error::Size { .. })) => {
                self.discard();
                cause
            }
            Err(cause) => cause,
            Ok(()) => {
                self.discard();
                error
            }
        }
    }

    fn drain(&mut self) -> Result<()> {
        self.chunk.clear();
        loop {
            match self.next_chunk() {
                Ok(true) => self.chunk.clear(),
                Ok(false) => return Ok(()),
                Err(e) => return Err(self.failure.take().unwrap_or_else(|| self.read_error(e))),
            }
        }
    }

    fn verify(&mut self) -> Result<()> {
        let what = || format!("layer {}", self.descriptor.digest.short());
        let Descriptor { size: expected, digest, .. } = self.descriptor;
        if self.received != expected {
            return Err(Error::Size { what: what(), found: self.received, expected });
        }
        let found = from_hash(&self.hash.clone().finish());
        if found != digest {
            return Err(Error::Digest { what: what(), found, expected: digest });
        }
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(partial) = self.partial.take() {
            discard(&partial.path);
        }
    }

    /// Fetches the next bytes into `chunk`; false when there are no more.
    fn next_chunk(&mut self) -> io::Result<bool> {
        let chunk = match self.kept()? {
            Some(chunk) => chunk,
            None => match self.arriving()? {
                Some(chunk) => chunk,
                None => return Ok(false),
            },
        };
        self.received += chunk.len() as u64;
        if self.received > self.descriptor.size {
            let (found, expected) = (self.received, self.descriptor.size);
            return self.fail(Error::Size { what: format!("layer {}", self.layer()), found, expected });
        }
        if let Some(budget) = &self.budget {
            budget.took(chunk.len());
        }
        self.hash.update(&chunk);
        self.report();
        self.chunk = chunk;
        Ok(true)
    }

    fn kept(&mut self) -> io::Result<Option<Bytes>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut buffer = vec![0; CHUNK];
        let read = match file.read(&mut buffer) {
            Ok(read) => read,
            Err(error) => return self.fail(self.read_error(error)),
        };
        if read == 0 {
            self.file = None;
            return Ok(None);
        }
        buffer.truncate(read);
        Ok(Some(buffer.into()))
    }

    fn arriving(&mut self) -> io::Result<Option<Bytes>> {
        let Some(network) = &mut self.network else { return Ok(None) };
        let chunk = match network.blocking_recv() {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return self.fail(error),
            // Who fed us ends with an error or after the last byte; otherwise it was stopped.
            None if self.received < self.descriptor.size => return self.fail(Error::Cancelled),
            None => return Ok(None),
        };
        if let Some(partial) = &mut self.partial
            && let Err(error) = self.writeback.write(&partial.file, &chunk)
        {
            let failure = Error::io("write", &partial.path)(error);
            return self.fail(failure);
        }
        Ok(Some(chunk))
    }

    fn report(&mut self) {
        let (received, size) = (self.received, self.descriptor.size);
        if self.partial.is_none() {
            return;
        }
        self.reporter.downloaded(received, size);
        if received == size {
            self.reporter.tell(LayerState::VerifyingChecksum);
        }
    }

    fn fail<T>(&mut self, error: Error) -> io::Result<T> {
        let text = error.to_string();
        self.failure = Some(error);
        Err(io::Error::other(text))
    }

    fn read_error(&self, error: io::Error) -> Error {
        Error::io("read", &self.content.path(&self.descriptor.digest))(error)
    }
}

impl BufRead for Intake {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            self.next_chunk()?;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        let _ = self.chunk.split_to(amount);
        self.taken.fetch_add(amount as u64, Ordering::Relaxed);
    }
}

impl Read for Intake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
