//! How far a pull, a push or a load is: a bar for every layer on a terminal, Docker's plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tare_docker_api::ProgressMessage;

use crate::failure::Result;
use crate::output;

/// Where work shows how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    OnStdout,
    OnStderr,
}

/// Shows messages as they come.
pub(crate) enum Progress {
    Nothing,
    Lines(Shown),
    Bars { all: MultiProgress, layers: BTreeMap<String, ProgressBar> },
}

impl Progress {
    pub(crate) fn new(shown: Shown) -> Self {
        let terminal = match shown {
            Shown::Nothing => return Self::Nothing,
            Shown::OnStdout => io::stdout().is_terminal(),
            Shown::OnStderr => io::stderr().is_terminal(),
        };
        if !terminal {
            return Self::Lines(shown);
        }
        let target = if shown == Shown::OnStdout {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self::Bars { all: MultiProgress::with_draw_target(target), layers: BTreeMap::new() }
    }

    pub(crate) fn show(&mut self, message: &ProgressMessage) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Lines(shown) => match plain(message) {
                Some(text) if *shown == Shown::OnStdout => output::line(text),
                Some(text) => {
                    output::say(text);
                    Ok(())
                }
                None => Ok(()),
            },
            Self::Bars { all, layers } => {
                if !says(message) {
                    return Ok(());
                }
                if message.id.is_empty() || message.status.starts_with("Pulling from") {
                    let _ = all.println(text(message));
                } else {
                    draw(
                        layers.entry(message.id.clone()).or_insert_with(|| layer(all, &message.id)),
                        message,
                    );
                }
                Ok(())
            }
        }
    }
}

fn text(message: &ProgressMessage) -> String {
    if !message.stream.is_empty() {
        return message.stream.trim_end().to_owned();
    }
    let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
    format!("{id}{}", message.status)
}

/// Whether a person is told something.
fn says(message: &ProgressMessage) -> bool {
    !message.status.is_empty() || !message.stream.is_empty()
}

/// The line of a message; none for those that only move a bar.
fn plain(message: &ProgressMessage) -> Option<String> {
    let moving =
        message.progress_detail.as_ref().is_some_and(|detail| detail.total > 0 || detail.current > 0);
    (!moving && says(message)).then(|| text(message))
}

fn layer(all: &MultiProgress, id: &str) -> ProgressBar {
    all.add(ProgressBar::new(0).with_prefix(id.to_owned()).with_style(style("{prefix:12}  {msg}")))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

fn draw(bar: &ProgressBar, message: &ProgressMessage) {
    let detail = message.progress_detail.clone().unwrap_or_default();
    bar.set_message(message.status.clone());
    if detail.total > 0 {
        bar.set_length(detail.total);
        bar.set_position(detail.current);
        bar.set_style(style("{prefix:12}  {msg:12} {bar:32} {bytes:>10}/{total_bytes:10}"));
    } else {
        bar.set_style(style("{prefix:12}  {msg}"));
        bar.tick();
    }
    if is_last(&message.status) {
        bar.abandon();
    }
}

/// Whether nothing comes after this word.
fn is_last(status: &str) -> bool {
    matches!(status, "Pull complete" | "Already exists" | "Compressed" | "Pushed" | "Layer already exists")
        || status.starts_with("Mounted from")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_docker_api::ProgressDetail;

    #[test]
    fn plain_lines_leave_out_what_only_moves() {
        let message = |id: &str, status: &str, current, total| ProgressMessage {
            id: id.into(),
            status: status.into(),
            progress_detail: Some(ProgressDetail { current, total, units: String::new() }),
            ..ProgressMessage::default()
        };
        assert_eq!(plain(&message("abc", "Pull complete", 0, 0)).as_deref(), Some("abc: Pull complete"));
        assert_eq!(plain(&message("abc", "Downloading", 5, 10)), None);
        assert_eq!(plain(&message("", "Status: done", 0, 0)).as_deref(), Some("Status: done"));
    }
}
