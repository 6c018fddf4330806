//! `--chmod`: octal digits, or letters as chmod(1) reads them. Pure.

use crate::{Error, Result};

/// A change of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits of 0o7777 that it may touch.
    who: u32,
    operation: char,
    /// Of 0o777 and the special bits.
    bits: u32,
    /// `X`: execution where it makes sense.
    execute: bool,
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refused = || {
            Error::Request(format!(
                "--chmod=\"{text}\" is no mode: write octal digits such as 0755, or letters such as u=rwX,go=rX"
            ))
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Octal).ok_or_else(refused);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            read(part, &mut clauses).ok_or_else(refused)?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The permissions of something that had `mode`.
    pub(crate) fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(octal) => *octal,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| {
                let execute = clause.execute && (directory || mode & 0o111 != 0);
                let bits = (clause.bits | if execute { 0o111 } else { 0 }) & clause.who;
                match clause.operation {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => (mode & !(clause.who & if directory { 0o1777 } else { 0o7777 })) | bits,
                }
            }),
        }
    }
}

/// One part between commas: `ugoa`, then at least one operation with its letters.
fn read(part: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let at = part.find(['+', '-', '='])?;
    let mut who = 0;
    for letter in part[..at].chars() {
        who |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let who = if who == 0 { 0o7777 } else { who };
    let mut rest = &part[at..];
    while let Some(operation) = rest.chars().next() {
        let letters = &rest[1..];
        let end = letters.find(['+', '-', '=']).unwrap_or(letters.len());
        let mut clause = Clause { who, operation, bits: 0, execute: false };
        for letter in letters[..end].chars() {
            match letter {
                'r' => clause.bits |= 0o444,
                'w' => clause.bits |= 0o222,
                'x' => clause.bits |= 0o111,
                'X' => clause.execute = true,
                's' => clause.bits |= 0o6000,
                't' => clause.bits |= 0o1000,
                _ => return None,
            }
        }
        clauses.push(clause);
        rest = &letters[end..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_chmod_reads_them() {
        for (text, before, directory, after) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a=r", 0o777, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("o+t", 0o777, true, 0o1777),
            ("u-x+w", 0o500, false, 0o600),
        ] {
            assert_eq!(Mode::parse(text).unwrap().apply(before, directory), after, "{text}");
        }
        for bad in ["", "888", "17777", "99999999999", "u", "u+q", "z+x", "u+x,,", "rw", "+x é"] {
            assert!(Mode::parse(bad).is_err(), "{bad}");
        }
    }
}
