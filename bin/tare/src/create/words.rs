//! Pairs, lists in one value, and files of lines.

use std::collections::BTreeMap;

/// Why a value cannot be read; the flag's name is put before it.
pub(crate) type Said<T> = std::result::Result<T, String>;

/// `key=value`, the value empty where there is none.
pub(crate) fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

/// All pairs as a map; the last of equal keys wins.
pub(crate) fn map(pairs: &[String]) -> BTreeMap<String, String> {
    pairs.iter().map(|text| pair(text)).collect()
}

/// The same, nothing where there are no pairs.
pub(crate) fn some_map(pairs: &[String]) -> Option<BTreeMap<String, String>> {
    (!pairs.is_empty()).then(|| map(pairs))
}

/// The list, nothing where it is empty.
pub(crate) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Cuts `a,"b,c",d` at its commas, as CSV has it: a field in quotes may hold commas, and a quote as `""`.
pub(crate) fn fields(text: &str) -> Said<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().ok_or("empty")?;
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => field.push(letter),
        }
    }
    if quoted { Err("a quote is not closed".into()) } else { Ok(fields) }
}

/// Variables of files, then those of flags. A name without `=` takes the value that `environment` has for it, and is left
/// out where that has none.
pub(crate) fn variables(
    files: &[String],
    given: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Said<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        for line in lines(file)? {
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(format!("{file}: invalid variable \"{line}\": a name without spaces is wanted"));
            }
            all.push(line);
        }
    }
    all.extend(given.iter().cloned());
    let filled = |text: String| match text.contains('=') {
        true => Some(text),
        false => environment(&text).map(|value| format!("{text}={value}")),
    };
    Ok(all.into_iter().filter_map(filled).collect())
}

/// A variable as a flag gives it.
pub(crate) fn variable(text: &str) -> Said<String> {
    match text.split('=').next() {
        None | Some("") => Err(format!("invalid environment variable: {text}")),
        Some(_) => Ok(text.to_owned()),
    }
}

/// Labels of files, then those of flags.
pub(crate) fn labels(files: &[String], given: &[String]) -> Said<BTreeMap<String, String>> {
    let mut all = Vec::new();
    for file in files {
        all.extend(lines(file)?);
    }
    all.extend(given.iter().cloned());
    if let Some(bad) = all.iter().find(|label| label.is_empty() || label.starts_with('=')) {
        return Err(format!("invalid label \"{bad}\": its name is empty"));
    }
    Ok(map(&all))
}

/// The lines of a file that say something: `#` begins a comment.
fn lines(path: &str) -> Said<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let said = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(said.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(fields("a=1,\"b=x,y\",c=\"z\"").unwrap(), ["a=1", "b=x,y", "c=\"z\""]);
        assert_eq!(fields("\"a\"\"b\"").unwrap(), ["a\"b"]);
        assert!(fields("\"open").is_err());
    }

    #[test]
    fn variables_come_from_files_flags_and_the_environment() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "\u{feff}# comment\n\n  A=1 \nHOME\nNONE\nB=x=y").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let home = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let given = variables(&[path], &["C=3".into(), "HOME".into(), "D=".into()], home).unwrap();
        assert_eq!(given, ["A=1 ", "HOME=/root", "B=x=y", "C=3", "HOME=/root", "D="]);
        assert!(variables(&["/nonexistent".into()], &[], home).is_err());
        assert!(variable("=x").is_err());
    }

    #[test]
    fn a_variable_with_a_space_in_its_name_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "A B=1").unwrap();
        assert!(
            variables(&[file.path().to_str().unwrap().into()], &[], |_| None).unwrap_err().contains("A B=1")
        );
    }

    #[test]
    fn labels_need_a_name() {
        assert_eq!(labels(&[], &["a=b=c".into(), "d".into()]).unwrap(), map(&["a=b=c".into(), "d=".into()]));
        assert!(labels(&[], &["=x".into()]).is_err());
    }
}
