//! Standard output and error, where a reader that has gone away is no disaster.

use std::io::{self, Write};

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

/// Writes a line to standard error. Nobody can be told when that fails.
pub(crate) fn say(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Tells a person what failed and what to do.
pub(crate) fn complain(failure: &Failure) {
    if !failure.message.is_empty() {
        say(format!("tare: {}", harmless(&failure.message)));
    }
    if let Some(hint) = &failure.hint {
        say(format!("hint: {}", harmless(hint)));
    }
}

/// Messages may quote a registry or an image, which must not steer the terminal.
fn harmless(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter })
        .collect()
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
