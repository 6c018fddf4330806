//! `pull`.

use tare_client::{Messages, PullOptions};
use tare_docker_api::{ProgressAux, ProgressMessage};
use tare_model::Reference;

use crate::call::Call;
use crate::credentials;
use crate::failure::{Failure, Result, wants_login};
use crate::flags::{Flag, switch, switch_on, text};
use crate::output::{line, say};
use crate::progress::{Progress, Shown};

pub(crate) const PULL: &[Flag] = &[
    switch("all-platforms", "Download the image for every platform that it is for"),
    switch("all-tags", "Download all tagged images in the repository").short('a'),
    switch_on("disable-content-trust", "Skip image verification").hidden(),
    text("platform", "string", "Set platform if server is multi-platform capable"),
    switch("quiet", "Suppress verbose output").short('q'),
];

/// `tare pull`
pub(crate) async fn pull(call: Call) -> Result<u8> {
    let name = &call.given.operands[0];
    let quiet = call.given.on("quiet");
    if call.given.on("all-tags") {
        return pull_all(&call, name, if quiet { Shown::Nothing } else { Shown::OnStdout }).await;
    }
    if !quiet
        && let Ok(reference) = name.parse::<Reference>()
        && reference.tag().is_none()
        && reference.digest().is_none()
    {
        line("Using default tag: latest")?;
    }
    let shown = if quiet { Shown::Nothing } else { Shown::OnStdout };
    let reference = fetch(&call, name, wanted(&call)?, shown).await?;
    line(reference.to_string())?;
    Ok(0)
}

/// For what an image is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// The daemon's own platform where none is named.
    One(Option<&'a str>),
    Every,
}

fn wanted(call: &Call) -> Result<Wanted<'_>> {
    match (call.given.on("all-platforms"), call.given.text("platform")) {
        (true, Some(_)) => Err(Failure::usage("--all-platforms and --platform exclude each other")),
        (true, None) => Ok(Wanted::Every),
        (false, one) => Ok(Wanted::One(one)),
    }
}

impl Wanted<'_> {
    fn platform(self) -> Option<String> {
        match self {
            Self::One(platform) => platform.map(str::to_owned),
            Self::Every => None,
        }
    }
}

async fn pull_all(call: &Call, name: &str, shown: Shown) -> Result<u8> {
    let reference = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let wanted = wanted(call)?;
    let options = PullOptions {
        image: reference.familiar(),
        tag: String::new(),
        platform: wanted.platform(),
        all_platforms: matches!(wanted, Wanted::Every),
        credentials: credentials::for_registry(call, reference.domain())?,
    };
    show(call.client.pull(&options).await?, Progress::new(shown)).await?;
    line(reference.to_string())?;
    Ok(0)
}

/// Has the daemon fetch an image; gives its full name.
pub(crate) async fn fetch(call: &Call, name: &str, wanted: Wanted<'_>, shown: Shown) -> Result<Reference> {
    let reference = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?.or_latest();
    let options = PullOptions {
        image: reference.repository().familiar(),
        tag: reference.identifier(),
        platform: wanted.platform(),
        all_platforms: matches!(wanted, Wanted::Every),
        credentials: credentials::for_registry(call, reference.domain())?,
    };
    show(call.client.pull(&options).await?, Progress::new(shown)).await?;
    Ok(reference)
}

/// Shows what the daemon tells, to its end; an error that it tells is one.
pub(crate) async fn show(mut messages: Messages, mut progress: Progress) -> Result<()> {
    let mut note = None;
    while let Some(message) = messages.next::<ProgressMessage>().await? {
        if let Some(detail) = &message.error_detail {
            return Err(refusal(&detail.message));
        }
        if !message.error.is_empty() {
            return Err(refusal(&message.error));
        }
        progress.show(&message)?;
        note = note.or(message.aux.as_ref().and_then(instead));
    }
    drop(progress);
    note.iter().for_each(say);
    Ok(())
}

/// Docker's words for an image that was pushed in place of an index.
fn instead(pushed: &ProgressAux) -> Option<String> {
    let (index, manifest) = (pushed.index.as_ref()?, pushed.manifest.as_ref()?);
    let why =
        "Not all multiplatform-content is present and only the available single-platform image was pushed";
    pushed.instead.then(|| format!("{why}\n{} -> {}", index.digest, manifest.digest))
}

fn refusal(message: &str) -> Failure {
    let failure = Failure::new(message);
    let lower = message.to_lowercase();
    let hint = if wants_login(message) {
        "log in with: tare login REGISTRY"
    } else if ["manifest unknown", "not found"].iter().any(|word| lower.contains(word)) {
        "check the name and the tag"
    } else if lower.contains("http response to https") || lower.contains("certificate") {
        "a registry without TLS must be allowed: tared --insecure-registry HOST:PORT"
    } else {
        return failure;
    };
    failure.hint(hint)
}
