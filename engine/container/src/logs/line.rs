use bytes::Bytes;
use serde::Deserialize;
use tare_model::Timestamp;

use crate::options::{LogEntry, LogOptions, OutputStream};

/// One line of the file, as Docker's json-file driver writes it.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: Option<OutputStream>,
    time: Timestamp,
}

/// Reads a line; nothing for one that is damaged, as the last one is when the machine went down.
pub(super) fn parse(line: &[u8]) -> Option<LogEntry> {
    let Line { log, stream, time } = serde_json::from_slice(line).ok()?;
    Some(LogEntry { stream: stream.unwrap_or(OutputStream::Stdout), at: time, line: Bytes::from(log) })
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Wanted,
    Unwanted,
    /// Neither it nor any after it.
    Over,
}

/// Judges an entry by stream and time.
pub(super) fn judge(entry: &LogEntry, options: &LogOptions) -> Fate {
    let stream = match entry.stream {
        OutputStream::Stdout => options.stdout,
        OutputStream::Stderr => options.stderr,
    };
    if options.until.is_some_and(|until| entry.at > until) {
        return Fate::Over;
    }
    if stream && options.since.is_none_or(|since| entry.at >= since) { Fate::Wanted } else { Fate::Unwanted }
}
