//! Lines, one after the other, each with the number of its step.

use std::collections::BTreeMap;
use std::fmt::Write;

use tare_docker_api::BuildStep;

use super::state::{State, Status, one_line, seconds};

/// What has been written of each step.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    steps: BTreeMap<u32, Written>,
    last: u32,
}

#[derive(Debug, Default)]
struct Written {
    name: String,
    /// A line that has not ended.
    partial: String,
}

impl Plain {
    /// The lines that a piece of news makes.
    pub(crate) fn lines(&mut self, news: &BuildStep, state: &State) -> String {
        let Some(step) = state.steps.get(&news.number) else { return String::new() };
        let number = news.number;
        let mut text = String::new();
        let written = self.steps.entry(number).or_default();
        if written.name != step.name {
            written.name.clone_from(&step.name);
            self.blank(number, &mut text);
            let _ = writeln!(text, "#{number} {}", step.name);
        }
        let mut output = std::mem::take(&mut self.steps.entry(number).or_default().partial) + &news.output;
        let ended = matches!(step.status, Status::Cached | Status::Done | Status::Failed | Status::Cancelled);
        let cut = if ended { output.len() } else { output.rfind('\n').map_or(0, |end| end + 1) };
        let rest = output.split_off(cut);
        if !output.is_empty() {
            self.blank(number, &mut text);
        }
        let since = seconds_exact(news.time.saturating_sub(step.started));
        output.lines().for_each(|line| {
            let _ = writeln!(text, "#{number} {since} {}", one_line(line));
        });
        self.steps.entry(number).or_default().partial = rest;
        if !news.status.is_empty() {
            self.status(number, step, &mut text);
        }
        text
    }

    fn status(&mut self, number: u32, step: &super::state::Step, text: &mut String) {
        let line = match step.status {
            Status::Cached => "CACHED".to_owned(),
            Status::Done => format!("DONE {}", seconds(step.took(step.ended))),
            Status::Failed => format!("ERROR: {}", step.error),
            Status::Cancelled => "CANCELED".to_owned(),
            Status::Waiting | Status::Running => return,
        };
        self.blank(number, text);
        let _ = writeln!(text, "#{number} {line}");
    }

    /// An empty line where another step spoke last.
    fn blank(&mut self, number: u32, text: &mut String) {
        if self.last != number && self.last != 0 {
            text.push('\n');
        }
        self.last = number;
    }
}

/// As BuildKit writes it: `0.123`
fn seconds_exact(nanoseconds: i64) -> String {
    let milliseconds = nanoseconds.max(0) / 1_000_000;
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_run_at_the_same_time_are_told_apart() {
        let (mut state, mut plain) = (State::default(), Plain::default());
        let mut text = String::new();
        let at = |milliseconds: i64| 1_000_000_000 + milliseconds * 1_000_000;
        let step = |number, name: &str, status: &str, time, output: &str| BuildStep {
            number,
            name: name.into(),
            status: status.into(),
            time,
            output: output.into(),
            ..BuildStep::default()
        };
        for news in [
            step(1, "[1/2] FROM a", "started", at(0), ""),
            step(1, "", "cached", at(1), ""),
            step(2, "[2/2] RUN x", "started", at(2), ""),
            step(2, "", "", at(125), "one\ntw"),
            step(3, "[b 2/2] RUN y", "started", at(126), ""),
            step(2, "", "", at(127), "o\nthree"),
            step(2, "", "done", at(1302), ""),
            BuildStep { error: "exit code: 1".into(), ..step(3, "", "failed", at(1400), "") },
        ] {
            state.take(&news);
            text.push_str(&plain.lines(&news, &state));
        }
        insta::assert_snapshot!(text);
    }
}
