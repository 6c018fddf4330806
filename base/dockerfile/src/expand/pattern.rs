use std::cell::Cell;

/// A shell's pattern of `*`, `?` and plain letters, for `${name#pattern}` and its like.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    spent: Cell<usize>,
}

/// How many comparisons one pattern may take: hostile ones need the square of the text's length and more.
const BUDGET: usize = 50_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Letter(char),
    Any,
    One,
}

impl Pattern {
    /// Appends text whose wildcards count.
    pub(super) fn wild(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '*' if self.parts.last() == Some(&Part::Any) => {}
                '*' => self.parts.push(Part::Any),
                '?' => self.parts.push(Part::One),
                c => self.parts.push(Part::Letter(c)),
            }
        }
    }

    /// Appends text that stands for itself.
    pub(super) fn plain(&mut self, text: &str) {
        self.parts.extend(text.chars().map(Part::Letter));
    }

    /// The lengths, in letters, of all beginnings of `text` that match, shortest first.
    ///
    /// One pass over the text for all lengths at once: `states[i]` says whether the first `i` parts match what was read.
    fn beginnings(&self, text: &[char]) -> Vec<usize> {
        let close = |states: &mut Vec<bool>| {
            for (at, part) in self.parts.iter().enumerate() {
                if states[at] && *part == Part::Any {
                    states[at + 1] = true;
                }
            }
        };
        let mut states = vec![false; self.parts.len() + 1];
        states[0] = true;
        close(&mut states);
        let mut found = Vec::new();
        for at in 0..=text.len() {
            if states[self.parts.len()] {
                found.push(at);
            }
            let Some(c) = text.get(at) else { break };
            self.spent.set(self.spent.get().saturating_add(states.len()));
            if self.exhausted() {
                break;
            }
            let mut next = vec![false; states.len()];
            for (i, part) in self.parts.iter().enumerate().filter(|(i, _)| states[*i]) {
                match part {
                    Part::Any => next[i] = true,
                    Part::One => next[i + 1] = true,
                    Part::Letter(letter) if letter == c => next[i + 1] = true,
                    Part::Letter(_) => {}
                }
            }
            if !next.contains(&true) {
                break;
            }
            close(&mut next);
            states = next;
        }
        found
    }

    /// Whether the budget is used up, and what was found means nothing.
    pub(super) fn exhausted(&self) -> bool {
        self.spent.get() > BUDGET
    }

    fn reversed(&self) -> Self {
        Self { parts: self.parts.iter().rev().copied().collect(), spent: Cell::new(0) }
    }

    /// `${name#pattern}`, `${name##pattern}`
    pub(super) fn without_start<'a>(&self, text: &'a str, longest: bool) -> &'a str {
        let letters: Vec<char> = text.chars().collect();
        let found = self.beginnings(&letters);
        let cut = if longest { found.last() } else { found.first() };
        &text[bytes(&letters, *cut.unwrap_or(&0))..]
    }

    /// `${name%pattern}`, `${name%%pattern}`
    pub(super) fn without_end<'a>(&self, text: &'a str, longest: bool) -> &'a str {
        let letters: Vec<char> = text.chars().collect();
        let backwards: Vec<char> = letters.iter().rev().copied().collect();
        let reversed = self.reversed();
        let found = reversed.beginnings(&backwards);
        self.spent.set(reversed.spent.get());
        let cut = if longest { found.last() } else { found.first() };
        &text[..bytes(&letters, letters.len() - cut.unwrap_or(&0))]
    }

    /// `${name/pattern/by}`, `${name//pattern/by}`: the longest match at each place.
    pub(super) fn replace(&self, text: &str, by: &str, all: bool) -> String {
        let letters: Vec<char> = text.chars().collect();
        let mut replaced = String::new();
        let mut at = 0;
        while at < letters.len() && !self.exhausted() {
            match self.beginnings(&letters[at..]).last().filter(|length| **length > 0) {
                Some(length) => {
                    replaced.push_str(by);
                    at += length;
                    if !all {
                        break;
                    }
                }
                None => {
                    replaced.push(letters[at]);
                    at += 1;
                }
            }
        }
        replaced.extend(letters.get(at..).unwrap_or_default());
        replaced
    }
}

fn bytes(letters: &[char], count: usize) -> usize {
    letters.iter().take(count).map(|c| c.len_utf8()).sum()
}
