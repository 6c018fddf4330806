//! Standard output and error, where a reader that has gone away is no disaster.

use std::io::{self, IsTerminal, Write};

use crate::failure::{Failure, Result};

/// Writes to standard output.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())?;
    Ok(out.flush()?)
}

/// Writes a line to standard output.
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    print(format!("{}\n", text.as_ref()))
}

/// Writes a line that quotes what others have written, such as names of files in an image: as it is, but on a terminal, which
/// it must not steer.
pub(crate) fn quote(text: impl AsRef<str>) -> Result<()> {
    let text = text.as_ref();
    if io::stdout().is_terminal() { line(harmless(text)) } else { line(text) }
}

/// Writes a line to standard error. Nobody can be told when that fails.
pub(crate) fn say(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Tells a person what failed and what to do.
pub(crate) fn complain(failure: &Failure) {
    if !failure.message.is_empty() {
        say(format!("tare: {}", told(&failure.message)));
    }
    if let Some(hint) = &failure.hint {
        say(format!("hint: {}", told(hint)));
    }
}

/// Messages may quote a registry or an image, which must not steer the terminal. The numbers of the system's errors say
/// nothing beside its words.
fn told(text: &str) -> String {
    without_numbers(text.trim_end()).lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// A line of text without what would steer a terminal.
pub(crate) fn harmless(text: &str) -> String {
    let letter = |letter: char| match letter {
        '\t' | '\n' | '\r' => ' ',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(letter).collect()
}

/// `No such file or directory (os error 2)` without what is in the brackets.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|digit| digit.is_ascii_digit()) => {
                plain.push_str(rest)
            }
            _ => plain.extend([" (os error ", part]),
        }
    }
    plain
}

/// Does something to each operand as Docker does: the name of each that succeeds on standard output, the errors on
/// standard error, and failure at the end where one failed.
pub(crate) async fn for_each(names: &[String], act: impl AsyncFn(&str) -> Result<()>) -> Result<u8> {
    let mut code = 0;
    for name in names {
        match act(name).await {
            Ok(()) => line(name)?,
            Err(failure) => {
                complain(&failure);
                code = failure.code.max(1);
            }
        }
    }
    Ok(code)
}

/// Asks a yes-or-no question; no where nobody can answer.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    print(format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_neither_numbers_of_errors_nor_control_characters() {
        let text = "a: No such file or directory (os error 2): b (os error x) c (os error 13)";
        assert_eq!(told(text), "a: No such file or directory: b (os error x) c");
        assert_eq!(told("\u{1b}[2J (os error \n"), "\u{fffd}[2J (os error");
    }
}
