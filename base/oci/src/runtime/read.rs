use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

/// What of a document is not as its specification has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// `process.user.uid`; empty for the document as a whole.
    pub field: String,
    /// What is wrong with it.
    pub rule: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.rule)
        } else {
            write!(f, "{}: {}", self.field, self.rule)
        }
    }
}

/// Reads a document: config.json as [`super::Spec`], or a part of it. A field that is null counts as absent: programs written in Go
/// write that.
///
/// # Errors
/// Names the field that does not fit.
pub fn read<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, Misfit> {
    // Anything else than the plain way is for documents that do not fit as they are.
    serde_json::from_slice(text).or_else(|_| again(text))
}

fn again<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, Misfit> {
    let mut value: Value = serde_json::from_slice(text).map_err(|error| Misfit {
        field: String::new(),
        rule: match error.classify() {
            Category::Eof => "ends before its time".to_owned(),
            _ => format!("is not JSON: {error}"),
        },
    })?;
    drop_nulls(&mut value);
    let fit = serde_path_to_error::deserialize(value);
    // A key that is given twice is lost in the value, and only there it fits.
    match fit {
        Ok(_)
            if serde_json::from_slice::<T>(text)
                .is_err_and(|error| error.to_string().contains("duplicate field")) =>
        {
            Err(located(serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(
                text,
            ))))
        }
        Ok(fit) => Ok(fit),
        Err(error) => Err(misfit(&error)),
    }
}

fn located<T>(result: Result<T, serde_path_to_error::Error<serde_json::Error>>) -> Misfit {
    match result {
        Err(error) => misfit(&error),
        Ok(_) => Misfit { field: String::new(), rule: "holds a field twice".to_owned() },
    }
}

fn misfit(error: &serde_path_to_error::Error<serde_json::Error>) -> Misfit {
    let field = error.path().to_string();
    let rule = error.inner().to_string();
    // Where in the text it stands says less than the field.
    let rule = rule.split(" at line ").next().unwrap_or_default().to_owned();
    Misfit { field: if field == "." { String::new() } else { field }, rule }
}

/// Depth is bounded by the parser.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Spec;

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            (r#"{"process": {"user": {"uid": "root", "gid": 0}}}"#, "process.user.uid"),
            (r#"{"process": {"user": {"uid": -1, "gid": 0}}}"#, "process.user.uid"),
            (r#"{"process": {"user": {"uid": 4294967296, "gid": 0}}}"#, "process.user.uid"),
            (r#"{"process": {"user": {"uid": 1}}}"#, "process.user"),
            (r#"{"process": {"args": "sh"}}"#, "process.args"),
            (r#"{"process": {"args": ["sh", 1]}}"#, "process.args[1]"),
            (r#"{"linux": {"namespaces": [{"type": "pid"}, {"type": "mnt"}]}}"#, "linux.namespaces[1].type"),
            (r#"{"linux": {"resources": {"memory": {"limit": 1.5}}}}"#, "linux.resources.memory.limit"),
            (r#"{"linux": {"sysctl": {"net.a": 1}}}"#, "linux.sysctl.net.a"),
            (r#"{"root": "rootfs"}"#, "root"),
            (r#"{"process": {"terminal": true, "terminal": false}}"#, "process"),
            (r#"{"mounts": {}}"#, "mounts"),
            (r#"{"#, ""),
            (r#"{]"#, ""),
            ("", ""),
        ];
        for (text, field) in cases {
            let misfit = read::<Spec>(text.as_bytes()).unwrap_err();
            assert_eq!(misfit.field, field, "{text}: {misfit}");
            assert!(!misfit.rule.is_empty() && !misfit.rule.contains('\n'), "{misfit}");
        }
        let misfit = read::<Spec>(br#"{"process": {"user": {"uid": "root", "gid": 0}}}"#).unwrap_err();
        assert_eq!(misfit.to_string(), "process.user.uid: invalid type: string \"root\", expected u32");
    }

    #[test]
    fn null_is_absent_and_depth_has_an_end() {
        let text = br#"{"mounts": null, "process": {"args": ["a"], "env": null, "capabilities": {"bounding": null}}}"#;
        let spec: Spec = read(text).unwrap();
        assert_eq!(spec.process.unwrap().args, ["a"]);
        let deep = [b"{\"mounts\":".to_vec(), b"[".repeat(100_000)].concat();
        assert!(read::<Spec>(&deep).is_err());
    }
}
