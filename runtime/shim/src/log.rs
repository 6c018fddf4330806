//! The log file: Docker's json-file, rotated by size. Nothing that goes wrong with it ever holds the container up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use tare_model::Timestamp;

use crate::error::{Error, Result};
use crate::lines::{Lines, entry, time_of};
use tare_protocol::LogFile;

/// A container's log.
#[derive(Debug)]
pub(crate) struct Log {
    place: LogFile,
    file: File,
    size: u64,
    /// Entries that found no room; told when there is room again.
    lost: u64,
    /// Whether the loss was said in the shim's own log.
    said: bool,
}

impl Log {
    /// Opens the newest file, to go on where it ends.
    pub(crate) fn open(place: LogFile) -> Result<Self> {
        let opened = open(&place.path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = opened.map_err(|e| Error::file("open the log", &place.path, e))?;
        Ok(Self { place, file, size, lost: 0, said: false })
    }

    /// Logs what was read from a stream.
    pub(crate) fn append(&mut self, lines: &mut Lines, stream: &'static str, bytes: &[u8]) {
        let mut batch = Batch::new(self, stream);
        lines.feed(bytes, |piece| batch.add(piece));
        batch.end();
    }

    /// Logs what a stream's end leaves.
    pub(crate) fn finish(&mut self, lines: &mut Lines, stream: &'static str) {
        let mut batch = Batch::new(self, stream);
        lines.finish(|piece| batch.add(piece));
        batch.end();
    }

    /// Writes whole entries, or none of them, and first what was lost before them.
    fn write(&mut self, entries: &[u8], count: u64, time: &str) {
        if self.lost > 0 {
            let mut told = Vec::new();
            let text = format!("[tare: {} log lines are lost: the log's disk was full]\n", self.lost);
            entry(&mut told, text.as_bytes(), "stderr", time);
            if self.put(&told) {
                self.lost = 0;
            }
        }
        if self.lost > 0 || !self.put(entries) {
            self.lost += count;
        }
    }

    fn put(&mut self, entries: &[u8]) -> bool {
        if self.place.max_size > 0 && self.size > 0 && self.size + entries.len() as u64 > self.place.max_size
        {
            self.rotate();
        }
        let written = self.file.write_all(entries);
        match &written {
            Ok(()) => self.size += entries.len() as u64,
            Err(error) => {
                // A torn entry would spoil the next one.
                let _ = self.file.set_len(self.size);
                if !std::mem::replace(&mut self.said, true) {
                    crate::note!("log lines are lost: write {:?}: {error}", self.place.path);
                }
            }
        }
        written.is_ok()
    }

    /// `log.1` becomes `log.2`, `log` becomes `log.1`, and a new `log` begins. Where that fails the file just grows on.
    fn rotate(&mut self) {
        let numbered = |number: u32| match number {
            0 => self.place.path.clone(),
            _ => PathBuf::from(format!("{}.{number}", self.place.path.display())),
        };
        for number in (1..self.place.max_files).rev() {
            // A younger log has fewer files.
            let _ = fs::rename(numbered(number - 1), numbered(number));
        }
        if self.place.max_files <= 1 {
            let _ = self.file.set_len(0);
            self.size = 0;
            return;
        }
        if let Ok(file) = open(&self.place.path) {
            self.file = file;
            self.size = 0;
        }
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// The most that is gathered before it is written.
const FLUSH_AT: usize = 64 << 10;

/// Entries of one moment, gathered for one write.
struct Batch<'a> {
    log: &'a mut Log,
    stream: &'static str,
    time: String,
    bytes: Vec<u8>,
    count: u64,
}

impl<'a> Batch<'a> {
    fn new(log: &'a mut Log, stream: &'static str) -> Self {
        let time = time_of(Timestamp::from(SystemTime::now()));
        Self { log, stream, time, bytes: Vec::new(), count: 0 }
    }

    fn add(&mut self, piece: &[u8]) {
        let before = self.bytes.len();
        entry(&mut self.bytes, piece, self.stream, &self.time);
        let limit = self.log.place.max_size;
        // Files are cut between entries: one that would pass the limit begins the next file.
        if limit > 0 && before > 0 && self.log.size + self.bytes.len() as u64 > limit {
            let last = self.bytes.split_off(before);
            self.flush();
            self.bytes = last;
        }
        self.count += 1;
        if self.bytes.len() >= FLUSH_AT {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.log.write(&self.bytes, self.count, &self.time);
        }
        self.bytes.clear();
        self.count = 0;
    }

    fn end(mut self) {
        self.flush();
    }
}
