//! `push`.

use tare_model::Reference;

use crate::call::Call;
use crate::credentials;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, switch, switch_on, text};
use crate::output::line;
use crate::progress::{Progress, Shown};
use crate::pull::show;

pub(crate) const PUSH: &[Flag] = &[
    switch("all-tags", "Push all tags of an image to the repository").short('a'),
    text("compression", "string", "Compress layers by gzip or zstd where they are kept in another way"),
    switch_on("disable-content-trust", "Skip image signing").hidden(),
    text("platform", "string", "Push only the image for this platform (os[/arch[/variant]])"),
    switch("quiet", "Suppress verbose output").short('q'),
];

/// `tare push`
pub(crate) async fn push(call: Call) -> Result<u8> {
    let given = &call.given;
    let (name, all, quiet) = (&given.operands[0], given.on("all-tags"), given.on("quiet"));
    let reference = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference").hint("give the image a tag: tare tag"));
    }
    if all && reference.tag().is_some() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if !all && reference.tag().is_none() && !quiet {
        line("Using default tag: latest")?;
    }
    let tag = (!all).then(|| reference.tag().unwrap_or("latest"));
    let login = credentials::for_registry(&call, reference.domain())?;
    let repository = reference.repository();
    let (platform, compression) = (given.text("platform"), given.text("compression"));
    let client = &call.client;
    let messages = client.push(&repository.familiar(), tag, platform, compression, login.as_ref()).await?;
    show(messages, Progress::new(if quiet { Shown::Nothing } else { Shown::OnStdout })).await?;
    if quiet {
        let shown = tag.and_then(|tag| repository.with_tag(tag).ok()).unwrap_or(repository);
        line(shown.to_string())?;
    }
    Ok(0)
}
