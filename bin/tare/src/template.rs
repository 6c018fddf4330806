//! Go's `text/template`, as much of it as people write after `--format`.
//!
//! Fields (`.A.B`), variables, pipelines and parentheses, `if`/`else if`/`else`, `range`, `with`, `break`, `continue`,
//! trimming (`{{-`), comments, Go's functions for comparing, printing and indexing, and those that Docker adds (`json`,
//! `join`, `split`, `lower`, `upper`, `title`, `pad`, `truncate`). `define`, `template` and `block` are refused.
//! Data is JSON; a field that is absent is false in a condition and an error where it would be printed.

mod eval;
mod functions;
mod lex;
mod parse;
mod print;

use serde_json::{Map, Value};

/// Where text and data come together, or why they cannot.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// A template, ready to be applied.
#[derive(Debug)]
pub(crate) struct Template(Vec<parse::Node>);

impl Template {
    /// Reads a template.
    pub(crate) fn new(text: &str) -> Result<Self> {
        Ok(Self(parse::parse(lex::lex(text)?)?))
    }

    /// Applies it to `data`.
    pub(crate) fn apply(&self, data: &Value) -> Result<String> {
        eval::apply(&self.0, data, eval::Entries::OfData)
    }

    /// Applies it to a row of a list; `.Label "name"` finds an entry of `labels`.
    pub(crate) fn apply_to_row(&self, row: &Value, labels: &Map<String, Value>) -> Result<String> {
        eval::apply(&self.0, row, eval::Entries::Of(labels))
    }

