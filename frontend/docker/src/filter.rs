//! The `filters` parameter: which objects of a list a client wants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Deserialize;
use tare_http::Query;
use tare_model::Timestamp;

use crate::{Error, Result};

/// Conditions by key. Values of one key are alternatives, except labels, which must all be there; keys add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Both forms that clients send: lists, and since Docker 1.10 maps to `true`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Map(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads the parameter, whose keys must be among `known`.
    pub(crate) fn of(query: &Query, known: &[&str]) -> Result<Self> {
        let filters = Self::parse(query.get("filters").unwrap_or_default())?;
        match filters.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(unknown) => Err(Error::invalid(format!("invalid filter '{unknown}'"))),
            None => Ok(filters),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|_| Error::invalid(format!("invalid filter: {text}")))?;
        let values = |values| match values {
            Values::List(list) => list.into_iter().collect::<BTreeSet<_>>(),
            Values::Map(map) => {
                map.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect()
            }
        };
        let filled = parsed
            .into_iter()
            .map(|(key, given)| (key, values(given)))
            .filter(|(_, given)| !given.is_empty());
        Ok(Self(filled.collect()))
    }

    /// The values under a key; empty where the key is not filtered by.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether `fits` one of the values, or there is none.
    pub(crate) fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(|value| fits(value)))
    }

    /// Whether all wanted labels are there, `key` or `key=value`, and none of the unwanted (`label!`).
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").all(|wanted| has_label(labels, wanted))
            && !self.values("label!").any(|unwanted| has_label(labels, unwanted))
    }

    /// The moment `until`, before which things must have been made: a time, or how long ago it was.
    pub(crate) fn until(&self) -> Result<Option<Timestamp>> {
        let mut values = self.values("until");
        let Some(text) = values.next() else { return Ok(None) };
        let invalid = || Error::invalid(format!("invalid filter 'until={text}'"));
        if values.next().is_some() {
            return Err(Error::invalid("more than one until filter specified"));
        }
        if let Ok(ago) = tare_model::parse_duration(text) {
            return Ok(Some(SystemTime::now().checked_sub(ago).ok_or_else(invalid)?.into()));
        }
        let day = format!("{text}T00:00:00Z");
        let zoned = format!("{text}Z");
        let parsed = Timestamp::from_unix_text(text).or_else(|_| text.parse());
        let parsed = parsed.or_else(|_| day.parse()).or_else(|_| zoned.parse());
        parsed.map(Some).map_err(|_| invalid())
    }

    /// A switch such as `dangling`; `None` where it is not filtered by.
    pub(crate) fn switch(&self, key: &str) -> Result<Option<bool>> {
        let Some(values) = self.0.get(key) else { return Ok(None) };
        let wanted = |yes: &[&str]| values.iter().all(|value| yes.contains(&value.as_str()));
        if wanted(&["1", "true"]) {
            Ok(Some(true))
        } else if wanted(&["0", "false"]) {
            Ok(Some(false))
        } else {
            let given = Vec::from_iter(values.clone()).join(" ");
            Err(Error::invalid(format!("invalid filter '{key}=[{given}]'")))
        }
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|has| has == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether a name fits a pattern. Docker takes regular expressions here; what clients send of them are anchors and
/// escaped characters around a plain text, and that is what is understood: `web`, `^web$`, `^/web-1\.a$`.
pub(crate) fn name_fits(pattern: &str, name: &str) -> bool {
    let (start, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (end, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    let mut plain = String::with_capacity(rest.len());
    let mut characters = rest.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(_)) => plain.extend(characters.next()),
            ('/', Some('?')) if plain.is_empty() => drop(characters.next()),
            (other, _) => plain.push(other),
        }
    }
    let wanted = if plain.len() > 1 || start { plain.strip_prefix('/').unwrap_or(&plain) } else { &plain };
    match (start, end) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_mean_the_same() {
        let list = Filters::parse(r#"{"label":["a=b","c"],"status":["running"]}"#).unwrap();
        let map =
            Filters::parse(r#"{"label":{"a=b":true,"c":true,"d":false},"status":{"running":true}}"#).unwrap();
        assert_eq!(list, map);
        assert_eq!(Filters::parse(r#"{"label":[]}"#).unwrap(), Filters::default());
    }

    #[test]
    fn unknown_keys_and_malformed_texts_are_refused() {
        let query = Query::parse("filters=%7B%22nonsense%22%3A%5B%22a%22%5D%7D");
        assert!(
            matches!(Filters::of(&query, &["label"]), Err(Error::Invalid(why)) if why == "invalid filter 'nonsense'")
        );
        for bad in ["{", "[]", r#"{"a":1}"#, r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#, "null1"] {
            assert!(Filters::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_must_all_be_there() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]);
        assert!(Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap().labels(&labels));
        assert!(!Filters::parse(r#"{"label":["a=x","c"]}"#).unwrap().labels(&labels));
        assert!(!Filters::parse(r#"{"label":["d"]}"#).unwrap().labels(&labels));
    }

    #[test]
    fn switches_are_strict() {
        assert_eq!(
            Filters::parse(r#"{"dangling":["true"]}"#).unwrap().switch("dangling").unwrap(),
            Some(true)
        );
        assert_eq!(Filters::default().switch("dangling").unwrap(), None);
        assert!(Filters::parse(r#"{"dangling":["maybe"]}"#).unwrap().switch("dangling").is_err());
    }

    #[test]
    fn names_fit_with_and_without_anchors() {
        assert!(name_fits("eb", "web-1") && !name_fits("^eb", "web-1"));
        assert!(
            name_fits("^/web-1$", "web-1") && name_fits("^/?web-1$", "web-1") && name_fits("/web", "web-1")
        );
        assert!(!name_fits("^web$", "web-1") && name_fits(r"web\.1", "web.1"));
        assert!(name_fits("", "x"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}", name in "[a-z/.-]{0,12}", pattern in "[a-z/?*^$\\\\]{0,8}") {
            let _ = Filters::parse(&text);
            name_fits(&pattern, &name);
        }
    }
}
