//! What a step of init says when it fails: one line and an exit code, which is all that crosses the socket.

use std::io;

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `mount /proc: permission denied`.
    pub(crate) message: String,
    /// 125, or 126 and 127 when the program itself is at fault.
    pub(crate) exit_code: u8,
}

impl Failure {
    /// `step: cause`, exit code 125.
    pub(crate) fn new(step: &str, cause: impl Into<io::Error>) -> Self {
        Self { message: format!("{step}: {}", describe(&cause.into())), exit_code: 125 }
    }

    /// A rule of our own that was broken, exit code 125.
    pub(crate) fn rule(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 125 }
    }

    /// The program's own fault.
    pub(crate) fn exec(message: impl Into<String>, exit_code: u8) -> Self {
        Self { message: message.into(), exit_code }
    }
}

/// Names the step in which a system call failed.
pub(crate) trait Step<T> {
    /// The name is only made when it is needed.
    fn step(self, name: impl FnOnce() -> String) -> Result<T, Failure>;

    /// For steps whose name needs no making.
    fn at(self, name: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, name: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|cause| Failure::new(&name(), cause))
    }

    fn at(self, name: &str) -> Result<T, Failure> {
        self.map_err(|cause| Failure::new(name, cause))
    }
}

/// The kernel's reason in the words that the field's tools use: lower case, without the number.
pub(crate) fn describe(cause: &io::Error) -> String {
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_a_person_says_it() {
        let cause = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(Failure::new("mount /proc", cause).message, "mount /proc: permission denied");
    }
}
