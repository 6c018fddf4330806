//! What is known of a build's steps.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use tare_docker_api::BuildStep;

/// How many lines of a step's output are kept, for the picture and for the end of a failed one.
const KEPT: usize = 40;

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) steps: BTreeMap<u32, Step>,
    /// When the first of them began, in nanoseconds since 1970.
    pub(crate) begun: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Waiting,
    Running,
    Cached,
    Done,
    Failed,
    Cancelled,
}

#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) started: i64,
    pub(crate) ended: i64,
    pub(crate) lines: VecDeque<String>,
    partial: String,
    /// What is transferred: name → bytes done, bytes in all.
    pub(crate) items: BTreeMap<String, (u64, u64)>,
    pub(crate) error: String,
}

impl State {
    /// Takes in news.
    pub(crate) fn take(&mut self, news: &BuildStep) {
        if self.begun == 0 {
            self.begun = news.time;
        }
        let step = self.steps.entry(news.number).or_default();
        if !news.name.is_empty() {
            step.name = one_line(&news.name);
        }
        step.turn(news);
        if !news.item.is_empty() {
            step.items.insert(one_line(&news.item), (news.current, news.total));
        }
        step.hear(&news.output);
    }

    /// What the failed steps wrote last.
    pub(crate) fn last_words(&self) -> String {
        let mut text = String::new();
        for step in self.steps.values().filter(|step| step.status == Status::Failed && !step.lines.is_empty())
        {
            let _ = writeln!(text, "------\n > {}:", step.name);
            step.lines.iter().for_each(|line| {
                let _ = writeln!(text, "{line}");
            });
            text.push_str("------\n");
        }
        text
    }
}

impl Step {
    fn turn(&mut self, news: &BuildStep) {
        let status = match news.status.as_str() {
            "started" => Status::Running,
            "cached" => Status::Cached,
            "done" => Status::Done,
            "failed" => Status::Failed,
            "cancelled" => Status::Cancelled,
            _ => return,
        };
        self.status = status;
        if self.started == 0 {
            self.started = news.time;
        }
        if status != Status::Running {
            self.ended = news.time;
            // The excerpt below it comes with the whole error at the end.
            self.error = one_line(news.error.lines().next().unwrap_or_default());
            let rest = std::mem::take(&mut self.partial);
            if !rest.is_empty() {
                self.keep(&rest);
            }
        }
    }

    /// Cuts output into lines; the last may go on with the next piece.
    fn hear(&mut self, output: &str) {
        if output.is_empty() {
            return;
        }
        let mut text = std::mem::take(&mut self.partial) + output;
        while let Some(end) = text.find('\n') {
            let rest = text.split_off(end + 1);
            self.keep(&text);
            text = rest;
        }
        // A step that never ends a line must not fill the memory.
        if text.len() > 16 << 10 {
            self.keep(&text);
            text.clear();
        }
        self.partial = text;
    }

    fn keep(&mut self, line: &str) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(one_line(line));
    }

    /// In nanoseconds.
    pub(crate) fn took(&self, now: i64) -> i64 {
        let end = if self.status == Status::Running { now } else { self.ended };
        end.saturating_sub(self.started).max(0)
    }
}

/// One line of what a program wrote: of a line that it redrew what is seen last, and nothing that steers the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.trim_end_matches(['\r', '\n']);
    harmless(text.rsplit('\r').next().unwrap_or(text))
}

/// Lines that keep their ends.
pub(crate) fn harmless_lines(text: &str) -> String {
    let ended = |line: &str| if line.ends_with('\n') { "\n" } else { "" };
    text.split_inclusive('\n').map(|line| one_line(line) + ended(line)).collect()
}

/// Takes escape sequences and control characters out.
fn harmless(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '\x1b' => skip_sequence(&mut letters),
            '\t' => plain.push_str("    "),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// What follows an escape: `[` parameters and a letter, `]` text and a bell, or one character.
fn skip_sequence(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match letters.next() {
        Some('[') => while letters.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
        Some(']') => while letters.next().is_some_and(|c| c != '\x07' && c != '\x1b') {},
        _ => {}
    }
}

/// `1.5s`, `1m20s`
pub(crate) fn seconds(nanoseconds: i64) -> String {
    let tenths = nanoseconds / 100_000_000;
    match tenths / 10 {
        seconds if seconds >= 100 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{seconds}.{}s", tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines_however_it_comes() {
        let mut state = State::default();
        for output in ["a", "b\nc\r", "d\n\x1b[31mred\x1b[0m\x07 \x1b]0;title\x07x\n", "rest"] {
            state.take(&BuildStep { number: 1, output: output.into(), ..BuildStep::default() });
        }
        state.take(&BuildStep {
            number: 1,
            status: "failed".into(),
            name: "n".into(),
            ..BuildStep::default()
        });
        assert_eq!(state.steps[&1].lines, ["ab", "d", "red x", "rest"]);
        assert_eq!(state.last_words(), "------\n > n:\nab\nd\nred x\nrest\n------\n");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut state = State::default();
        let output = "x\n".repeat(10_000) + &"y".repeat(100_000);
        state.take(&BuildStep { number: 1, output, ..BuildStep::default() });
        let step = &state.steps[&1];
        assert_eq!(step.lines.len(), KEPT);
        assert!(step.partial.is_empty());
    }

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(1_540_000_000), "1.5s");
        assert_eq!(seconds(125_000_000_000), "2m05s");
        assert_eq!(seconds(0), "0.0s");
    }
}
