//! `build`, and `builder prune`.

mod context;
mod display;
mod export;
mod flags;
mod pack;
mod prune;
mod registries;
mod request;
mod secrets;
mod send;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tare_client::{BuildRequest, Messages};
use tare_docker_api::{BuildOutput, BuildResult, Document, ProgressMessage};

use self::display::{Display, Mode};
use self::export::Writing;
pub(crate) use self::flags::{BUILD, PRUNE};
pub(crate) use self::prune::prune;
use self::request::Request;
use crate::call::Call;
use crate::failure::{Failure, Result, wants_login};
use crate::output::line;
use crate::whole::WholeFile;

/// How often the picture on a terminal is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// `tare build`
pub(crate) async fn build(call: Call) -> Result<u8> {
    let mode = display::mode(call.given.text("progress"), call.given.on("quiet"))?;
    let request = request::read(&call.given)?;
    let prepared = send::prepare(&call, &request)?;
    // The id that an earlier build told is not this one's.
    if let Some(path) = call.given.text("iidfile").filter(|path| Path::new(path).is_file()) {
        std::fs::remove_file(path).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    }
    let writings = request.outputs.iter().map(Writing::begin).collect::<Result<Vec<_>>>()?;
    let credentials = registries::credentials(&call, &request, prepared.parsed.as_ref())?;
    let mut query = request.query.clone();
    query.extend(prepared.query.iter().cloned());
    let messages = call.client.build(&BuildRequest { query, credentials }, prepared.body.start()).await?;
    let mut outcome = Outcome { writings, ..Outcome::default() };
    follow(messages, Display::new(mode), &mut outcome).await?;
    finish(&call, &request, mode, outcome)
}

/// What a build has come to.
#[derive(Default)]
struct Outcome {
    id: String,
    result: BuildResult,
    writings: Vec<Option<Writing>>,
}

/// Shows what the daemon tells, to its end; an error that it tells is one.
async fn follow(mut messages: Messages, mut display: Display, outcome: &mut Outcome) -> Result<()> {
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let told = loop {
        let message = tokio::select! {
            message = messages.next::<Value>() => message,
            _ = frames.tick(), if display.is_live() => {
                display.tick(now());
                continue;
            }
        };
        let raw = match message {
            Ok(Some(raw)) => raw,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        };
        let taken = match take(&raw, &mut display, outcome) {
            Ok(Some(piece)) => fetch(&mut messages, &piece, outcome).await,
            Ok(None) => Ok(()),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = taken {
            break Err(failure);
        }
    };
    display.finish(now());
    told
}

/// The bytes of an output that a message told of.
async fn fetch(messages: &mut Messages, piece: &BuildOutput, outcome: &Outcome) -> Result<()> {
    let writing = outcome.writings.get(piece.index as usize).and_then(Option::as_ref);
    let mut left = piece.bytes;
    while left > 0 {
        let bytes = messages.bytes(usize::try_from(left).unwrap_or(usize::MAX)).await?;
        left -= bytes.len() as u64;
        if let Some(writing) = writing {
            writing.take(bytes);
        }
    }
    Ok(())
}

/// Takes a message in; what it announces of an output is still to be fetched.
fn take(raw: &Value, display: &mut Display, outcome: &mut Outcome) -> Result<Option<BuildOutput>> {
    let message = ProgressMessage::like(raw)
        .map_err(|error| Failure::new(format!("the daemon's answer cannot be read: {error}")))?;
    let detail = message.error_detail.as_ref().map(|detail| detail.message.as_str());
    if let Some(why) = detail.or(Some(message.error.as_str())).filter(|why| !why.is_empty()) {
        return Err(refusal(why));
    }
    let Some(aux) = &message.aux else { return display.show(&message, raw).map(|()| None) };
    if let Some(piece) = &aux.output {
        return Ok(Some(piece.clone()));
    }
    if !aux.id.is_empty() {
        outcome.id.clone_from(&aux.id);
    }
    if let Some(result) = &aux.result {
        outcome.result = result.clone();
    }
    display.show(&message, raw).map(|()| None)
}

fn refusal(message: &str) -> Failure {
    let failure = Failure::new(message);
    if wants_login(message) { failure.hint("log in with: tare login REGISTRY") } else { failure }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Writes down what has been made.
fn finish(call: &Call, request: &Request, mode: Mode, outcome: Outcome) -> Result<u8> {
    outcome.writings.into_iter().flatten().try_for_each(Writing::finish)?;
    let write = |flag: &str, text: &str| match call.given.text(flag) {
        Some(path) => WholeFile::write_text(Path::new(path), text)
            .map_err(|error| Failure::new(format!("{path}: {error}"))),
        None => Ok(()),
    };
    if !outcome.id.is_empty() {
        write("iidfile", &outcome.id)?;
    }
    let metadata = metadata(&outcome.result, request);
    write("metadata-file", &(serde_json::to_string_pretty(&metadata).unwrap_or_default() + "\n"))?;
    if mode == Mode::Quiet && !outcome.id.is_empty() {
        line(&outcome.id)?;
    }
    Ok(0)
}

/// As `docker buildx` names these things.
fn metadata(result: &BuildResult, request: &Request) -> BTreeMap<&'static str, Value> {
    let names: Vec<String> = match result.names.is_empty() {
        true => request.tags.iter().map(ToString::to_string).collect(),
        false => result.names.clone(),
    };
    let mut metadata = BTreeMap::new();
    for (key, text) in [
        ("containerimage.config.digest", &result.config_digest),
        ("containerimage.digest", &result.digest),
        ("image.name", &names.join(",")),
    ] {
        if !text.is_empty() {
            metadata.insert(key, json!(text));
        }
    }
    metadata
}
