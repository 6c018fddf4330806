//! `commit`, `diff`, `export`, `import`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;

use tare_client::{CommitOptions, ImportOptions};
use tare_model::Reference;

use crate::archive::{at, output, pieces, to_file_or_stdout};
use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, list, switch_on, text};
use crate::output::{line, quote};
use crate::progress::{Progress, Shown};
use crate::pull::show;

pub(crate) const COMMIT: &[Flag] = &[
    text("author", "string", "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")").short('a'),
    list("change", "list", "Apply Dockerfile instruction to the created image").short('c'),
    text("message", "string", "Commit message").short('m'),
    switch_on("pause", "Pause container during commit").short('p'),
];

pub(crate) const EXPORT: &[Flag] =
    &[text("output", "string", "Write to a file, instead of STDOUT").short('o')];

pub(crate) const IMPORT: &[Flag] = &[
    list("change", "list", "Apply Dockerfile instruction to the created image").short('c'),
    text("message", "string", "Set commit message for imported image").short('m'),
    text("platform", "string", "Set platform if server is multi-platform capable"),
];

/// `tare commit`
pub(crate) async fn commit(call: Call) -> Result<u8> {
    let given = &call.given;
    let (repository, tag) = named(given.operands.get(1))?;
    let options = CommitOptions {
        container: given.operands[0].clone(),
        repository,
        tag,
        author: given.owned("author"),
        comment: given.owned("message"),
        pause: given.on("pause"),
        changes: given.list("change"),
    };
    line(call.client.commit(&options).await?)?;
    Ok(0)
}

/// The two halves of a name, both empty where there is none.
fn named(name: Option<&String>) -> Result<(String, String)> {
    let Some(name) = name else { return Ok(Default::default()) };
    let reference = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(Failure::new("cannot use digest reference"));
    }
    Ok((reference.repository().familiar(), reference.tag().unwrap_or_default().to_owned()))
}

/// `tare diff`
pub(crate) async fn diff(call: Call) -> Result<u8> {
    for change in call.client.container_changes(&call.given.operands[0]).await? {
        let letter = match change.kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        quote(format!("{letter} {}", change.path))?;
    }
    Ok(0)
}

/// `tare export`
pub(crate) async fn export(call: Call) -> Result<u8> {
    let given = &call.given;
    let file = output(given)?;
    to_file_or_stdout(file, call.client.export(&given.operands[0]).await?).await?;
    Ok(0)
}

/// `tare import`
pub(crate) async fn import(call: Call) -> Result<u8> {
    let given = &call.given;
    let (repository, tag) = named(given.operands.get(1))?;
    let source = given.operands[0].as_str();
    let url = source.starts_with("http://") || source.starts_with("https://");
    let pieces = match source {
        "-" if io::stdin().is_terminal() => {
            return Err(Failure::new("requested import from stdin, but stdin is a terminal")
                .hint("name a file, or redirect the input"));
        }
        "-" => Some(pieces(io::stdin())),
        _ if url => None,
        file => Some(pieces(File::open(file).map_err(|error| at(Path::new(file), &error))?)),
    };
    let options = ImportOptions {
        source: if url { source.to_owned() } else { "-".to_owned() },
        repository,
        tag,
        message: given.owned("message"),
        changes: given.list("change"),
        platform: given.text("platform").map(str::to_owned),
    };
    show(call.client.import(&options, pieces).await?, Progress::new(Shown::OnStdout)).await?;
    Ok(0)
}
