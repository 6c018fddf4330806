//! How far a build is: a live picture on a terminal, lines elsewhere.

pub(crate) mod picture;
mod plain;
pub(crate) mod state;

use std::io::{self, IsTerminal, Write};

use tare_docker_api::ProgressMessage;

use self::picture::Picture;
use self::plain::Plain;
use self::state::State;
use crate::failure::{Failure, Result};
use crate::output;

/// What `--progress` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Quiet,
    Plain,
    Terminal,
    RawJson,
}

/// Chooses by what a person said, and by where standard error goes.
pub(crate) fn mode(progress: Option<&str>, quiet: bool) -> Result<Mode> {
    let automatic = || if io::stderr().is_terminal() { Mode::Terminal } else { Mode::Plain };
    match progress.unwrap_or("auto") {
        _ if quiet => Ok(Mode::Quiet),
        "auto" | "" => Ok(automatic()),
        "plain" => Ok(Mode::Plain),
        "tty" if io::stderr().is_terminal() => Ok(Mode::Terminal),
        "tty" => Err(Failure::usage("--progress=tty needs a terminal on standard error")
            .hint("leave --progress out, or use plain")),
        "quiet" => Ok(Mode::Quiet),
        "rawjson" => Ok(Mode::RawJson),
        other => Err(Failure::usage(format!(
            "invalid argument \"{other}\" for \"--progress\" flag: one of auto, plain, tty, quiet, rawjson is wanted"
        ))),
    }
}

/// Shows messages as they come.
pub(crate) struct Display {
    mode: Mode,
    state: State,
    plain: Plain,
    picture: Picture,
}

impl Display {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, state: State::default(), plain: Plain::default(), picture: Picture::default() }
    }

    /// Whether the picture changes by itself, since a time is shown in it.
    pub(crate) fn is_live(&self) -> bool {
        self.mode == Mode::Terminal
    }

    pub(crate) fn show(&mut self, message: &ProgressMessage, raw: &serde_json::Value) -> Result<()> {
        if self.mode == Mode::RawJson {
            output::say(raw.to_string());
            return Ok(());
        }
        if let Some(step) = message.aux.as_ref().and_then(|aux| aux.step.as_ref()) {
            self.state.take(step);
            if self.mode == Mode::Plain {
                write(&self.plain.lines(step, &self.state));
            }
            return Ok(());
        }
        // A daemon that knows no steps tells in lines.
        if self.mode != Mode::Quiet {
            match (&message.stream, &message.status) {
                (stream, _) if !stream.is_empty() => self.aside(&state::harmless_lines(stream)),
                (_, status) if !status.is_empty() && message.progress_detail.is_none() => {
                    let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
                    self.aside(&state::harmless_lines(&format!("{id}{status}\n")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn aside(&mut self, text: &str) {
        self.picture.wipe();
        write(text);
    }

    /// Draws the picture anew; `now` in nanoseconds since 1970.
    pub(crate) fn tick(&mut self, now: i64) {
        if self.mode == Mode::Terminal {
            self.picture.draw(&self.state, now);
        }
    }

    /// The last picture, and what a failed step said at the end.
    pub(crate) fn finish(&mut self, now: i64) {
        if self.mode == Mode::Terminal {
            self.picture.last(&self.state, now);
        }
        if self.mode != Mode::RawJson {
            write(&self.state.last_words());
        }
    }
}

/// Progress goes to standard error; nobody can be told when that fails.
fn write(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
