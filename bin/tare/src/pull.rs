//! `pull`.

use tare_client::{Messages, PullOptions};
use tare_docker_api::ProgressMessage;
use tare_model::Reference;

use crate::call::Call;
use crate::credentials;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, switch, switch_on, text};
use crate::output::line;
use crate::progress::Progress;

pub(crate) const PULL: &[Flag] = &[
    switch("all-tags", "Download all tagged images in the repository").short('a'),
    switch_on("disable-content-trust", "Skip image verification").hidden(),
    text("platform", "string", "Set platform if server is multi-platform capable"),
    switch("quiet", "Suppress verbose output").short('q'),
];

/// Where work shows how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    OnStdout,
    OnStderr,
}

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
    let reference = fetch(&call, name, call.given.text("platform"), shown).await?;
    line(reference.to_string())?;
    Ok(0)
}

async fn pull_all(call: &Call, name: &str, shown: Shown) -> Result<u8> {
    let reference = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let options = PullOptions {
        image: reference.familiar(),
        tag: String::new(),
        platform: call.given.text("platform").map(str::to_owned),
        credentials: credentials::for_registry(call, reference.domain())?,
    };
    show(call.client.pull(&options).await?, Progress::new(shown)).await?;
    line(reference.to_string())?;
    Ok(0)
}

/// Has the daemon fetch an image; gives its full name.
pub(crate) async fn fetch(
    call: &Call,
    name: &str,
    platform: Option<&str>,
    shown: Shown,
) -> Result<Reference> {
    let reference = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?.or_latest();
    let options = PullOptions {
        image: reference.repository().familiar(),
        tag: reference.identifier(),
        platform: platform.map(str::to_owned),
        credentials: credentials::for_registry(call, reference.domain())?,
    };
    show(call.client.pull(&options).await?, Progress::new(shown)).await?;
    Ok(reference)
}

/// Shows what the daemon tells, to its end; an error that it tells is one.
pub(crate) async fn show(mut messages: Messages, mut progress: Progress) -> Result<()> {
    while let Some(message) = messages.next::<ProgressMessage>().await? {
        if let Some(detail) = &message.error_detail {
            return Err(refusal(&detail.message));
        }
        if !message.error.is_empty() {
            return Err(refusal(&message.error));
        }
        progress.show(&message)?;
    }
    Ok(())
}

fn refusal(message: &str) -> Failure {
    let failure = Failure::new(message);
    let lower = message.to_lowercase();
    let hint =
        if ["denied", "unauthorized", "authentication required"].iter().any(|word| lower.contains(word)) {
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
