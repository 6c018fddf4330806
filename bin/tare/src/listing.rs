//! Lists of things, in the form that `--format` asks for.

mod table;
mod words;

use serde_json::{Map, Value};

pub(crate) use table::{align, align_to};
pub(crate) use words::{ago, labels, moment, shortened, size_of};

use crate::failure::{Failure, Result};
use crate::flags::{Flag, Given, list, switch, text};
use crate::output;
use crate::template::Template;

pub(crate) const FORMAT: Flag =
    text("format", "string", "Format output: 'table' (default), 'table TEMPLATE', 'json', or a Go TEMPLATE");
pub(crate) const JSON: Flag = switch("json", "Print in JSON format, as --format json");
pub(crate) const FILTER: Flag =
    list("filter", "filter", "Filter output based on conditions provided").short('f');
pub(crate) const NO_TRUNC: Flag = switch("no-trunc", "Don't truncate output");

/// One thing of a list: what its columns show.
#[derive(Debug, Default)]
pub(crate) struct Row {
    fields: Map<String, Value>,
    labels: Map<String, Value>,
}

/// A list and how it is shown.
#[derive(Debug)]
pub(crate) struct Listing {
    /// What each column is called: its field and its title.
    pub(crate) titles: &'static [(&'static str, &'static str)],
    /// The fields that a table has unless told otherwise.
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    pub(crate) fn new(fields: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let fields = fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        Self { fields, labels: Map::new() }
    }

    /// What `.Label "name"` finds.
    pub(crate) fn labelled<'a>(mut self, labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        self.labels = labels.into_iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
        self
    }
}

/// What `--format` and `--json` ask for.
#[derive(Debug)]
pub(crate) enum Format {
    /// Nothing special, or `table`.
    Usual,
    Json,
    /// A template that is applied to each thing.
    Each(Template),
    /// The same, below titles and in columns.
    Columns(Template),
}

impl Format {
    /// Reads the flags. A template is read before anything is asked of a daemon.
    pub(crate) fn of(given: &Given) -> Result<Self> {
        if given.on("json") {
            return Ok(Self::Json);
        }
        Self::new(given.text("format").unwrap_or_default())
    }

    fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        match text.strip_prefix("table") {
            _ if matches!(text, "" | "table") => Ok(Self::Usual),
            _ if text == "json" => Ok(Self::Json),
            Some(columns) if columns.starts_with([' ', '\t', '\\', '{']) => {
                template(columns.trim_matches(' ')).map(Self::Columns)
            }
            _ => template(text).map(Self::Each),
        }
    }

    /// Whether there is nothing special to be shown, so that `--quiet` may be followed.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(self, Self::Usual)
    }

    /// One thing by the template, or as JSON; nothing where the usual form is wanted.
    pub(crate) fn apply(&self, data: &Value) -> Result<Option<String>> {
        match self {
            Self::Usual => Ok(None),
            Self::Json => Ok(Some(data.to_string())),
            Self::Each(template) | Self::Columns(template) => applied(template.apply(data)).map(Some),
        }
    }
}

fn template(text: &str) -> Result<Template> {
    Template::new(&unescaped(text)).map_err(|why| {
        Failure::usage(format!("template parsing error: {why}"))
            .hint("see the field names with --format json")
    })
}

/// `\t` and `\n` between the braces are what a shell hardly lets a person type.
fn unescaped(text: &str) -> String {
    let plain = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
    let mut parts = text.split("{{");
    let mut out = plain(parts.next().unwrap_or_default());
    for part in parts {
        let (action, after) =
            part.split_once("}}").map_or((part, None), |(action, after)| (action, Some(after)));
        out.push_str("{{");
        out.push_str(action);
        if let Some(after) = after {
            out.push_str("}}");
            out.push_str(&plain(after));
        }
    }
    out
}

fn applied(result: std::result::Result<String, String>) -> Result<String> {
    result.map_err(|why| {
        Failure::new(format!("template error: {why}")).hint("see the field names with --format json")
    })
}

impl Listing {
    /// Prints the list.
    pub(crate) fn print(&self, format: &Format) -> Result<()> {
        output::print(self.render(format)?)
    }

