//! Our own terminal: its size, and its raw mode, which never outlives us.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::failure::Result;

/// How the terminal was. Kept outside of the guard so that a panic's message finds the terminal usable too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Makes the terminal as it was when it goes out of scope.
pub(crate) struct Restored(());

/// Hands every key to the process in the container; nothing where standard input is no terminal.
pub(super) fn raw() -> Result<Option<Restored>> {
    change(Termios::make_raw)
}

/// Shows nothing of what is typed.
pub(super) fn silent() -> Result<Option<Restored>> {
    change(|terminal| terminal.local_modes.remove(LocalModes::ECHO))
}

fn change(how: impl FnOnce(&mut Termios)) -> Result<Option<Restored>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    let before = tcgetattr(&stdin)?;
    let mut changed = before.clone();
    how(&mut changed);
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    tcsetattr(&stdin, OptionalActions::Now, &changed)?;
    Ok(Some(Restored(())))
}

/// Makes the terminal as it was, where it has been changed.
pub(crate) fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        restore();
    }
}

/// Rows and columns of the terminal that output goes to.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
