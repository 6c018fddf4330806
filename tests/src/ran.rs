use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// A command that has run: what it printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The command, for messages.
    pub line: String,
    /// Exit code; 128 + n where signal n ended it.
    pub code: i32,
    /// Standard output as text.
    pub out: String,
    /// Standard error as text.
    pub err: String,
}

impl Ran {
    /// The output without its last line break; panics with everything that was printed when the command failed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out.trim_end_matches('\n')
    }

    /// Standard error; panics when the exit code is another.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:#?}");
        self.err.trim_end_matches('\n')
    }
}

/// Runs a command to its end, its input empty.
pub fn capture(command: &mut Command) -> Result<Ran> {
    capture_with_input(command, b"")
}

/// Runs a command to its end with this input.
pub fn capture_with_input(command: &mut Command, input: &[u8]) -> Result<Ran> {
    let line = format!("{command:?}");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().with_context(|| format!("cannot start {line}"))?;
    let mut stdin = child.stdin.take().context("a piped input is there")?;
    let input = input.to_vec();
    // A thread, so that a child that prints before it reads cannot block us.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let ended = child.wait_with_output()?;
    let _ = writer.join();
    Ok(Ran {
        line,
        code: code_of(ended.status),
        out: String::from_utf8_lossy(&ended.stdout).into_owned(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    })
}

fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