    /// The list as text, each line ended.
    pub(crate) fn render(&self, format: &Format) -> Result<String> {
        match format {
            Format::Usual => Ok(self.table()),
            Format::Json => {
                Ok(self.rows.iter().map(|row| format!("{}\n", Value::from(row.fields.clone()))).collect())
            }
            Format::Each(template) => self.templated(template, false),
            Format::Columns(template) => self.templated(template, true),
        }
    }

    fn table(&self) -> String {
        let title = |column: &&str| {
            self.titles.iter().find(|(field, _)| field == column).map_or("", |(_, title)| title)
        };
        let mut lines = vec![self.columns.iter().map(title).collect::<Vec<_>>().join("\t")];
        for row in &self.rows {
            let cell = |column: &&str| {
                output::harmless(row.fields.get(*column).and_then(Value::as_str).unwrap_or_default())
            };
            lines.push(self.columns.iter().map(cell).collect::<Vec<_>>().join("\t"));
        }
        align(&lines.join("\n")) + "\n"
    }

    fn templated(&self, template: &Template, table: bool) -> Result<String> {
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        if table {
            let titles: Map<String, Value> =
                self.titles.iter().map(|(field, title)| ((*field).into(), (*title).into())).collect();
            lines.push(applied(template.apply_to_titles(&titles.into()))?);
        }
        for row in &self.rows {
            lines.push(applied(template.apply_to_row(&row.fields.clone().into(), &row.labels))?);
        }
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        Ok(if table { align(&text) } else { text })
    }
}

/// `--filter key=value` as the API takes it.
pub(crate) fn filters(given: &[String]) -> Result<Option<String>> {
    let mut filters: Map<String, Value> = Map::new();
    for filter in given {
        let (key, value) = filter.split_once('=').ok_or_else(|| {
            Failure::new(format!("invalid filter '{filter}'"))
                .hint("a filter is key=value, as in --filter status=running")
        })?;
        let values = filters.entry(key.trim().to_lowercase()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(value.trim().into());
        }
    }
    Ok((!filters.is_empty()).then(|| Value::from(filters).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let labels = std::collections::BTreeMap::from([("a.x-y".to_owned(), "1".to_owned())]);
        Listing {
            titles: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
            columns: vec!["ID", "Names"],
            rows: vec![Row::new([("ID", "abababababab".into()), ("Names", "web".into())]).labelled(&labels)],
        }
    }

    #[test]
    fn every_format_shows_the_list() {
        let shown = |format: &str| listing().render(&Format::new(format)?);
        assert_eq!(shown("").unwrap(), "CONTAINER ID   NAMES\nabababababab   web\n");
        assert_eq!(shown("table").unwrap(), shown("").unwrap());
        assert_eq!(shown("json").unwrap(), "{\"ID\":\"abababababab\",\"Names\":\"web\"}\n");
        assert_eq!(shown("{{json .}}").unwrap(), shown("json").unwrap());
        assert_eq!(
            shown("{{.ID}}\\t{{.Names}}{{printf \"%s\\n\" \"x\"}}").unwrap(),
            "abababababab\twebx\n\n"
        );
        assert_eq!(
            shown("table {{.ID}}\\t{{.Label \"a.x-y\"}}\\t{{.Names}}").unwrap(),
            "CONTAINER ID   x y       NAMES\nabababababab   1         web\n"
        );
        assert!(shown("{{.Nmaes}}").unwrap_err().message.contains("Nmaes"));
        assert!(shown("{{.ID").unwrap_err().message.starts_with("template parsing error: "));
    }

    /// Labels, commands and comments are whoever's made the image.
    #[test]
    fn what_an_image_says_does_not_steer_the_terminal() {
        let mut listing = listing();
        listing.rows[0].fields.insert("Names".into(), "a\u{1b}]0;owned\u{7}\nb\tc\u{9b}2J".into());
        let table = listing.render(&Format::Usual).unwrap();
        assert_eq!(table.lines().count(), listing.rows.len() + 1, "{table}");
        assert!(table.contains("a\u{fffd}]0;owned\u{fffd} b c\u{fffd}2J"), "{table}");
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let json =
            filters(&["status=exited".into(), "Status=created".into(), "label=a=b".into()]).unwrap().unwrap();
        assert_eq!(json, r#"{"label":["a=b"],"status":["exited","created"]}"#);
        assert_eq!(filters(&[]).unwrap(), None);
        assert!(filters(&["status".into()]).is_err());
    }
}
