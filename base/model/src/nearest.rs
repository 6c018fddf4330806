/// The known word that a misspelt one most likely means, whatever the case: at most a third of its letters away, and sharing
/// one at least. None for what is longer than any word.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let wanted: Vec<char> = word.chars().flat_map(char::to_lowercase).take(LONGEST + 1).collect();
    if wanted.len() > LONGEST {
        return None;
    }
    let near = known.into_iter().map(|other| {
        let letters: Vec<char> = other.chars().flat_map(char::to_lowercase).take(LONGEST).collect();
        (distance(&wanted, &letters), other)
    });
    let (steps, other) = near.min_by_key(|(steps, _)| *steps)?;
    (steps <= wanted.len().max(3) / 3 && steps < other.len()).then_some(other)
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_offered() {
        let known = ["FROM", "RUN", "COPY", "ENTRYPOINT"];
        assert_eq!(nearest("FORM", known), Some("FROM"));
        assert_eq!(nearest("entrypiont", known), Some("ENTRYPOINT"));
        assert_eq!(nearest("PRINT", known), None);
        assert_eq!(nearest("x", []), None);
        let known = ["run", "start", "stop", "images", "rename", "a"];
        assert_eq!(nearest("rnu", known), Some("run"));
        assert_eq!(nearest("strat", known), Some("start"));
        assert_eq!(nearest("image", known), Some("images"));
        assert_eq!(nearest("compose", known), None);
        assert_eq!(nearest("", known), None);
    }
}
