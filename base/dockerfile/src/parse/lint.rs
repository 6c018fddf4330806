//! What is allowed and yet probably not meant.

use crate::line::Line;
use crate::{Dockerfile, Instruction, Span, Stage, Warning, Word};

/// Counts how keywords are written.
#[derive(Default)]
pub(super) struct Spelling {
    upper: usize,
    other: Vec<(Span, String)>,
}

impl Spelling {
    pub(super) fn see(&mut self, line: &Line, span: Span) {
        let word: String = line.text.trim_start().chars().take_while(|c| !c.is_whitespace()).collect();
        let end = span.start + u32::try_from(word.len()).unwrap_or(0);
        if word.bytes().all(|b| b.is_ascii_uppercase()) {
            self.upper += 1;
        } else {
            self.other.push((Span { end, ..span }, word));
        }
    }

    /// One way of writing throughout is fine, whichever it is.
    pub(super) fn judge(self, warnings: &mut Vec<Warning>) {
        let mixed = |word: &str| word.bytes().any(|b| b.is_ascii_uppercase());
        let odd = self.other.into_iter().filter(|(_, word)| self.upper > 0 || mixed(word));
        warnings.extend(odd.map(|(span, word)| Warning {
            span,
            message: format!(
                "the keyword \"{word}\" is written unlike others: write {}",
                word.to_ascii_uppercase()
            ),
        }));
    }
}

/// Looks at whole stages.
pub(super) fn stages(file: &mut Dockerfile) {
    let mut found = Vec::new();
    for (at, stage) in file.stages.iter().enumerate() {
        if let Some(name) = &stage.name {
            let earlier = file.stages[..at].iter().any(|other| other.name.as_ref() == Some(name));
            if earlier {
                found.push((
                    stage.span,
                    format!("the stage name \"{name}\" is used twice: the later one counts"),
                ));
            }
            if matches!(name.as_str(), "scratch" | "context") {
                found.push((stage.span, format!("the stage name \"{name}\" is reserved: choose another")));
            }
        }
        repeated(stage, &mut found);
        secrets(stage, &mut found);
    }
    file.warnings.extend(found.into_iter().map(|(span, message)| Warning { span, message }));
}

/// Only the last of these counts.
fn repeated(stage: &Stage, found: &mut Vec<(Span, String)>) {
    let single = |instruction: &Instruction| match instruction {
        Instruction::Cmd(_) => Some("CMD"),
        Instruction::Entrypoint(_) => Some("ENTRYPOINT"),
        Instruction::Healthcheck(_) => Some("HEALTHCHECK"),
        _ => None,
    };
    let kinds: Vec<_> = stage.steps.iter().map(|step| single(&step.instruction)).collect();
    for (at, kind) in kinds.iter().enumerate() {
        let Some(kind) = kind else { continue };
        if kinds[at + 1..].contains(&Some(kind)) {
            found.push((stage.steps[at].span, format!("a later {kind} of this stage replaces this one")));
        }
    }
}

/// Values of ENV and ARG stay readable in the image.
fn secrets(stage: &Stage, found: &mut Vec<(Span, String)>) {
    for step in &stage.steps {
        let names: Vec<&Word> = match &step.instruction {
            Instruction::Env(pairs) => pairs.iter().map(|(name, _)| name).collect(),
            Instruction::Arg(arguments) => arguments.iter().map(|argument| &argument.name).collect(),
            _ => continue,
        };
        for name in names.into_iter().filter(|name| sounds_secret(&name.text)) {
            let message = format!(
                "\"{name}\" sounds like a secret, and stays readable in the image: use RUN --mount=type=secret"
            );
            found.push((name.span, message));
        }
    }
}

fn sounds_secret(name: &str) -> bool {
    const SECRET: [&str; 9] =
        ["apikey", "auth", "credential", "credentials", "passwd", "password", "pword", "secret", "token"];
    let name = name.to_ascii_lowercase();
    let parts: Vec<&str> = name.split(['_', '-']).collect();
    let key = parts.ends_with(&["key"]) && parts.len() > 1;
    !parts.contains(&"public") && (key || parts.iter().any(|part| SECRET.contains(part)))
}
