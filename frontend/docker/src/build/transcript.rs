//! What a build prints in the words of docker's classic builder, step after step, although steps of several stages may run
//! at a time: what a later step says waits until those before it are done.

use std::collections::BTreeMap;

use tare_build::Progress;
use tare_docker_api::ProgressMessage;
use tare_model::Id;

use crate::image::progress_message;

/// The most bytes that wait for their turn in one step; what is over is left out, and said to be.
const WAITING: usize = 8 << 20;

#[derive(Default)]
struct Said {
    lines: Vec<ProgressMessage>,
    bytes: usize,
    container: Option<Id>,
    done: bool,
    /// A character that the program has not written whole yet.
    pieces: [Vec<u8>; 2],
}

pub(super) struct Transcript {
    steps: BTreeMap<usize, Said>,
    /// The step whose words go out as they come.
    now: usize,
    /// Whether containers of steps are removed after success, and said to be.
    remove: bool,
    /// Whether anything was told.
    told: bool,
}

impl Transcript {
    pub(super) fn new(remove: bool) -> Self {
        Self { steps: BTreeMap::new(), now: 1, remove, told: false }
    }

    /// Whether nothing was said yet.
    pub(super) fn is_silent(&self) -> bool {
        !self.told
    }

    /// Takes in what happened; what is to be printed now.
    pub(super) fn take(&mut self, progress: Progress) -> Vec<ProgressMessage> {
        self.told = true;
        let step = match &progress {
            Progress::Started { step, .. } | Progress::Output { step, .. } => *step,
            Progress::Cached(step) | Progress::Running(step, _) | Progress::Pull(step, _) => *step,
            Progress::Triggers(step, _) | Progress::Done(step, _) | Progress::Failed(step, _) => *step,
            Progress::Warning(text) => return vec![stream(format!("[Warning] {text}\n"))],
        };
        let said = self.steps.entry(step).or_default();
        for message in said.hear(progress, self.remove) {
            said.bytes += message.stream.len();
            if step <= self.now || said.bytes < WAITING {
                said.lines.push(message);
            }
        }
        self.ready()
    }

    fn ready(&mut self) -> Vec<ProgressMessage> {
        // FROM is done before the triggers of its image have run.
        let late = self.steps.range_mut(..self.now);
        let mut ready: Vec<_> = late.flat_map(|(_, said)| std::mem::take(&mut said.lines)).collect();
        while let Some(said) = self.steps.get_mut(&self.now) {
            ready.append(&mut said.lines);
            if !said.done {
                break;
            }
            self.now += 1;
        }
        ready
    }

    /// What still waits when the build has ended.
    pub(super) fn rest(&mut self) -> Vec<ProgressMessage> {
        self.steps.values_mut().flat_map(|said| std::mem::take(&mut said.lines)).collect()
    }
}

impl Said {
    fn hear(&mut self, progress: Progress, remove: bool) -> Vec<ProgressMessage> {
        match progress {
            Progress::Started { step, total, text, .. } => {
                vec![stream(format!("Step {step}/{total} : {text}\n"))]
            }
            Progress::Cached(_) => vec![stream(" ---> Using cache\n".to_owned())],
            Progress::Running(_, id) => {
                let line = format!(" ---> Running in {}\n", id.short());
                self.container = Some(id);
                vec![stream(line)]
            }
            Progress::Output { bytes, error, .. } => {
                let text = self.text(usize::from(error), &bytes);
                if text.is_empty() { Vec::new() } else { vec![stream(text)] }
            }
            Progress::Pull(_, progress) => vec![progress_message(progress)],
            Progress::Triggers(_, count) => {
                let word = if count == 1 { "trigger" } else { "triggers" };
                vec![stream(format!("# Executing {count} build {word}\n"))]
            }
            Progress::Done(_, digest) => {
                self.done = true;
                let removed = self.container.as_ref().filter(|_| remove);
                let removed = removed
                    .map(|id| stream(format!(" ---> Removed intermediate container {}\n", id.short())));
                removed.into_iter().chain([stream(format!(" ---> {}\n", digest.short()))]).collect()
            }
            Progress::Failed(..) | Progress::Warning(_) => Vec::new(),
        }
    }

    /// What a program wrote as text; the beginning of a character is kept until the rest comes.
    fn text(&mut self, of: usize, bytes: &[u8]) -> String {
        let piece = &mut self.pieces[of];
        piece.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(piece) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => piece.len(),
        };
        let rest = piece.split_off(whole);
        String::from_utf8_lossy(&std::mem::replace(piece, rest)).into_owned()
    }
}

fn stream(stream: String) -> ProgressMessage {
    ProgressMessage { stream, ..ProgressMessage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_model::Digest;

    fn started(step: usize) -> Progress {
        Progress::Started { step, total: 3, title: String::new(), text: format!("RUN {step}") }
    }

    fn output(step: usize, bytes: &'static [u8]) -> Progress {
        Progress::Output { step, bytes: bytes.into(), error: false }
    }

    fn said(transcript: &mut Transcript, progress: Progress) -> String {
        transcript.take(progress).into_iter().map(|message| message.stream).collect()
    }

    #[test]
    fn steps_speak_one_after_the_other() {
        let mut transcript = Transcript::new(true);
        let done = |step| Progress::Done(step, Digest::from_bytes([0xab; 32]));
        assert_eq!(said(&mut transcript, started(1)), "Step 1/3 : RUN 1\n");
        assert_eq!(said(&mut transcript, started(2)), "");
        assert_eq!(said(&mut transcript, output(2, b"later")), "");
        assert_eq!(said(&mut transcript, output(1, b"now")), "now");
        let id = Id::from_random([0xcd; 32]);
        assert_eq!(said(&mut transcript, Progress::Running(1, id)), " ---> Running in cdcdcdcdcdcd\n");
        assert_eq!(
            said(&mut transcript, done(1)),
            " ---> Removed intermediate container cdcdcdcdcdcd\n ---> abababababab\nStep 2/3 : RUN 2\nlater"
        );
        assert_eq!(said(&mut transcript, output(2, b"\n")), "\n");
    }

    #[test]
    fn triggers_speak_before_the_step_behind_them() {
        let mut transcript = Transcript::new(true);
        said(&mut transcript, started(1));
        said(&mut transcript, Progress::Done(1, Digest::from_bytes([0xab; 32])));
        assert_eq!(said(&mut transcript, Progress::Triggers(1, 1)), "# Executing 1 build trigger\n");
        assert_eq!(said(&mut transcript, output(1, b"early")), "early");
        assert_eq!(said(&mut transcript, started(2)), "Step 2/3 : RUN 2\n");
    }

    #[test]
    fn a_character_in_two_pieces_stays_whole_and_nonsense_is_shown_as_such() {
        let mut transcript = Transcript::new(true);
        assert_eq!(said(&mut transcript, output(1, b"a\xc3")), "a");
        assert_eq!(said(&mut transcript, output(1, b"\xa9b")), "\u{e9}b");
        assert_eq!(said(&mut transcript, output(1, b"\xffc")), "\u{fffd}c");
    }
}
