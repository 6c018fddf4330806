//! `save`, `load`.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use tare_client::Answer;
use tokio::sync::mpsc::{self, Receiver};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, Given, switch, text};
use crate::progress::{Progress, Shown};
use crate::pull::show;
use crate::whole::WholeFile;

pub(crate) const SAVE: &[Flag] = &[
    text("output", "string", "Write to a file, instead of STDOUT").short('o'),
    text("platform", "string", "Save only the image for this platform (os[/arch[/variant]])"),
];

pub(crate) const LOAD: &[Flag] = &[
    text("input", "string", "Read from tar archive file, instead of STDIN").short('i'),
    text("platform", "string", "Load only images for this platform (os[/arch[/variant]])"),
    switch("quiet", "Suppress the load output").short('q'),
];

const CHUNK: usize = 256 << 10;
/// Chunks between the file and the daemon.
const AHEAD: usize = 8;

/// `tare save`
pub(crate) async fn save(call: Call) -> Result<u8> {
    let given = &call.given;
    let file = output(given)?;
    let archive = call.client.save(&given.operands, given.text("platform")).await?;
    to_file_or_stdout(file, archive).await?;
    Ok(0)
}

/// Where an archive is to go, which is judged before it is asked for: a file, or standard output.
pub(crate) fn output(given: &Given) -> Result<Option<&Path>> {
    match given.text("output").map(Path::new) {
        None if io::stdout().is_terminal() => Err(Failure::new("cowardly refusing to save to a terminal")
            .hint("name a file with -o, or redirect the output")),
        Some(file) if file.is_dir() => {
            Err(Failure::new(format!("invalid output path: {} is a directory", file.display())))
        }
        file => Ok(file),
    }
}

/// Writes an archive to the file that was asked for, or to standard output.
pub(crate) async fn to_file_or_stdout(file: Option<&Path>, archive: Answer) -> Result<()> {
    match file {
        None => write(archive, &mut io::stdout().lock()).await,
        Some(file) => {
            let mut out = WholeFile::begin(file, 0o600).map_err(|e| at(file, &e))?;
            write(archive, &mut out).await?;
            out.keep().map_err(|e| at(file, &e))
        }
    }
}

async fn write(mut archive: Answer, out: &mut impl Write) -> Result<()> {
    while let Some(chunk) = archive.chunk().await? {
        out.write_all(&chunk)?;
    }
    Ok(out.flush()?)
}

pub(crate) fn at(file: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", file.display()))
}

/// `tare load`
pub(crate) async fn load(call: Call) -> Result<u8> {
    let given = &call.given;
    let quiet = given.on("quiet");
    let pieces = match given.text("input") {
        Some(file) => pieces(File::open(file).map_err(|e| at(Path::new(file), &e))?),
        None if io::stdin().is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty")
                .hint("name a file with -i, or redirect the input"));
        }
        None => pieces(io::stdin()),
    };
    let messages = call.client.load(pieces, quiet, given.text("platform")).await?;
    show(messages, Progress::new(Shown::OnStdout)).await?;
    Ok(0)
}

/// Reads in a thread of its own, which ends with who takes the pieces.
pub(crate) fn pieces(mut from: impl Read + Send + 'static) -> Receiver<io::Result<bytes::Bytes>> {
    let (to, pieces) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut buffer = vec![0; CHUNK];
            let piece = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    buffer.truncate(read);
                    Ok(buffer.into())
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            if to.blocking_send(piece).is_err() {
                return;
            }
        }
    });
    pieces
}
