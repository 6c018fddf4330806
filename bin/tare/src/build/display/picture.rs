//! The live picture: a title, a line a step, and below those that run what they wrote last.

use std::io::{self, Write};

use rustix::termios::tcgetwinsize;

use super::state::{State, Status, Step, seconds};

/// How many lines of a running step's output are shown.
const TAIL: usize = 6;
/// A terminal that does not say how large it is.
const USUAL: (usize, usize) = (80, 24);

/// What stands on the terminal.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    drawn: usize,
}

impl Picture {
    /// Draws over what was drawn before.
    pub(crate) fn draw(&mut self, state: &State, now: i64) {
        let (width, height) = size();
        let lines = fitted(lines(state, now, width), height.saturating_sub(1));
        self.put(&lines);
    }

    /// Draws everything, also what does not fit, and leaves it there.
    pub(crate) fn last(&mut self, state: &State, now: i64) {
        let (width, _) = size();
        let lines = lines(state, now, width);
        self.put(&lines);
        self.drawn = 0;
    }

    /// Takes the picture away, so that something else can be written.
    pub(crate) fn wipe(&mut self) {
        self.put(&[]);
    }

    fn put(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        lines.iter().for_each(|line| {
            text.push_str(line);
            text.push('\n');
        });
        self.drawn = lines.len();
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn size() -> (usize, usize) {
    let said = tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    said.map_or(USUAL, |size| (size.ws_col.into(), size.ws_row.into()))
}

/// The title and the newest lines, where not all have room.
fn fitted(mut lines: Vec<String>, height: usize) -> Vec<String> {
    if lines.len() > height.max(2) {
        let cut = lines.len() - height.max(2);
        lines.drain(1..=cut);
    }
    lines
}

/// The whole picture, each line no wider than the terminal.
pub(crate) fn lines(state: &State, now: i64, width: usize) -> Vec<String> {
    if state.steps.is_empty() {
        return Vec::new();
    }
    let ended =
        state.steps.values().filter(|step| !matches!(step.status, Status::Waiting | Status::Running)).count();
    let failed = state.steps.values().any(|step| step.status == Status::Failed);
    let finished = ended == state.steps.len();
    let word = if failed {
        "ERROR"
    } else if finished {
        "FINISHED"
    } else {
        ""
    };
    let time = seconds(now.saturating_sub(state.begun).max(0));
    let title = format!("[+] Building {time} ({ended}/{}) {word}", state.steps.len());
    let mut lines = vec![cut(title.trim_end(), width)];
    for step in state.steps.values().filter(|step| step.status != Status::Waiting) {
        lines.push(line(step, now, width));
        if step.status == Status::Running {
            lines.extend(below(step, width));
        }
    }
    lines
}

fn line(step: &Step, now: i64, width: usize) -> String {
    let word = match step.status {
        Status::Cached => "CACHED ",
        Status::Failed => "ERROR ",
        Status::Cancelled => "CANCELED ",
        _ => "",
    };
    let time = seconds(step.took(now));
    let room = width.saturating_sub(time.len() + 2);
    let left = cut(&format!(" => {word}{}", step.name), room);
    let gap = " ".repeat(room.saturating_sub(left.chars().count()) + 1);
    let (on, off) = match step.status {
        Status::Failed => ("\x1b[31m", "\x1b[0m"),
        Status::Cached | Status::Done => ("\x1b[34m", "\x1b[0m"),
        _ => ("", ""),
    };
    format!("{on}{left}{gap}{time}{off}")
}

/// Transfers and the last lines of output.
fn below(step: &Step, width: usize) -> Vec<String> {
    let moving = step.items.iter().filter(|(_, (done, all))| *all == 0 || done < all);
    let mut lines: Vec<String> = moving
        .map(|(item, (done, all))| {
            let done = tare_model::format_bytes(*done);
            let of = if *all == 0 { String::new() } else { format!(" / {}", tare_model::format_bytes(*all)) };
            cut(&format!(" => => {item} {done}{of}"), width)
        })
        .collect();
    let skipped = step.lines.len().saturating_sub(TAIL);
    lines.extend(step.lines.iter().skip(skipped).map(|line| cut(&format!(" => => # {line}"), width)));
    lines
}

/// At most as many characters as there is room for.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_docker_api::BuildStep;

    fn state() -> State {
        let mut state = State::default();
        let second = 1_000_000_000;
        for (number, name, status, time, output) in [
            (1, "[internal] load build context", "started", second, ""),
            (1, "", "done", 2 * second, ""),
            (2, "[build 1/2] FROM debian:bookworm", "cached", 2 * second, ""),
            (
                3,
                "[build 2/2] RUN a very long command that is wider than the terminal is by far",
                "started",
                2 * second,
                "a\nb\n",
            ),
        ] {
            state.take(&BuildStep {
                number,
                name: name.into(),
                status: status.into(),
                time,
                output: output.into(),
                ..BuildStep::default()
            });
        }
        state.take(&BuildStep {
            number: 3,
            item: "layer".into(),
            current: 5_000_000,
            total: 10_000_000,
            ..BuildStep::default()
        });
        state
    }

    #[test]
    fn a_picture_fits_the_terminal() {
        let picture = lines(&state(), 4_500_000_000, 60);
        insta::assert_snapshot!(picture.join("\n").replace('\x1b', "ESC"));
        let plain = |line: &String| line.replace("\x1b[34m", "").replace("\x1b[0m", "").chars().count();
        assert!(picture.iter().all(|line| plain(line) <= 60));
        assert_eq!(fitted(picture.clone(), 3).len(), 3);
        assert_eq!(fitted(picture.clone(), 3)[0], picture[0]);
        for width in 0..20 {
            lines(&state(), 0, width);
        }
    }
}
