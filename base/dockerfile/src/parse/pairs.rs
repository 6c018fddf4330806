use crate::statement::Statement;
use crate::{Argument, Error, Result, Word};

/// `name=value…` or the old `name value`, of ENV and LABEL.
pub(super) fn read(statement: &mut Statement<'_>) -> Result<Vec<(Word, Word)>> {
    let keyword = statement.keyword;
    let words = statement.words()?;
    if !words[0].text.contains('=') {
        return old_form(statement, &words[0]).map(|pair| vec![pair]);
    }
    let pairs = words.iter().map(|word| {
        let (name, value) = cut(word).ok_or_else(|| {
            let message = format!(
                "no '=' in \"{word}\": write {keyword} name=value, and quote a value that holds spaces"
            );
            Error::at(word.span, message)
        })?;
        named(keyword, &name)?;
        Ok((name, value))
    });
    pairs.collect()
}

fn old_form(statement: &mut Statement<'_>, name: &Word) -> Result<(Word, Word)> {
    let keyword = statement.keyword;
    let value = statement.line.trim(statement.rest.start + name.text.len()..statement.rest.end);
    if value.is_empty() {
        return Err(Error::at(
            name.span,
            format!("{keyword} {name} lacks a value: write {keyword} {name}=value"),
        ));
    }
    statement.warn(name.span, format!("the form \"{keyword} name value\" is old: write {keyword} {name}=…"));
    Ok((name.clone(), statement.line.word(value)))
}

/// `name[=default]…` of ARG.
pub(super) fn arguments(statement: &Statement<'_>) -> Result<Vec<Argument>> {
    let arguments = statement.words()?.into_iter().map(|word| {
        let (name, value) = match cut(&word) {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        named(statement.keyword, &name)?;
        Ok(Argument { name, value })
    });
    arguments.collect()
}

fn cut(word: &Word) -> Option<(Word, Word)> {
    let (name, value) = word.text.split_once('=')?;
    let part = |text: &str| Word { text: text.to_owned(), span: word.span };
    Some((part(name), part(value)))
}

fn named(keyword: &str, name: &Word) -> Result<()> {
    if name.text.is_empty() {
        return Err(Error::at(
            name.span,
            format!("{keyword} names cannot be blank: write {keyword} name=value"),
        ));
    }
    Ok(())
}
