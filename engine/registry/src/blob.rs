use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::StatusCode;
use http::header::CONTENT_RANGE;
use reqwest::Response;
use tare_model::Reference;
use tare_oci::image::Descriptor;

use crate::ask::pace::Pace;
use crate::ask::{Ask, Subject, ask, retry};
use crate::client::root_cause;
use crate::{Credentials, Error, Registry, Result};

/// A connection that brought this much was worth having: the count of tries begins anew.
const PROGRESS: u64 = 1 << 20;

pub(crate) async fn open(
    registry: &Arc<Registry>,
    reference: &Reference,
    descriptor: &Descriptor,
    credentials: Option<&Credentials>,
    offset: u64,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let subject = Subject::Blob(reference.clone(), descriptor.digest);
    let mut last = None;
    for question in Ask::everywhere(registry, reference, &subject, credentials) {
        let mut reading = Reading {
            registry: Arc::clone(registry),
            what: question.what(),
            question,
            response: None,
            position: offset.min(descriptor.size),
            size: descriptor.size,
            skip: 0,
            tries: 0,
            mark: offset,
            pace: Pace::new(&registry.rules().config),
        };
        match reading.connect().await {
            Ok(()) => return Ok(reading.into_stream()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::Config(format!("{} has no address", reference.domain()))))
}

/// A blob on its way.
struct Reading {
    registry: Arc<Registry>,
    question: Ask,
    what: String,
    response: Option<Response>,
    /// The next byte to hand out.
    position: u64,
    size: u64,
    /// Bytes of the answer that were handed out before: the registry knows no ranges.
    skip: u64,
    tries: u32,
    /// The position when the connection broke last.
    mark: u64,
    pace: Pace,
}

impl Reading {
    fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, |mut reading| async move {
            Ok(reading.next().await?.map(|chunk| (chunk, reading)))
        })
        .boxed()
    }

    /// Opens a connection that begins at `position`.
    async fn connect(&mut self) -> Result<()> {
        if self.position == self.size && self.size > 0 {
            return Ok(());
        }
        self.question.offset = self.position;
        let response = ask(&self.registry, &self.question).await?;
        self.skip = self.begins_at(&response)?;
        let expected = self.size - self.position + self.skip;
        if let Some(found) = response.content_length().filter(|found| *found != expected) {
            let (found, expected) = (found + self.position - self.skip, self.size);
            return Err(Error::Size { what: self.what.clone(), found, expected });
        }
        self.response = Some(response);
        Ok(())
    }

    /// How many bytes the answer begins before the one that was asked for.
    fn begins_at(&self, response: &Response) -> Result<u64> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.position);
        }
        let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let first = range.strip_prefix("bytes ").and_then(|r| r.split_once('-')?.0.parse::<u64>().ok());
        if first == Some(self.position) {
            return Ok(0);
        }
        let cause = format!("bytes from {} on were asked for, the answer says \"{range}\"", self.position);
        Err(Error::Nonsense { what: self.what.clone(), cause })
    }

    /// The next bytes, `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(response) = &mut self.response else { return Ok(None) };
            let begun = Instant::now();
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    self.pace.keep(begun.elapsed(), chunk.len(), &self.what)?;
                    if let Some(chunk) = self.take(chunk)? {
                        return Ok(Some(chunk));
                    }
                }
                Ok(None) if self.position == self.size => return Ok(None),
                Ok(None) => {
                    let (found, expected) = (self.position, self.size);
                    return Err(Error::Size { what: self.what.clone(), found, expected });
                }
                Err(e) => self.resume(self.broken(&e)).await?,
            }
        }
    }

    /// The part of a chunk that is new; an error when there is more than there should be.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let old = self.skip.min(chunk.len() as u64);
        self.skip -= old;
        let chunk = chunk.split_off(usize::try_from(old).unwrap_or(usize::MAX).min(chunk.len()));
        let after = self.position + chunk.len() as u64;
        if after > self.size {
            return Err(Error::Size { what: self.what.clone(), found: after, expected: self.size });
        }
        self.position = after;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        let what = self.what.clone();
        if error.is_timeout() {
            return Error::Stalled { what, seconds: self.registry.rules().config.read_timeout.as_secs() };
        }
        Error::Interrupted { what, received: self.position, expected: self.size, cause: root_cause(error) }
    }

    /// Connects again where the connection broke; `cause` comes back when there were tries enough.
    async fn resume(&mut self, mut cause: Error) -> Result<()> {
        self.response = None;
        if self.position.saturating_sub(self.mark) >= PROGRESS {
            self.tries = 0;
        }
        self.mark = self.position;
        while let Some(pause) = retry::pause(&self.registry.rules().config, self.tries, None) {
            tracing::debug!(error = %cause, position = self.position, "resuming a blob");
            tokio::time::sleep(pause).await;
            self.tries += 1;
            match self.connect().await {
                Err(e @ (Error::Unreachable { .. } | Error::Interrupted { .. } | Error::Stalled { .. })) => {
                    cause = e
                }
                result => return result,
            }
        }
        Err(cause)
    }
}
