use super::matching;
use crate::statement::Statement;
use crate::{AddFiles, CopyFiles, Error, Instruction, Result, Source, Word};

/// `COPY`
pub(super) fn copy(statement: &mut Statement<'_>) -> Result<Instruction> {
    statement.only(&["from", "chown", "chmod", "link", "parents", "exclude"])?;
    let from = statement.value("from")?;
    if let Some(variable) = from.as_ref().filter(|from| from.text.contains('$')) {
        let message = "--from takes no variables: name the stage with FROM … AS, which takes them, and copy from that name";
        return Err(Error::at(variable.span, message));
    }
    let (sources, destination) = sources(statement)?;
    Ok(Instruction::Copy(CopyFiles {
        sources,
        destination,
        from,
        chown: statement.value("chown")?,
        chmod: statement.value("chmod")?,
        link: statement.switch("link")?.unwrap_or(false),
        parents: statement.switch("parents")?.unwrap_or(false),
        exclude: statement.values("exclude")?,
    }))
}

/// `ADD`
pub(super) fn add(statement: &mut Statement<'_>) -> Result<Instruction> {
    statement.only(&["keep-git-dir", "checksum", "chown", "chmod", "link", "exclude", "unpack"])?;
    let (sources, destination) = sources(statement)?;
    Ok(Instruction::Add(AddFiles {
        sources,
        destination,
        checksum: statement.value("checksum")?,
        keep_git_dir: statement.switch("keep-git-dir")?.unwrap_or(false),
        unpack: statement.switch("unpack")?,
        chown: statement.value("chown")?,
        chmod: statement.value("chmod")?,
        link: statement.switch("link")?.unwrap_or(false),
        exclude: statement.values("exclude")?,
    }))
}

fn sources(statement: &mut Statement<'_>) -> Result<(Vec<Source>, Word)> {
    let keyword = statement.keyword;
    let mut words = statement.list()?;
    let Some(destination) = words.pop().filter(|_| !words.is_empty()) else {
        let message = format!("{keyword} requires a source and a destination: {keyword} source… destination");
        return Err(Error::at(statement.span, message));
    };
    if matching(&statement.heredocs, &destination).is_some() {
        let message = "the destination is missing: a here-document can be a source alone";
        return Err(Error::at(destination.span, message));
    }
    let source = |word: Word| match matching(&statement.heredocs, &word) {
        Some(opened) => opened.heredoc().map(Source::Heredoc),
        None => Ok(Source::Path(word)),
    };
    Ok((words.into_iter().map(source).collect::<Result<_>>()?, destination))
}
