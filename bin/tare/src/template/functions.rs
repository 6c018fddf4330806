//! The functions that a template may call.

use std::cmp::Ordering;

use serde_json::Value;

use super::Result;
use super::eval::truth;
use super::print::{printf, show};

const NAMES: [&str; 24] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "println",
    "printf", "json", "join", "split", "lower", "upper", "title", "pad", "truncate", "html",
];

/// Whether there is a function of this name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function. `and` and `or` never come here: they choose which arguments are looked at.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value> {
    match (name, arguments) {
        ("not", [value]) => Ok((!truth(value)).into()),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            let equal = rest.iter().map(|other| same(first, other)).collect::<Result<Vec<_>>>()?;
            Ok(equal.contains(&true).into())
        }
        ("ne", [a, b]) => Ok((!same(a, b)?).into()),
        ("lt", [a, b]) => Ok((order(a, b)? == Ordering::Less).into()),
        ("le", [a, b]) => Ok((order(a, b)? != Ordering::Greater).into()),
        ("gt", [a, b]) => Ok((order(a, b)? == Ordering::Greater).into()),
        ("ge", [a, b]) => Ok((order(a, b)? != Ordering::Less).into()),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => index(value, keys),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("print", values) => Ok(print(values).into()),
        ("println", values) => Ok((values.iter().map(show).collect::<Vec<_>>().join(" ") + "\n").into()),
        ("printf", [Value::String(format), values @ ..]) => printf(format, values).map(Value::from),
        ("json", [value]) => Ok(value.to_string().into()),
        ("join", [Value::Array(items), Value::String(between)]) => {
            Ok(items.iter().map(show).collect::<Vec<_>>().join(between).into())
        }
        ("join", [Value::Null, _]) => Ok("".into()),
        ("split", [Value::String(text), Value::String(at)]) => {
            Ok(text.split(at.as_str()).collect::<Vec<_>>().into())
        }
        ("lower", [Value::String(text)]) => Ok(text.to_lowercase().into()),
        ("upper", [Value::String(text)]) => Ok(text.to_uppercase().into()),
        ("title", [Value::String(text)]) => Ok(title(text).into()),
        ("html", [value]) => Ok(html(&show(value)).into()),
        ("pad", [Value::String(text), before, after]) => pad(text, before, after),
        ("truncate", [Value::String(text), length]) => {
            Ok(text.chars().take(whole(length)?).collect::<String>().into())
        }
        _ => Err(format!("it does not take {} such arguments", arguments.len())),
    }
}

/// A number that is a place or a length.
fn whole(value: &Value) -> Result<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| format!("{} is no place", show(value)))
}

fn same(a: &Value, b: &Value) -> Result<bool> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(a.as_f64() == b.as_f64()),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("lists and maps cannot be compared".into())
        }
        _ => Ok(a == b),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering> {
    let order = match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    order.ok_or_else(|| format!("{} and {} cannot be compared", show(a), show(b)))
}

fn length(value: &Value) -> Result<Value> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Null => 0,
        other => return Err(format!("len of {}", show(other))),
    };
    Ok(length.into())
}

fn index(value: &Value, keys: &[Value]) -> Result<Value> {
    let mut value = value;
    for key in keys {
        value = match (value, key) {
            (Value::Null, _) => return Err("index of nil".into()),
            (Value::Object(map), Value::String(name)) => match map.get(name) {
                Some(found) => found,
                None => return Ok(zero_of(map.values().next())),
            },
            (Value::Array(items), at) => {
                let at = whole(at)?;
                items.get(at).ok_or_else(|| format!("index out of range: {at}"))?
            }
            (Value::String(text), at) => {
                let at = whole(at)?;
                let byte = text.as_bytes().get(at).ok_or_else(|| format!("index out of range: {at}"))?;
                return Ok((*byte).into());
            }
            (other, _) => return Err(format!("{} cannot be indexed so", show(other))),
        };
    }
    Ok(value.clone())
}

/// What Go gives for a key that a map does not have: the zero value of its kind.
fn zero_of(sibling: Option<&Value>) -> Value {
    match sibling {
        Some(Value::String(_)) => "".into(),
        Some(Value::Number(_)) => 0.into(),
        Some(Value::Bool(_)) => false.into(),
        _ => Value::Null,
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        other => return Err(format!("{} cannot be sliced", show(other))),
    };
    let from = bounds.first().map_or(Ok(0), whole)?;
    let to = bounds.get(1).map_or(Ok(length), whole)?;
    let out_of_range = || format!("slice bounds out of range: {from} to {to} of {length}");
    match value {
        Value::String(text) => text.get(from..to).map(Value::from).ok_or_else(out_of_range),
        Value::Array(items) => items.get(from..to).map(|part| part.to_vec().into()).ok_or_else(out_of_range),
        _ => Err(out_of_range()),
    }
}

/// Go's fmt.Sprint: a space between operands of which neither is a string.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&show(value));
    }
    out
}

fn title(text: &str) -> String {
    let mut start = true;
    let raise = |letter: char| {
        let first = std::mem::replace(&mut start, !letter.is_alphanumeric());
        if first { letter.to_uppercase().collect::<String>() } else { letter.to_string() }
    };
    text.chars().map(raise).collect()
}

fn pad(text: &str, before: &Value, after: &Value) -> Result<Value> {
    let (before, after) = (whole(before)?, whole(after)?);
    if text.is_empty() {
        return Ok(text.into());
    }
    if before.max(after) > 4096 {
        return Err("more than 4096 spaces".into());
    }
    Ok(format!("{}{text}{}", " ".repeat(before), " ".repeat(after)).into())
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}
