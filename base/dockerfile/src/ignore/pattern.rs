//! One pattern, compiled: a small automaton over characters, with the plain ends of the pattern compared first, since most
//! paths differ there already.

/// A pattern over whole paths.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    /// Plain text that the path begins with.
    prefix: Vec<u8>,
    /// Plain text that the path ends with.
    suffix: Vec<u8>,
    /// Whether the prefix is the whole pattern.
    plain: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Letter(char),
    /// `?`
    One,
    /// `*`
    Some,
    /// The beginning of `**/`: it may stand for nothing, then what comes after [`Part::Directories`] follows.
    Maybe,
    /// The rest of `**/`: anything that ends in a slash.
    Directories,
    /// `**` at the end: anything at all.
    All,
    /// `[a-z]`, `[^a-z]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Letter(letter) => *letter == c,
            Self::One | Self::Some => c != '/',
            Self::Maybe => false,
            Self::Directories | Self::All => true,
            Self::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
        }
    }
}

impl Pattern {
    pub(super) fn compile(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut letters = text.chars().peekable();
        while let Some(c) = letters.next() {
            let part = match c {
                '*' if letters.next_if_eq(&'*').is_some() => {
                    while letters.next_if_eq(&'*').is_some() {}
                    letters.next_if_eq(&'/');
                    if letters.peek().is_none() {
                        Part::All
                    } else {
                        parts.push(Part::Maybe);
                        Part::Directories
                    }
                }
                '*' => Part::Some,
                '?' => Part::One,
                '\\' => Part::Letter(letters.next().ok_or("it ends in a backslash")?),
                '[' => class(&mut letters)?,
                c => Part::Letter(c),
            };
            parts.push(part);
        }
        let plain = |part: &Part| match part {
            Part::Letter(c) => Some(*c),
            _ => None,
        };
        let prefix: String = parts.iter().map_while(plain).collect();
        let suffix: String = parts.iter().rev().map_while(plain).collect();
        let suffix: String = suffix.chars().rev().collect();
        let whole = parts.iter().all(|part| plain(part).is_some());
        Ok(Self { parts, prefix: prefix.into(), suffix: suffix.into(), plain: whole })
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        if self.plain {
            return path == self.prefix;
        }
        if !path.starts_with(&self.prefix) || !path.ends_with(&self.suffix) {
            return false;
        }
        let mut states = self.start();
        for c in characters(path) {
            states = self.step(&states, c);
            if !states.contains(&true) {
                return false;
            }
        }
        states[self.parts.len()]
    }

    /// Whether some path below the directory could match.
    pub(super) fn may_match_below(&self, directory: &[u8]) -> bool {
        let mut states = self.start();
        for c in characters(directory).chain(['/']) {
            states = self.step(&states, c);
        }
        // The end alone would be the directory's own name with a slash.
        states[..self.parts.len()].contains(&true)
    }

    fn start(&self) -> Vec<bool> {
        let mut states = vec![false; self.parts.len() + 1];
        states[0] = true;
        self.pass(&mut states);
        states
    }

    /// Follows the parts that may stand for nothing.
    fn pass(&self, states: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if !states[at] {
                continue;
            }
            states[at + 1] |= matches!(part, Part::Some | Part::All | Part::Maybe);
            if *part == Part::Maybe {
                states[at + 2] = true;
            }
        }
    }

    fn step(&self, states: &[bool], c: char) -> Vec<bool> {
        let mut next = vec![false; states.len()];
        for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| states[*at]) {
            match part {
                Part::Some | Part::All => next[at] |= part.takes(c),
                Part::Directories => {
                    next[at] = true;
                    next[at + 1] |= c == '/';
                }
                _ => next[at + 1] |= part.takes(c),
            }
        }
        self.pass(&mut next);
        next
    }
}

/// The path's characters; a byte that belongs to none is one by itself.
fn characters(path: &[u8]) -> impl Iterator<Item = char> {
    path.utf8_chunks()
        .flat_map(|chunk| chunk.valid().chars().chain(chunk.invalid().iter().map(|_| '\u{fffd}')))
}

fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Part, &'static str> {
    const OPEN: &str = "a \"[\" is not closed by \"]\"";
    let negated = letters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match letters.next().ok_or(OPEN)? {
            ']' if ranges.is_empty() => return Err("\"[]\" matches nothing"),
            ']' => return Ok(Part::Class { negated, ranges }),
            '\\' => letters.next().ok_or(OPEN)?,
            c => c,
        };
        let mut to = from;
        if letters.next_if_eq(&'-').is_some() {
            to = match letters.next().ok_or(OPEN)? {
                ']' => return Err("a range in \"[…]\" lacks its end"),
                '\\' => letters.next().ok_or(OPEN)?,
                c => c,
            };
        }
        ranges.push((from, to));
    }
}
