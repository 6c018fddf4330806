//! Values as Go prints them.

use serde_json::Value;

use super::Result;

/// `%v`
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, item)| format!("{key}:{}", inner(item))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

fn inner(value: &Value) -> String {
    if value.is_null() { "<nil>".into() } else { show(value) }
}

/// A verb of a format: `%-10.3s`.
#[derive(Default)]
struct Verb {
    left: bool,
    zeros: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

/// Wider than any terminal; a format must not make the memory swell.
const WIDEST: usize = 4096;

/// Go's fmt.Sprintf, for the verbs that make sense of JSON.
pub(super) fn printf(format: &str, values: &[Value]) -> Result<String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = letters.next_if(|c| "-0+ #".contains(*c)) {
            verb.left |= flag == '-';
            verb.zeros |= flag == '0';
            verb.plus |= flag == '+';
        }
        verb.width = digits(&mut letters).unwrap_or(0).min(WIDEST);
        if letters.next_if_eq(&'.').is_some() {
            verb.precision = Some(digits(&mut letters).unwrap_or(0).min(WIDEST));
        }
        match letters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(kind) => match values.next() {
                Some(value) => out.push_str(&verb.padded(verb.format(kind, value)?)),
                None => out.push_str(&format!("%!{kind}(MISSING)")),
            },
        }
    }
    Ok(out)
}

fn digits(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number: Option<usize> = None;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        let digit = digit as usize - '0' as usize;
        number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    number
}

impl Verb {
    fn format(&self, kind: char, value: &Value) -> Result<String> {
        let cut = |text: String| match self.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text,
        };
        let sign = |text: String| if self.plus && !text.starts_with('-') { format!("+{text}") } else { text };
        Ok(match (kind, value) {
            ('v' | 's', value) => cut(show(value)),
            ('q', value) => serde_json::to_string(&show(value)).map_err(|e| e.to_string())?,
            ('d', Value::Number(number)) if !number.is_f64() => sign(number.to_string()),
            ('t', Value::Bool(truth)) => truth.to_string(),
            ('f' | 'g' | 'e', Value::Number(number)) => {
                sign(format!("{:.*}", self.precision.unwrap_or(6), number.as_f64().unwrap_or_default()))
            }
            ('x', Value::Number(number)) => format!("{:x}", number.as_i64().unwrap_or_default()),
            ('X', Value::Number(number)) => format!("{:X}", number.as_i64().unwrap_or_default()),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('c', Value::Number(number)) => {
                let code = number.as_u64().and_then(|n| u32::try_from(n).ok()).and_then(char::from_u32);
                code.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
            }
            (kind, value) => format!("%!{kind}({})", show(value)),
        })
    }

    fn padded(&self, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        match (self.left, self.zeros) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) => {
                let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
                format!("{sign}{}{digits}", "0".repeat(missing))
            }
            (false, false) => " ".repeat(missing) + &text,
        }
    }
}
