//! `.dockerignore`: which files of a context are left out.

mod pattern;

use pattern::Pattern;

use crate::{Error, Result, Span};

/// The largest `.dockerignore` that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// The most rules: each is asked about every file.
const RULES: usize = 10_000;

/// The rules of a `.dockerignore`, after the semantics of Docker's pattern matcher: the last rule that matches a path or one of its
/// parents counts; `!` takes a path back in; `**` spans any number of directories.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    exceptions: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    exception: bool,
}

/// What the rules say of one path. Kept for a directory, it makes judging what lies in it cheap.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether the path is left out.
    pub excluded: bool,
    matched: Vec<bool>,
}

/// Where the rules for a Dockerfile stand, as paths from the context's root, most wanted first.
pub fn ignore_files(dockerfile: &str) -> [String; 2] {
    [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()]
}

impl Ignore {
    /// Reads the file: one pattern a line, `#` begins a comment at the start of a line alone.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LARGEST {
            let message =
                format!("the file has {} bytes, {LARGEST} are the limit: write fewer patterns", bytes.len());
            return Err(Error::at(Span::default(), message));
        }
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            Error::at(Span::default(), format!("line {line} is not UTF-8: save the file as UTF-8"))
        })?;
        let mut ignore = Self::default();
        let mut at = 0;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let span = Span {
                line: number,
                start: crate::line::offset(at),
                end: crate::line::offset(at + line.trim_end().len()),
            };
            at += line.len();
            if !line.starts_with('#') {
                ignore.add(line, span)?;
            }
        }
        Ok(ignore)
    }

    /// The rules of `--exclude` flags and the like.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut ignore = Self::default();
        patterns.into_iter().try_for_each(|pattern| ignore.add(pattern, Span::default()))?;
        Ok(ignore)
    }

    fn add(&mut self, line: &str, span: Span) -> Result<()> {
        let line = line.trim();
        let (exception, text) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
        if text.is_empty() {
            return if exception {
                Err(Error::at(span, "a lone \"!\" names nothing: write a pattern behind it"))
            } else {
                Ok(())
            };
        }
        let text = clean(text);
        let pattern = Pattern::compile(&text)
            .map_err(|why| Error::at(span, format!("invalid pattern \"{line}\": {why}")))?;
        if self.rules.len() == RULES {
            return Err(Error::at(span, format!("more than {RULES} patterns: name directories, not files")));
        }
        self.exceptions |= exception;
        self.rules.push(Rule { pattern, exception });
        Ok(())
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Judges a path of the context (`a/b`, no leading slash, any bytes) by the verdict on its directory; `None` for what lies in the root.
    pub fn judge(&self, path: &[u8], parent: Option<&Verdict>) -> Verdict {
        let mut verdict = Verdict { excluded: false, matched: vec![false; self.rules.len()] };
        for (at, rule) in self.rules.iter().enumerate() {
            let inherited = parent.is_some_and(|parent| parent.matched.get(at) == Some(&true));
            if inherited || rule.pattern.matches(path) {
                verdict.matched[at] = true;
                verdict.excluded = !rule.exception;
            }
        }
        verdict
    }

    /// Judges a path alone, its parents included. For many paths, walk the tree and use [`Ignore::judge`].
    pub fn excludes(&self, path: &[u8]) -> bool {
        let parents = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let mut verdict: Option<Verdict> = None;
        for end in parents.chain([path.len()]) {
            verdict = Some(self.judge(&path[..end], verdict.as_ref()));
        }
        verdict.is_some_and(|verdict| verdict.excluded)
    }

    /// Whether an excluded directory has to be walked all the same, since a `!` rule may take something in it back.
    pub fn may_return(&self, directory: &[u8]) -> bool {
        self.exceptions
            && self.rules.iter().any(|rule| rule.exception && rule.pattern.may_match_below(directory))
    }
}

/// Go's `path.Clean`, without a leading slash.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if text.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests;
