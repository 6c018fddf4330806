//! `POST /build` and `POST /build/prune`.

mod output;
mod request;
mod steps;
mod transcript;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tare_build::{Built, Error as BuildError, Progress, PruneRequest};
use tare_docker_api::{BuildOutput, BuildPrune, BuildResult, ErrorDetail, ProgressAux, ProgressMessage};
use tare_http::{Reply, Request, StatusCode};
use tare_model::Timestamp;
use tokio::sync::mpsc;

use crate::filter::Filters;
use crate::image::progress_line;
use crate::{Error, Result, Rooms, parameter};
use steps::Steps;
use transcript::Transcript;

/// `POST /build`. A build that cannot even begin is an error with a status of its own; once something was told, an error is
/// the last line of the stream. The build ends with the client.
pub(crate) async fn build(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let wanted = request::read(&mut request)?;
    let quiet = parameter::flag(&request.query, "q");
    let steps = parameter::flag(&request.query, "tareprogress").then(Steps::default);
    let (tell, told) = mpsc::unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&waiting);
    let listener = Arc::new(move |progress: Progress| {
        // A client that does not read must not make us keep all that a step writes.
        if counted.fetch_add(size(&progress), Ordering::Relaxed) < WAITING || size(&progress) == 0 {
            drop(tell.send(progress)); // nobody listens any more: the client has gone
        } else {
            counted.fetch_sub(size(&progress), Ordering::Relaxed);
        }
    });
    let builder = Arc::clone(&rooms.builder);
    let work = Box::pin(async move { builder.build(wanted, listener).await.map(Box::new) });
    let remove = request.query.get("rm").is_none() || parameter::flag(&request.query, "rm");
    let transcript = Transcript::new(remove);
    let work = Work {
        work,
        told,
        waiting,
        outcome: None,
        transcript,
        steps,
        quiet,
        unsaid: Vec::new(),
        unsaid_bytes: 0,
        lines: VecDeque::new(),
        raw: None,
        exporting: None,
        ended: false,
        rooms,
    };
    work.reply().await
}

/// The most bytes that are kept of a quiet build.
const UNSAID: usize = 4 << 20;
/// The most bytes of output that wait for a client.
const WAITING: usize = 32 << 20;
/// What a message costs beside its text.
const MESSAGE: usize = 128;

/// What a program wrote takes in memory, also where it writes byte by byte.
fn size(progress: &Progress) -> usize {
    if let Progress::Output { bytes, .. } = progress { bytes.len() + MESSAGE } else { 0 }
}

/// A build under way. Dropping it ends the build.
struct Work {
    work: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    told: mpsc::UnboundedReceiver<Progress>,
    /// Bytes of output among it.
    waiting: Arc<AtomicUsize>,
    outcome: Option<Outcome>,
    transcript: Transcript,
    steps: Option<Steps>,
    quiet: bool,
    /// What a quiet build would have said.
    unsaid: Vec<ProgressMessage>,
    unsaid_bytes: usize,
    /// What is to be sent.
    lines: VecDeque<ProgressMessage>,
    /// What is to be sent after them: of an export, the bytes that the last line tells of.
    raw: Option<Bytes>,
    /// What was built, as long as its exports go out.
    exporting: Option<Box<Built>>,
    ended: bool,
    rooms: Arc<Rooms>,
}

type Outcome = std::result::Result<Box<Built>, BuildError>;

enum Step {
    Told(Progress),
    Ended(Outcome),
}

impl Work {
    async fn reply(mut self) -> Result<Reply> {
        while self.transcript.is_silent() {
            match self.next().await {
                Step::Told(progress) => self.tell(progress),
                Step::Ended(Err(why)) => return Err(why.into()),
                Step::Ended(outcome) => {
                    self.end(outcome);
                    break;
                }
            }
        }
        Ok(Reply::stream(StatusCode::OK, "application/json", self.rest()))
    }

    /// What is told next; the end comes after all that was told before it.
    async fn next(&mut self) -> Step {
        while self.outcome.is_none() {
            tokio::select! {
                biased;
                Some(progress) = self.told.recv() => {
                    self.waiting.fetch_sub(size(&progress), Ordering::Relaxed);
                    return Step::Told(progress);
                }
                outcome = &mut self.work => self.outcome = Some(outcome),
            }
        }
        match (self.told.try_recv(), self.outcome.take()) {
            (Ok(progress), outcome) => {
                self.outcome = outcome;
                Step::Told(progress)
            }
            (Err(_), outcome) => Step::Ended(outcome.unwrap_or(Err(BuildError::Cancelled))),
        }
    }