    /// Applies it to the titles of columns: what takes an argument there shows the argument.
    pub(crate) fn apply_to_titles(&self, titles: &Value) -> Result<String> {
        eval::apply(&self.0, titles, eval::Entries::Titles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn shown(template: &str) -> Result<String> {
        let data = json!({
            "Name": "/web", "Count": 3, "Ratio": 0.5, "Up": true, "Nothing": null,
            "Cmd": ["sh", "-c", "a b"], "Empty": [],
            "State": {"Status": "running", "ExitCode": 0},
            "Config": {"Labels": {"a.b": "c", "x": "<y>"}},
            "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null}},
        });
        Template::new(template)?.apply(&data)
    }

    #[test]
    fn templates_that_people_write_give_what_docker_gives() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{{.Name}} {{ .State.Status }}", "/web running"),
            ("{{.name}}", "/web"),
            ("{{json .Cmd}}", r#"["sh","-c","a b"]"#),
            ("{{.Cmd}}", "[sh -c a b]"),
            ("{{.State}}", "map[ExitCode:0 Status:running]"),
            ("{{join .Cmd \",\"}}", "sh,-c,a b"),
            ("{{index .Cmd 2}}", "a b"),
            ("{{index .Config.Labels \"a.b\"}}", "c"),
            ("{{index .Config.Labels \"none\"}}", ""),
            ("{{.Config.Labels.none}}", "<no value>"),
            ("{{.Nothing}}", "<no value>"),
            ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
            (
                "{{range $p, $c := .NetworkSettings.Ports}}{{$p}}={{if $c}}{{(index $c 0).HostPort}}{{else}}-{{end}};{{end}}",
                "80/tcp=8080;81/tcp=-;",
            ),
            ("{{range .Cmd}}<{{.}}>{{end}}", "<sh><-c><a b>"),
            ("{{range $i, $e := .Cmd}}{{if $i}}, {{end}}{{$e}}{{end}}", "sh, -c, a b"),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{range .Cmd}}{{if eq . \"-c\"}}{{break}}{{end}}{{.}}{{end}}", "sh"),
            ("{{range .Cmd}}{{if eq . \"-c\"}}{{continue}}{{end}}{{.}}{{end}}", "sha b"),
            ("{{with .State}}{{.Status}}{{end}}", "running"),
            ("{{with .Health}}{{.Status}}{{else}}no{{end}}", "no"),
            ("{{if .State.Health}}{{.State.Health.Status}}{{end}}", ""),
            ("{{if and .Up (eq .Count 3)}}a{{else if .Up}}b{{else}}c{{end}}", "a"),
            ("{{if not .Up}}a{{else if gt .Count 2}}b{{end}}", "b"),
            ("{{or .Nothing \"x\"}}", "x"),
            ("{{eq .State.Status \"exited\" \"running\"}}", "true"),
            ("{{ne .Count 3}} {{lt 1 2}} {{ge 2.5 2.5}}", "false true true"),
            ("{{.Name | upper | printf \"%q\"}}", "\"/WEB\""),
            (
                "{{printf \"%-6s|%4d|%05d|%.2f|%v|%t|%x|%%\" .Name .Count .Count .Ratio .Cmd .Up 255}}",
                "/web  |   3|00003|0.50|[sh -c a b]|true|ff|%",
            ),
            ("{{println .Name .Count}}", "/web 3\n"),
            ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
            ("{{len .Cmd}} {{len .Name}} {{len .State}}", "3 4 2"),
            ("{{title \"hello world\"}} {{lower \"ÄB\"}}", "Hello World äb"),
            ("{{pad .Name 1 2}}|{{truncate .Name 2}}|{{slice .Name 1 3}}", " /web  |/w|we"),
            ("{{split \"a:b:c\" \":\"}}", "[a b c]"),
            ("a {{- .Count -}} b{{/* no */}}{{- /* no */ -}} c", "a3bc"),
            ("{{$x := 5}}{{$x}}{{$x = 6}}{{$x}} {{$.Name}}", "56 /web"),
            ("{{\"a\\tb\\n\\\"\"}}{{`raw\\t`}}{{'a'}}", "a\tb\n\"raw\\t97"),
            ("{{-3}} {{true}} {{nil | json}}", "-3 true null"),
            ("{{json .Config.Labels}}", r#"{"a.b":"c","x":"<y>"}"#),
        ] {
            assert_eq!(shown(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (template, expected) in [
            ("{{.Nope}}", "no field \"Nope\""),
            ("{{.State.Nope}}", "no field \"Nope\""),
            ("{{.State.Health.Status}}", "no field \"Health\""),
            ("{{.Name.First}}", "no fields"),
            ("{{nope .Name}}", "function \"nope\" not defined"),
            ("{{.Name", "unclosed action"),
            ("{{if .Up}}x", "end"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{else}}", "unexpected {{else}}"),
            ("{{index .Cmd 9}}", "out of range"),
            ("{{index .Nothing 0}}", "nil"),
            ("{{define \"x\"}}{{end}}", "not supported"),
            ("{{\"open}}", "unterminated"),
            ("{{$y}}", "undefined variable"),
            ("{{}}", "missing value"),
            ("{{.Name | }}", "missing value"),
            ("{{break}}", "outside"),
            ("{{lt .Cmd 1}}", "cannot be compared"),
            ("{{len 3}}", "len of"),
            ("{{(}}", "missing value"),
            ("{{range 1 2}}{{end}}", "cannot be called"),
        ] {
            let error = shown(template).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,60}") {
            let _ = shown(&text);
        }

        #[test]
        fn no_combination_of_pieces_panics(pieces in proptest::collection::vec(prop_oneof![
            Just("{{"), Just("}}"), Just("{{-"), Just("-}}"), Just("if "), Just("else "), Just("range "), Just("end"), Just("with "),
            Just(".Cmd"), Just(".State"), Just(".Name "), Just("$x"), Just(":="), Just("="), Just("("), Just(")"), Just("|"), Just(","),
            Just("index "), Just("printf "), Just("\"%5.3s %d\" "), Just("99999999999999999999"), Just("-1 "), Just("slice "), Just("pad "),
            Just("truncate "), Just("len "), Just("eq "), Just("break"), Just("continue"), Just("/*"), Just("*/"), Just("é"), Just(" ")
        ], 0..24)) {
            let _ = shown(&pieces.concat());
        }
    }
}
