use crate::statement::Statement;
use crate::{Error, Result, Span, Stage};

/// `FROM [--platform=P] image [AS name]`
pub(super) fn read(statement: &Statement<'_>, span: Span) -> Result<Stage> {
    statement.only(&["platform"])?;
    let platform = statement.value("platform")?;
    let words = statement.words()?;
    let (base, name) = match &words[..] {
        [base] => (base, None),
        [base, word, name] if word.text.eq_ignore_ascii_case("as") => (base, Some(name)),
        _ => {
            let message = "FROM takes an image, or an image and a name: FROM image [AS name]";
            return Err(Error::at(span, message));
        }
    };
    if let Some(bad) = name.filter(|name| !valid_name(&name.text.to_ascii_lowercase())) {
        let message = format!(
            "invalid name for a build stage: \"{bad}\": begin with a letter, go on with letters, digits, '-', '_' or '.'"
        );
        return Err(Error::at(bad.span, message));
    }
    let name = name.map(|name| name.text.to_ascii_lowercase());
    Ok(Stage { name, base: base.clone(), platform, span, steps: Vec::new() })
}

fn valid_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}