    fn tell(&mut self, progress: Progress) {
        if let Some(steps) = &mut self.steps {
            self.lines.extend(steps.message(&progress));
        }
        let warning = matches!(progress, Progress::Warning(_));
        let shown = self.transcript.take(progress);
        if self.steps.is_some() {
            // Programs that hear of steps do not want to read them as well.
            self.lines.extend(shown.into_iter().filter(|_| warning));
        } else if !self.quiet {
            self.lines.extend(shown);
        } else {
            self.unsaid_bytes += shown.iter().map(|message| message.stream.len() + MESSAGE).sum::<usize>();
            self.unsaid.extend(shown.into_iter().filter(|_| self.unsaid_bytes < UNSAID));
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        match outcome {
            Ok(built) => {
                let shown = self.transcript.rest();
                if !self.quiet && self.steps.is_none() {
                    self.lines.extend(shown);
                }
                self.exporting = Some(built);
            }
            Err(why) => {
                // Who wanted to hear nothing of a build that goes well hears all of one that does not.
                let shown = std::mem::take(&mut self.unsaid).into_iter().chain(self.transcript.rest());
                if self.steps.is_none() {
                    self.lines.extend(shown);
                }
                let message = why.to_string();
                let code = why.exit_code().map_or(0, i64::from);
                let error_detail = Some(ErrorDetail { code, message: message.clone() });
                self.lines.push_back(ProgressMessage {
                    error_detail,
                    error: message,
                    ..ProgressMessage::default()
                });
            }
        }
    }

    fn fail(&mut self, message: String, code: i64) {
        let error_detail = Some(ErrorDetail { code, message: message.clone() });
        self.lines.push_back(ProgressMessage { error_detail, error: message, ..ProgressMessage::default() });
    }

    /// The next piece of what goes to the client; after the last one, what was built. False at the end of everything.
    async fn export(&mut self) -> bool {
        let Some(built) = &mut self.exporting else { return false };
        let Some(exported) = built.exported.first_mut() else {
            if let Some(built) = self.exporting.take() {
                self.built(&built);
            }
            return true;
        };
        let index = u32::try_from(exported.index).unwrap_or(u32::MAX);
        let output = match exported.pieces.next().await {
            Some(Ok(bytes)) => {
                let count = bytes.len() as u64;
                self.raw = Some(bytes);
                BuildOutput { index, bytes: count, ..BuildOutput::default() }
            }
            Some(Err(why)) => {
                self.exporting = None;
                self.fail(format!("cannot export what was built: {why}"), 0);
                return true;
            }
            None => {
                built.exported.remove(0);
                BuildOutput { index, end: true, ..BuildOutput::default() }
            }
        };
        let aux = Some(ProgressAux { output: Some(output), ..ProgressAux::default() });
        self.lines.push_back(ProgressMessage { aux, ..ProgressMessage::default() });
        true
    }

    fn built(&mut self, built: &Built) {
        let Some(made) = &built.made else { return };
        let id = made.id.to_string();
        let said = |stream: String| ProgressMessage { stream, ..ProgressMessage::default() };
        if self.steps.is_some() {
            let names = built.names.clone();
            let config_digest = if made.is_index { String::new() } else { id.clone() };
            let result = BuildResult { digest: made.digest.to_string(), config_digest, names };
            let aux = Some(ProgressAux { result: Some(result), ..ProgressAux::default() });
            self.lines.push_back(ProgressMessage { aux, ..ProgressMessage::default() });
        }
        let aux = Some(ProgressAux { id: id.clone(), ..ProgressAux::default() });
        self.lines.push_back(ProgressMessage { aux, ..ProgressMessage::default() });
        if self.quiet {
            self.lines.push_back(said(format!("{id}\n")));
        } else if self.steps.is_none() {
            self.lines.push_back(said(format!("Successfully built {}\n", made.id.short())));
            for name in &built.names {
                self.lines.push_back(said(format!("Successfully tagged {name}\n")));
            }
        }
        crate::image::publish(&self.rooms, "create", &id, &id);
        for name in &built.names {
            crate::image::publish(&self.rooms, "tag", &id, name);
        }
    }

    fn rest(self) -> impl Stream<Item = std::result::Result<Bytes, Infallible>> {
        let pieces = futures_util::stream::unfold(self, |mut work| async move {
            if work.lines.is_empty()
                && let Some(raw) = work.raw.take()
            {
                return Some((raw, work));
            }
            while work.lines.is_empty() {
                if work.ended {
                    if !work.export().await {
                        return None;
                    }
                    continue;
                }
                match work.next().await {
                    Step::Told(progress) => work.tell(progress),
                    Step::Ended(outcome) => work.end(outcome),
                }
            }
            let piece: Vec<u8> = work.lines.drain(..).flat_map(|message| progress_line(&message)).collect();
            Some((Bytes::from(piece), work))
        });
        pieces.map(Ok)
    }
}

/// `POST /build/prune`.
pub(crate) async fn prune(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let known = ["until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private"];
    let filters = Filters::of(&request.query, &known)?;
    let keep = ["reserved-space", "keep-storage"];
    let keep = keep.iter().find_map(|name| parameter::number::<i64>(&request.query, name).transpose());
    let mut before = None;
    for text in filters.values("until").chain(filters.values("unused-for")) {
        before = Some(since(text)?);
    }
    let request = PruneRequest {
        keep: keep.transpose()?.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0),
        before,
        ids: filters.values("id").map(str::to_owned).collect(),
    };
    let pruned = rooms.builder.prune(request).await?;
    let reply = BuildPrune {
        caches_deleted: crate::prune::some(pruned.removed),
        space_reclaimed: i64::try_from(pruned.bytes).unwrap_or(i64::MAX),
    };
    Ok(Reply::json(StatusCode::OK, &reply))
}

/// A moment, or how long ago it was (`24h`).
fn since(text: &str) -> Result<Timestamp> {
    let invalid =
        || Error::invalid(format!("invalid filter 'until={text}': write a duration such as 24h, or a time"));
    if let Ok(ago) = tare_model::parse_duration(text) {
        let moment = std::time::SystemTime::now().checked_sub(ago).ok_or_else(invalid)?;
        return Ok(moment.into());
    }
    Timestamp::from_unix_text(text).or_else(|_| text.parse()).map_err(|_| invalid())
}
