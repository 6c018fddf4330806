//! `inspect`, of everything.

use serde_json::Value;
use tare_client::{Client, Error};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, switch, text};
use crate::listing::Format;
use crate::output::{complain, print};

const FORMAT: Flag = text("format", "string", "Format output: 'json' or a Go TEMPLATE").short('f');
const JSON: Flag = switch("json", "Print in JSON format, as --format json");

pub(crate) const INSPECT: &[Flag] = &[
    FORMAT,
    JSON,
    switch("size", "Display total file sizes if the type is container").short('s'),
    text("type", "string", "Only inspect objects of the given type"),
];
pub(crate) const CONTAINER: &[Flag] = &[FORMAT, JSON, switch("size", "Display total file sizes").short('s')];
pub(crate) const IMAGE: &[Flag] =
    &[FORMAT, JSON, text("platform", "string", "Inspect a specific platform of the image")];
pub(crate) const VOLUME: &[Flag] = &[FORMAT, JSON];
pub(crate) const NETWORK: &[Flag] =
    &[FORMAT, JSON, switch("verbose", "Verbose output for diagnostics").short('v')];

/// What can be inspected, in the order in which a name is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Volume,
    Network,
}

const ALL: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Volume, Kind::Network];

/// `tare inspect`
pub(crate) async fn any(call: Call) -> Result<u8> {
    let kinds = match call.given.text("type") {
        None | Some("") => ALL.to_vec(),
        Some("container") => vec![Kind::Container],
        Some("image") => vec![Kind::Image],
        Some("volume") => vec![Kind::Volume],
        Some("network") => vec![Kind::Network],
        Some(other) => {
            let failure = Failure::new(format!("\"{other}\" is not a valid value for --type"));
            return Err(failure.hint("it takes container, image, volume or network"));
        }
    };
    inspect(&call, &kinds).await
}

/// `tare container inspect`
pub(crate) async fn container(call: Call) -> Result<u8> {
    inspect(&call, &[Kind::Container]).await
}

/// `tare image inspect`
pub(crate) async fn image(call: Call) -> Result<u8> {
    inspect(&call, &[Kind::Image]).await
}

/// `tare volume inspect`
pub(crate) async fn volume(call: Call) -> Result<u8> {
    inspect(&call, &[Kind::Volume]).await
}

/// `tare network inspect`
pub(crate) async fn network(call: Call) -> Result<u8> {
    inspect(&call, &[Kind::Network]).await
}

/// Shows everything that is found, then says what was not.
async fn inspect(call: &Call, kinds: &[Kind]) -> Result<u8> {
    let format = Format::of(&call.given)?;
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in &call.given.operands {
        match find(call, kinds, name).await {
            Ok(json) => found.push(json),
            Err(failure) => failures.push(failure),
        }
    }
    match format {
        Format::Usual => print(indented(&format!("[{}]", found.join(","))) + "\n")?,
        Format::Json => {
            print(format!("[{}]\n", found.iter().map(|json| json.trim()).collect::<Vec<_>>().join(",")))?
        }
        template => {
            for json in &found {
                let value: Value = serde_json::from_str(json).map_err(|error| unreadable(&error))?;
                print(template.apply(&value)?.unwrap_or_default() + "\n")?;
            }
        }
    }
    failures.iter().for_each(complain);
    Ok(failures.iter().map(|failure| failure.code).max().unwrap_or(0))
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::new(format!("the daemon's answer cannot be read: {error}"))
}

async fn find(call: &Call, kinds: &[Kind], name: &str) -> Result<String> {
    for kind in kinds {
        match get(&call.client, *kind, name, call).await {
            Err(error) if error.status() == Some(404) && kinds.len() > 1 => {}
            other => return Ok(other?),
        }
    }
    Err(Failure::new(format!("no such object: {name}"))
        .hint("containers: tare ps -a; images: tare images; volumes: tare volume ls"))
}

async fn get(client: &Client, kind: Kind, name: &str, call: &Call) -> Result<String, Error> {
    let given = &call.given;
    match kind {
        Kind::Container => client.inspect_container_raw(name, given.knows("size") && given.on("size")).await,
        Kind::Image => {
            client
                .inspect_image_raw(name, if given.knows("platform") { given.text("platform") } else { None })
                .await
        }
        Kind::Volume => client.inspect_volume_raw(name).await,
        Kind::Network => {
            client.inspect_network_raw(name, given.knows("verbose") && given.on("verbose")).await
        }
    }
}

/// JSON as Docker indents it: by four spaces, empty lists and objects closed at once, in the daemon's own order.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if quoted {
            out.push(letter);
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '"' => {
                quoted = true;
                out.push(letter);
            }
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            letter if letter.is_ascii_whitespace() => {}
            letter => out.push(letter),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"    ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_dockers() {
        let shown = indented(r#"[{"Z": {}, "B":[1 ,{"C":null}],"D\"}":"<x>, [y]" , "E":[ ]}]"#);
        let expected = "[\n    {\n        \"Z\": {},\n        \"B\": [\n            1,\n            {\n                \"C\": null\n            }\n        ],\n        \"D\\\"}\": \"<x>, [y]\",\n        \"E\": []\n    }\n]";
        assert_eq!(shown, expected);
        assert_eq!(indented("[]"), "[]");
    }
}
